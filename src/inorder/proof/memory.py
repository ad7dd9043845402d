"""A store in memory: rows as a real one keeps them, and a transaction that happens as a whole or not at all.

It passes the conformance suite of the stores, but for what that asks in SQL. All rows are immutable and replaced whole,
so that a snapshot is a few shallow copies. One thread at a time; no tables of the user's.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from zlib import crc32

import msgspec

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Partition
from inorder.core.order import Order
from inorder.core.rows import EntityRow, HeldRow, Letter, Reason
from inorder.core.waiting import NEVER, Wait, Waiting
from inorder.errors import Fenced, Mismatch, Unreachable, UsageError
from inorder.stores.rows import LetterRow, StreamRow, to_entity

_GONE: Any = object()
"""In a transaction, in place of a row that it deletes."""

Held = Mapping[int, HeldRow]
Position = tuple[Partition, int, int]
"""Where a letter's record was: partition, offset, and a print of it."""


class Tables:
    """The rows of one stream. `copy` is a snapshot."""

    __slots__ = ("counts", "declared", "entities", "fences", "held", "letters", "places", "tallies", "waits")

    def __init__(self) -> None:
        self.declared: dict[str, tuple[Order, int]] = {}
        self.entities: dict[str, EntityRow] = {}
        self.waits: dict[str, Waiting] = {}
        self.held: dict[str, Held] = {}
        self.letters: dict[int, LetterRow] = {}
        self.places: dict[Position, int] = {}
        self.counts: dict[tuple[int, str], int] = {}
        self.fences: dict[Partition, int] = {}
        self.tallies: dict[int, str] = {}

    def copy(self) -> Tables:
        """The same rows."""
        twin = Tables.__new__(Tables)
        twin.declared, twin.fences, twin.tallies = self.declared, self.fences.copy(), self.tallies.copy()
        twin.entities, twin.waits, twin.held = self.entities.copy(), self.waits.copy(), self.held.copy()
        twin.letters, twin.places, twin.counts = self.letters.copy(), self.places.copy(), self.counts.copy()
        return twin


