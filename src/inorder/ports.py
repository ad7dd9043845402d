"""What the worker asks of the world. Each port is small and has a conformance suite that every adapter passes.

The worker owns its adapters: each method is called from one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from inorder.core.changes import Changes
from inorder.core.engine import Unit
from inorder.core.entity import Entity
from inorder.core.event import Partition, Slice
from inorder.core.order import Order
from inorder.core.rows import EntityRow, HeldRow
from inorder.core.waiting import Waiting


class Listener(Protocol):
    """Told by a source, from within `poll` or `close`, which partitions this worker has."""

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """These partitions are ours from now on; none of their records has been given out yet."""

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """These go to somebody else when this returns. What is settled may still be committed before that."""

    def lost(self, partitions: Sequence[Partition]) -> None:
        """These went to somebody else already: nothing of them may be committed any more."""


class Source(Protocol):
    """Where records come from. Unreachable at start: `inorder.Unreachable`."""

    def subscribe(self, listener: Listener) -> None:
        """Join the group. Assignments arrive during later polls."""

    def poll(self, most: int, timeout_s: float) -> list[Slice]:
        """Up to `most` records, waiting at most `timeout_s` for the first. Also keeps the membership alive."""

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Everything below each offset is settled. Refusals for lost partitions are ignored: others redo the work."""

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Give out nothing of these until resumed."""

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Give out records of these again."""

    def at_end(self) -> bool:
        """Whether the whole group has committed everything up to the end of every partition."""

    def close(self) -> None:
        """Leave the group. Partitions are revoked first."""


@runtime_checkable
class Queue(Source, Protocol):
    """A source without owners: every worker is given messages of the same partition, each under a lease.

    A slice is one message. Nothing is below anything else, so `commit` is never called.
    """

    def settle(self, deliveries: Sequence[int]) -> None:
        """These are durably done, each by the `next_offset` of its slice: never give them out again."""

    def forget(self, deliveries: Sequence[int]) -> None:
        """Nothing will be done about these, whose leases are over."""


@runtime_checkable
class NotingSource(Source, Protocol):
    """A source whose broker keeps a short text with each committed offset. Notes save work, and no more than that."""

    def note(self, notes: Mapping[Partition, str]) -> None:
        """Texts to keep with the next commits of these partitions, in place of those before."""

    def noted(self, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, str]]:
        """The committed offset that a partition of ours begins at, and its text, where that is known: one answer."""


@runtime_checkable
class GroupSource(Source, Protocol):
    """A source whose group may be asked who has which partition."""

    def rejoin(self) -> None:
        """Leave the group and join it again, during later polls: partitions are revoked, and assigned anew."""


class Sink(Protocol):
    """Where `inorder produce` sends records. Unreachable: `inorder.Unreachable`."""

    def send(self, records: Sequence[tuple[bytes | None, bytes]]) -> None:
        """Take these, each a key and a value, in this order. Only `flush` says that they are kept."""

    def flush(self) -> int:
        """Wait until the broker keeps all that was sent; returns how many since the sink was opened."""

    def close(self) -> None:
        """Release what is open. What was not flushed may not be kept."""


class Transaction(Protocol):
    """One transaction of a store. The user's statements and inorder's own commit together or not at all."""

    @property
    def connection(self) -> Any:
        """The driver's own connection, in this transaction. Do not commit or roll back on it."""

    def execute(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """Run one statement; returns the driver's cursor."""

    def savepoint(self) -> AbstractContextManager[None]:
        """What fails inside is undone, and the rest of the transaction stays."""

    def together(self) -> AbstractContextManager[None]:
        """Statements inside may go out without waiting for one another; an error may come as late as the end."""

    @property
    def spoiled(self) -> bool:
        """Whether a statement failed and took the transaction with it: nothing more can be done in it.

        Raises `inorder.Unreachable` where that was the store's failure.
        """

    def check(self) -> None:
        """Raise now what would else be raised by the commit: a constraint that is checked late, and is broken."""

    def write(self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int]) -> None:
        """Write what was decided. Raises `Mismatch` or `Fenced` when somebody else got there first."""


