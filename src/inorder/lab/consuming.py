"""Consumers of one place, side by side in this process, each with a thread, a source and a store of its own.

What they are given is noted as it arrives. The source can be made to lose what is committed, which is what a kill
between the effects and the offsets comes to; nothing else is changed on the way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from inorder.core.event import Event, Partition, Record, Slice
from inorder.core.order import Outcome
from inorder.declaration import declaration_of
from inorder.errors import InorderError
from inorder.lab.places import Place
from inorder.lab.runlog import now
from inorder.ports import GroupSource, Listener, Queue, Source, Store
from inorder.wiring import open_lag, open_source, open_store
from inorder.worker.assemble import Assembled
from inorder.worker.settings import Settings

PATIENCE_S = 60.0
"""A run that has not come to its end after so long has failed."""
LOOK_S = 0.01
POLL_EVENTS = 20
"""Of a naive consumer."""


class Arrival(NamedTuple):
    """A record was given out to a worker."""

    at: float
    worker: str
    partition: int
    offset: int
    value: bytes
    again: bool
    """It had been given out before: its offset was not committed."""


class Decided(NamedTuple):
    """A decision of inorder, before it is committed."""

    at: float
    worker: str
    key: str
    version: int
    outcome: Outcome
    waited: bool
    """The event came back from the store, where it waited."""


class Notes:
    """What all members of a group were given, and what was decided. Filled from their threads."""

    def __init__(self, forgets_after: int | None = None) -> None:
        self.arrivals: list[Arrival] = []
        self.decided: list[Decided] = []
        self.forgets_after = forgets_after
        """Once more than so many records were given out, nothing that is committed reaches the broker."""
        self._seen: set[tuple[int, int]] = set()

    @property
    def forgetful(self) -> bool:
        """Whether commits are lost now."""
        return self.forgets_after is not None and len(self.arrivals) > self.forgets_after

    def arrived(self, worker: str, records: Iterable[Record]) -> None:
        """These were given out to `worker`."""
        at = now()
        for record in records:
            where = record.partition.number, record.offset
            self.arrivals.append(Arrival(at, worker, *where, record.value or b"", where in self._seen))
            self._seen.add(where)

    def witness(self, worker: str) -> Callable[[Event, Outcome], None]:
        """Notes each decision of `worker`."""

        def tell(event: Event, outcome: Outcome) -> None:
            waited = event.receiver is not None
            self.decided.append(Decided(now(), worker, event.key, event.version, outcome, waited))

        return tell


class Tapped:
    """A source whose records are noted, and whose commits are lost while the notes say so."""

    def __init__(self, source: Source, worker: str, notes: Notes) -> None:
        self.polled = False
        self.owned: set[Partition] = set()
        self._source = source
        self._worker = worker
        self._notes = notes
        self._listener: Listener | None = None

    def subscribe(self, listener: Listener) -> None:
        self._listener = listener
        self._source.subscribe(self)

    def poll(self, most: int, timeout_s: float) -> list[Slice]:
        pieces = self._source.poll(most, timeout_s)
        for piece in pieces:
            self._notes.arrived(self._worker, (piece.record(index) for index in range(len(piece))))
        self.polled = True
        return pieces

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        if not self._notes.forgetful:
            self._source.commit(offsets)

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._source.pause(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._source.resume(partitions)

    def rejoin(self) -> None:
        assert isinstance(self._source, GroupSource)
        self._source.rejoin()

    def at_end(self) -> bool:
        return self._source.at_end()

    def close(self) -> None:
        self._source.close()

    # What the source says.

    def assigned(self, partitions: Sequence[Partition]) -> None:
        assert self._listener is not None
        self._listener.assigned(partitions)
        self.owned.update(partitions)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        assert self._listener is not None
        self._listener.revoked(partitions)
        self.owned.difference_update(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        assert self._listener is not None
        self._listener.lost(partitions)
        self.owned.difference_update(partitions)


class TappedQueue(Tapped):
    """A queue, which is settled one by one."""

    def __init__(self, source: Queue, worker: str, notes: Notes) -> None:
        super().__init__(source, worker, notes)
        self._queue = source

    def settle(self, deliveries: Sequence[int]) -> None:
        if not self._notes.forgetful:
            self._queue.settle(deliveries)

    def forget(self, deliveries: Sequence[int]) -> None:
        self._queue.forget(deliveries)


def tapped(source: Source, worker: str, notes: Notes) -> Tapped:
    """A source, seen through."""
    return TappedQueue(source, worker, notes) if isinstance(source, Queue) else Tapped(source, worker, notes)


class Member(Protocol):
    """What works through a source until it is stopped."""

    def run(self) -> None: ...
    def stop(self) -> None: ...


class Guarded:
    """A worker of inorder, exactly as `inorder run` puts it together."""

    def __init__(
        self, function: Callable[..., Any], store: str, source: Tapped, worker: str, notes: Notes, concurrency: int = 16
    ) -> None:
        declared = declaration_of(function)
        settings = Settings(source="", store=store, worker=worker, concurrency=concurrency)

        def opened() -> Store:
            found: Store = open_store(store, declared.name)
            return found

        self._parts = Assembled(declared, settings, source, opened, witness=notes.witness(worker))

    def run(self) -> None:
        """Until it is stopped."""
        try:
            self._parts.loop.run()
        finally:
            self._parts.control.close()

    def stop(self) -> None:
        """From another thread."""
        self._parts.loop.stop()


class Naive:
    """A consumer without inorder: `handle` takes each record as it comes, and the offsets are committed after that."""

    def __init__(self, handle: Callable[[Record], None], source: Tapped) -> None:
        self._handle = handle
        self._source = source
        self._stop = threading.Event()

    def run(self) -> None:
        """Until it is stopped."""
        self._source.subscribe(_Indifferent())
        try:
            while not self._stop.is_set():
                for piece in self._source.poll(POLL_EVENTS, 0.05):
                    for index in range(len(piece)):
                        self._handle(piece.record(index))
                    self._source.commit({piece.partition: piece.next_offset})
        finally:
            self._source.close()

    def stop(self) -> None:
        """From another thread."""
        self._stop.set()


class _Indifferent:
    """Does not care which partitions it has."""

    def assigned(self, partitions: object) -> None: ...
    def revoked(self, partitions: object) -> None: ...
    def lost(self, partitions: object) -> None: ...


Make = Callable[[Tapped, str], Member]
"""Makes a member of a source, with this name."""


class Group:
    """`with Group("inorder", place, 3, notes, make) as group:` the members work until the block ends.

    They read from `url`, where it is not the place's own.
    """

    def __init__(self, name: str, place: Place, size: int, notes: Notes, make: Make, url: str | None = None) -> None:
        self._name = name
        self._place = place
        self._error: BaseException | None = None
        self._taps: list[Tapped] = []
        self._members: list[Member] = []
        for number in range(1, size + 1):
            tap = tapped(open_source(url or place.url(), name), str(number), notes)
            self._taps.append(tap)
            self._members.append(make(tap, str(number)))
        self._threads = [threading.Thread(target=self._run, args=(one,), daemon=True) for one in self._members]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.until("all members have joined", self._joined)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self._members:
            member.stop()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        if self._error is not None and error is None:
            raise self._error

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for something. Raises what a member died of, and `InorderError` when it takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if self._error is not None:
                raise self._error
            if time.monotonic() > deadline:
                raise InorderError(f"not after {PATIENCE_S:g} s: {what}: is this machine very busy?")
            time.sleep(LOOK_S)

    def settled(self) -> None:
        """Wait until all that was put is committed."""
        behind = open_lag(self._place.url(), self._name)
        try:
            self.until("everything is committed", lambda: not behind())
        finally:
            behind.close()

    def _joined(self) -> bool:
        owned = sum(len(tap.owned) for tap in self._taps)
        return all(tap.polled for tap in self._taps) and (not self._place.partitions or self._spread(owned))

    def _spread(self, owned: int) -> bool:
        enough = min(len(self._taps), self._place.partitions)
        return owned == self._place.partitions and sum(bool(tap.owned) for tap in self._taps) >= enough

    def _run(self, member: Member) -> None:
        try:
            member.run()
        except BaseException as error:
            self._error = error