class MemoryStore:
    """See `inorder.ports.Store`, and `inorder.stores.reading` for the questions of tools that it answers."""

    transaction_class: type[MemoryTransaction]
    works_elsewhere = False

    def __init__(self, stream: str = "", tables: Tables | None = None) -> None:
        self.stream = stream
        self.tables = Tables() if tables is None else tables
        self.open: MemoryTransaction | None = None

    def register(self, order: Order, baseline: int) -> None:
        """Note the stream's declaration. Raises `UsageError` if it was written under another one."""
        found = self.tables.declared.setdefault(self.stream, (order, baseline))
        if found != (order, baseline):
            raise UsageError(
                f"stream {self.stream} was written with order={found[0]}, baseline={found[1]}, "
                f"and is now declared with order={order}, baseline={baseline}"
            )

    def tally(self, worker: str) -> int:
        """A new row of counts for this worker's run; returns its number."""
        number = len(self.tables.tallies) + 1
        self.tables.tallies[number] = worker
        return number

    def beat(self, tally: int, partitions: Sequence[Partition] | None, events_per_s: float) -> bool:
        """Nobody looks."""
        return True

    def acquire(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Raise the fence of each partition: earlier owners are refused from now on. Returns the numbers."""
        fences = self.tables.fences
        for partition in partitions:
            fences[partition] = fences.get(partition, 0) + 1
        return {partition: fences[partition] for partition in partitions}

    def share(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The fences of partitions that have no owner, as they are."""
        return {partition: self.tables.fences.setdefault(partition, 1) for partition in partitions}

    def load(self, keys: Sequence[str]) -> dict[str, Entity]:
        """Those of the entities that the store has, with what they wait for and which versions wait."""
        found: dict[str, Entity] = {}
        for key in keys:
            row: EntityRow | None = self.get("entities", key)
            if row is not None:
                # A row names the revision that it was written over; it is at the one after that.
                entity = to_entity((key, row.version, row.expected + 1, row.ranges, row.recent, row.state))
                if row.waits:
                    entity.waiting = self.get("waits", key)
                    entity.held = {version: held.fingerprint for version, held in self.get("held", key, {}).items()}
                found[key] = entity
        return found

    def held(self, key: str, most: int) -> list[HeldRow]:
        """The waiting events of a key, lowest versions first."""
        return list(self.get("held", key, {}).values())[:most]

    def held_together(self, keys: Sequence[str], most: int) -> list[HeldRow]:
        """The waiting events of several keys, up to `most` of each, lowest versions of a key first."""
        return [row for key in sorted(keys) for row in self.held(key, most)]

    def held_count(self, key: str | None = None) -> int:
        """How many events wait in the store, of one key or of all."""
        return sum(len(held) for of, held in self.all("held").items() if key in {None, of})

    def held_events(self, most: int) -> int:
        """How many events wait, counted up to `most`."""
        return min(most, self.held_count())

    def open_letters(self, most: int) -> int:
        """How many letters are open, counted up to `most`."""
        return min(most, self.letter_counts().get("open", 0))

    def crowded_keys(self, most: int) -> set[str]:
        """The keys that have `most` open letters or more."""
        keys = Counter(row.letter.key for row in self.letters("open"))
        return {key for key, n in keys.items() if n >= most and key is not None}

    def retried(self, most: int) -> dict[str, Waiting]:
        """Keys that wait for another try, wherever they stopped."""
        found = {key: waiting for key, waiting in self.all("waits").items() if waiting.why is Wait.RETRY}
        return dict(list(found.items())[:most])

    def due(self, partitions: Sequence[Partition]) -> dict[str, Waiting]:
        """How keys wait that stopped in one of these partitions, where something is due at a certain time."""
        waits = self.all("waits")
        keys = [key for key, waiting in waits.items() if waiting.due_at != NEVER and waiting.home in partitions]
        return {key: waits[key] for key in sorted(keys)}

    def overdue(self, now: float, partitions: Sequence[Partition]) -> dict[str, Waiting]:
        """Keys that stopped in one of these partitions and whose time has come."""
        return {key: waiting for key, waiting in self.due(partitions).items() if waiting.due_at <= now}

    def parked(self) -> Iterator[tuple[str, Waiting]]:
        """The keys that stopped until an operator decides, sorted, and why."""
        for key, waiting in sorted(self.all("waits").items()):
            if waiting.why is Wait.PARKED:
                yield key, waiting

    def parked_count(self) -> int:
        """How many keys stopped until an operator decides."""
        return sum(1 for _ in self.parked())

    def streams(self) -> list[StreamRow]:
        """Every stream, by name."""
        return [StreamRow(name, *declared) for name, declared in sorted(self.tables.declared.items())]

    def states(self, keys: Sequence[str] | None = None) -> Iterator[tuple[str, int, bytes | None]]:
        """(key, version, state) of these entities that the store has (of all, by default), sorted by key."""
        rows = self.all("entities")
        for key in sorted(rows.keys() if keys is None else set(keys) & rows.keys()):
            yield key, rows[key].version, rows[key].state

    def letters(
        self, status: str | None = None, reason: str | None = None, key: str | None = None, after: int = 0
    ) -> Iterator[LetterRow]:
        """Dead letters, oldest first, or those of one status, reason or key."""
        for row in self.all("letters").values():  # in the order they were written, which is that of their numbers
            if (
                (status is None or status == row.status)
                and (key is None or key == row.letter.key)
                and (reason is None or reason == row.letter.reason)
                and row.id > after
            ):
                yield row

    def letter(self, number: int) -> LetterRow | None:
        """One dead letter by its id."""
        found: LetterRow | None = self.get("letters", number)
        return found

    def last_edit(self, letter: int) -> tuple[int, bytes] | None:
        """None: nobody edits letters here."""
        return None

    def letter_counts(self) -> dict[str, int]:
        """How many dead letters there are, by status."""
        return dict(Counter(row.status for row in self.all("letters").values()))

    def counts(self, tallies: Sequence[int] | None = None) -> dict[str, int]:
        """The sums of these rows of counts (of all, by default), by name."""
        found: dict[str, int] = {}
        for (tally, name), n in self.all("counts").items():
            if tallies is None or tally in tallies:
                found[name] = found.get(name, 0) + n
        return found

    def pack(self, rows: Sequence[EntityRow], changes: Changes) -> Sequence[EntityRow]:
        """The rows as they are."""
        return rows

    def abandon(self) -> None:
        """Undo the open transaction: whoever has it is refused from now on."""
        if self.open is not None:
            self.open.over = Unreachable(f"store {self.stream}: abandoned")

    def close(self) -> None:
        """Nothing is open."""

    @contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        """A transaction that commits at the end of the block, or leaves no trace if the block raises."""
        self.open = transaction = self.transaction_class(self)
        try:
            yield transaction
            if transaction.over is not None:
                raise transaction.over
            transaction.commit()
        finally:
            self.open = None

    def get(self, table: str, key: Any, default: Any = None) -> Any:
        """One row, as the open transaction sees it."""
        if self.open is not None:
            staged = self.open.staged.get(table)
            if staged is not None and key in staged:
                found = staged[key]
                return default if found is _GONE else found
        return getattr(self.tables, table).get(key, default)

    def all(self, table: str) -> dict[Any, Any]:
        """All rows of a table, as the open transaction sees them. Not to be changed."""
        rows: dict[Any, Any] = getattr(self.tables, table)
        staged = self.open.staged.get(table) if self.open is not None else None
        return {key: row for key, row in (rows | staged).items() if row is not _GONE} if staged else rows

    # Snapshots, for searches that come back to where they were.

    def save(self) -> Tables:
        """What the store has, to come back to. It is handed over: something is to be restored next."""
        return self.tables

    def show(self, saved: Tables) -> None:
        """Answer as if that were restored. Before anything is written, something is to be restored."""
        self.tables = saved

    def restore(self, saved: Tables) -> None:
        """Have again what was saved."""
        self.tables = saved.copy()

    def digest(self, now: float) -> Hashable:
        """What the store has, without what tells two ways to it apart: revisions, offsets, times, counts."""
        tables = self.tables
        entities = [(row.key, row.version, row.ranges, row.recent, row.state) for row in tables.entities.values()]
        waits = [
            (key, why.why, why.version, round(why.due_at - now, 3) if why.due_at else 0.0, why.attempts, why.missing)
            for key, why in tables.waits.items()
        ]
        held = [(key, version, row.fingerprint) for key, rows in tables.held.items() for version, row in rows.items()]
        letters = [
            (row.letter.key or "", row.letter.version or 0, row.letter.event_id or "", row.letter.reason, row.status)
            for row in tables.letters.values()
        ]
        return tuple(sorted(entities)), tuple(sorted(waits)), tuple(sorted(held)), tuple(sorted(letters))


class MemoryTransaction:
    """See `inorder.ports.Transaction`. What it writes is kept apart until the end."""

    spoiled = False

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.staged: defaultdict[str, dict[Any, Any]] = defaultdict(dict)
        """By table, the rows that are written, where any are."""
        self.over: Exception | None = None

    @property
    def connection(self) -> Any:
        """There is none."""
        raise UsageError("a store in memory has no tables of the user's")

    def execute(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """Nothing can be executed."""
        raise UsageError("a store in memory has no tables of the user's")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """What fails inside is undone, and the rest of the transaction stays."""
        before = {name: rows.copy() for name, rows in self.staged.items()}
        try:
            yield
        except BaseException:
            self.staged = defaultdict(dict, before)
            raise

    def check(self) -> None:
        """Nothing is checked late here."""

    def together(self) -> nullcontext[None]:
        """Statements inside need not wait for one another: here there are none."""
        return nullcontext()

    def write(self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int]) -> None:
        """Write what was decided. Raises `Mismatch` or `Fenced` when somebody else got there first."""
        if self.over is not None:
            raise self.over
        try:
            self.check_fences(fences)
            self.compare_and_set(rows)
            self.write_held(changes)
        except (Mismatch, Fenced) as error:
            self.over = error
            raise
        for key, waiting in changes.waits.items():
            self.staged["waits"][key] = _GONE if waiting is None else waiting
        for letter in changes.letters:
            self.write_letter(letter, changes.tally if letter.tally is None else letter.tally)
        counts = self.staged["counts"]
        for at, n in changes.counts.items():
            counts[at] = self._store.get("counts", at, 0) + n

    def check_fences(self, fences: Mapping[Partition, int]) -> None:
        """Raises `Fenced` when a newer owner has raised one of them."""
        found = self._store.tables.fences
        lost = [partition for partition, token in fences.items() if found.get(partition) != token]
        if lost:
            raise Fenced(lost)

    def compare_and_set(self, rows: Sequence[EntityRow]) -> None:
        """Raises `Mismatch` when a row is at another revision than the one expected."""
        get = self._store.get
        changed: list[str] = []
        for row in rows:
            known = get("entities", row.key)
            if row.expected != (0 if known is None else known.expected + 1):
                changed.append(row.key)
        if changed:
            raise Mismatch(changed)
        self.staged["entities"].update((row.key, row) for row in rows)

    def write_held(self, changes: Changes) -> None:
        """Raises `Mismatch` when another event waits in a place already."""
        for key in {key for key, _ in changes.released} | {key for key, _ in changes.held}:
            held: dict[int, HeldRow] = dict(self._store.get("held", key, {}))
            for of, version in changes.released:
                if of == key:
                    held.pop(version, None)
            for (of, version), row in changes.held.items():
                if of == key and held.setdefault(version, row).fingerprint != row.fingerprint:
                    raise Mismatch([key])
            self.staged["held"][key] = {version: held[version] for version in sorted(held)} if held else _GONE

    def write_letter(self, letter: Letter, tally: int) -> None:
        """A letter, or what another delivery of it adds to one that is open."""
        record = letter.record
        at = record.partition, record.offset, crc32(record.value or b"", crc32(record.key or b""))
        number = self._store.get("places", at)
        if number is None:
            number = max(self._store.all("letters"), default=0) + 1
            self.staged["places"][at] = number
            self.staged["letters"][number] = LetterRow(
                id=number,
                letter=msgspec.structs.replace(letter, tally=None, code_version=None),
                tally=tally,
                status="open",
                note=None,
                resolved_at=None,
                code_version=letter.code_version,
            )
            return
        row: LetterRow = self._store.get("letters", number)
        if row.status == "open" and (row.letter.reason is not Reason.FAILED or letter.reason is Reason.FAILED):
            again = msgspec.structs.replace(
                row.letter,
                key=row.letter.key if letter.key is None else letter.key,
                version=row.letter.version if letter.version is None else letter.version,
                event_id=row.letter.event_id if letter.event_id is None else letter.event_id,
                reason=letter.reason,
                detail=letter.detail,
                error=letter.error,
                last_at=letter.last_at,
                attempts=row.letter.attempts + letter.attempts,
            )
            self.staged["letters"][number] = msgspec.structs.replace(
                row, letter=again, code_version=letter.code_version
            )

    def close_letter(self, number: int, status: str, outcome: str, note: str | None, at: float) -> bool:
        """An open letter is dealt with. False: it is not open, and nothing is changed."""
        row: LetterRow | None = self._store.get("letters", number)
        if row is None or row.status != "open":
            return False
        self.staged["letters"][number] = msgspec.structs.replace(row, status=status, note=note, resolved_at=at)
        return True

    def resolve_letter(self, number: int, status: str, note: str | None = None) -> bool:
        """The same, now."""
        return self.close_letter(number, status, "", note, time.time())

    def letter_failed(self, number: int, detail: str, error: str | None, at: float) -> bool:
        """An open letter was tried once more, in vain. False: it is not open."""
        row: LetterRow | None = self._store.get("letters", number)
        if row is None or row.status != "open":
            return False
        again = msgspec.structs.replace(
            row.letter, detail=detail, error=error, last_at=at, attempts=row.letter.attempts + 1
        )
        self.staged["letters"][number] = msgspec.structs.replace(row, letter=again)
        return True

    def plan_letter_done(self, plan: int, letter: int, result: str, detail: str | None, at: float) -> None:
        """Plans are not kept."""

    def add_audit(self, row: object) -> None:
        """Nor is an audit."""

    def commit(self) -> None:
        """Everything that was written is in the store."""
        for name, staged in self.staged.items():
            rows = getattr(self._store.tables, name)
            for key, row in staged.items():
                if row is _GONE:
                    rows.pop(key, None)
                else:
                    rows[key] = row


MemoryStore.transaction_class = MemoryTransaction