class Store(Protocol):
    """Where entities, held events, dead letters, parked keys and fences are kept, for one stream.

    Unreachable: `inorder.Unreachable`, and what was under way is to be redone.
    """

    works_elsewhere: bool
    """Whether it writes in another process, and what it locks meanwhile keeps nobody else for long: then the worker may
    do something else while it does."""

    def register(self, order: Order, baseline: int) -> None:
        """Note the stream's declaration. Raises `inorder.UsageError` if it was written under another one."""

    def tally(self, worker: str) -> int:
        """A new row of counts for this worker's run; returns its number."""

    def beat(self, tally: int, partitions: Sequence[Partition] | None, events_per_s: float) -> bool:
        """Note for whoever looks that this worker lives, has these partitions, and how fast it goes. None: it ends.

        False: it cannot be written without waiting for another writer, and is to be tried again.
        """

    def acquire(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Raise the fence of each partition: earlier owners are refused from now on. Returns the new numbers."""

    def share(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The fences of partitions that have no owner, as they are: those of a queue, which refuse nobody."""

    def load(self, keys: Sequence[str]) -> dict[str, Entity]:
        """Those of the entities that the store has, with what they wait for and which versions wait."""

    def held(self, key: str, most: int) -> list[HeldRow]:
        """The waiting events of a key, lowest versions first."""

    def held_together(self, keys: Sequence[str], most: int) -> list[HeldRow]:
        """The waiting events of several keys, up to `most` of each, lowest versions of a key first."""

    def due(self, partitions: Sequence[Partition]) -> dict[str, Waiting]:
        """How keys wait that stopped in one of these partitions, where something is to be done at a certain time."""

    def overdue(self, now: float, partitions: Sequence[Partition]) -> dict[str, Waiting]:
        """Keys that stopped in one of these partitions and whose time has come, however that came about."""

    def retried(self, most: int) -> dict[str, Waiting]:
        """How keys wait that are to be tried again, wherever they stopped; up to `most`."""

    def open_letters(self, most: int) -> int:
        """How many dead letters are open, counted up to `most`."""

    def crowded_keys(self, most: int) -> set[str]:
        """The keys that have `most` open dead letters or more."""

    def held_events(self, most: int) -> int:
        """How many events wait in the store, counted up to `most`."""

    def pack(self, rows: Sequence[EntityRow], changes: Changes) -> Sequence[EntityRow]:
        """The rows that are to be written with `changes`, prepared for it. Any thread may do this, any time before."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A transaction that commits at the end of the block, or rolls back if the block raises."""

    def abandon(self) -> None:
        """From another thread: undo the open transaction and close, although the thread that uses the store hangs."""

    def counts(self, tallies: Sequence[int] | None = None) -> dict[str, int]:
        """The sums of these rows of counts (of all, by default), by name."""

    def close(self) -> None:
        """Release what is open."""


class Observer(Protocol):
    """Told by one worker how its work goes: once for a poll, a batch or a call, never for each event of a batch.

    Every method is quick, raises nothing, and may be called from several threads at once.
    """

    @property
    def watches(self) -> bool:
        """Whether anybody looks. Where not, nothing is collected for its sake."""

    def polled(self) -> None:
        """The poll loop turns."""

    def received(self, unit: Unit, piece: Slice) -> None:
        """A slice has arrived."""

    def settled(self, unit: Unit) -> None:
        """All of a slice is settled."""

    def lapsed(self, unit: Unit) -> None:
        """The lease of a slice has ended before its turn came; it comes again."""

    def owned(self, partitions: Iterable[Partition], came: int = 0, went: int = 0, lost: int = 0) -> None:
        """The partitions that this worker has, after a rebalance in which so many came, were revoked, or were lost."""

    def called(self, piece: Slice, began: float, ended: float, failed: bool) -> None:
        """A handler without `tx` was called with an event of this slice. Times are those of the monotonic clock."""

    def committed(self, changes: Changes, deciding_s: float | None = None, storing_s: float = 0.0) -> None:
        """A transaction is through; decisions and handlers of its batch took so long before it."""

    def outdated(self) -> None:
        """A transaction was refused because somebody else had changed an entity since it was read."""

    def fenced(self, partitions: int) -> None:
        """A transaction was refused because so many of its partitions have a newer owner."""

    def paused(self, cause: str, why: str | None, who: int = 0) -> None:
        """The `store`, or what the `handler` needs, is down; None: it is back. `who` tells runners apart."""


class Clock(Protocol):
    """Time, as seconds since the epoch."""

    def now(self) -> float:
        """The time."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
