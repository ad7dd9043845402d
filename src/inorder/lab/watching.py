"""A source and a store of inorder's, seen through by the run log, and where a worker meets its fates.

They pass everything on as it is. No decision is made here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from inorder.core.event import Event, Partition, Slice
from inorder.core.order import Outcome
from inorder.errors import Fenced, Mismatch
from inorder.lab.disorder import Class
from inorder.lab.fates import Fates
from inorder.lab.runlog import Decided, Decision, Received, Refused, RunLog, now
from inorder.ports import GroupSource, Listener, Source, Store, Transaction

NUMBER = "number"
"""The header that says which delivery of the stream a record is."""

CALM_S = 1.0
"""Longest wait of a process that is to stand still until its other thread has nothing open in the broker."""


class Lock(Protocol):
    """A lock of `threading`."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...


class WatchedSource:
    """Notes what is given out, before the worker sees it; and tells `owns` which partitions the worker has."""

    def __init__(self, source: Source, log: RunLog, fates: Fates, owns: Callable[[set[int]], None]) -> None:
        self._source = source
        self._log = log
        self._fates = fates
        self._owns = owns
        self._owned: set[int] = set()
        self._listener: Listener | None = None
        self.calm = threading.RLock()
        """Whoever has it knows that this process has nothing open in the broker: it may stand still."""
        self.closing = False
        """Set it when there will be no more to come. Until then the stream is never at its end."""

    def subscribe(self, listener: Listener) -> None:
        self._listener = listener
        self._source.subscribe(self)

    def poll(self, most: int, timeout_s: float) -> list[Slice]:
        with self.calm:
            pieces = self._source.poll(most, timeout_s)
        at = now()
        self._log.write([Received(at, p.partition.number, p.offset(0), len(p)) for p in pieces])
        for piece in pieces:
            self._fates.reached(int(dict(piece.record(len(piece) - 1).headers)[NUMBER]))
        return pieces

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        with self.calm:
            self._source.commit(offsets)

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._source.pause(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._source.resume(partitions)

    def rejoin(self) -> None:
        assert isinstance(self._source, GroupSource)
        self._source.rejoin()

    def at_end(self) -> bool:
        return self.closing and self._source.at_end()

    def close(self) -> None:
        self._source.close()

    # What the source says.

    def assigned(self, partitions: Sequence[Partition]) -> None:
        if self._listener is not None:
            self._listener.assigned(partitions)
        self._owned.update(partition.number for partition in partitions)
        self._owns(self._owned)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        if self._listener is not None:
            self._listener.revoked(partitions)
        self._gone(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        if self._listener is not None:
            self._listener.lost(partitions)
        self._gone(partitions)

    def _gone(self, partitions: Sequence[Partition]) -> None:
        self._owned.difference_update(partition.number for partition in partitions)
        self._owns(self._owned)


class Watch:
    """What the thread that decides does: its decisions, and whether they were committed."""

    def __init__(self, log: RunLog, fates: Fates, calm: Lock) -> None:
        self._log = log
        self._fates = fates
        self._calm = calm
        self._decisions: list[Decision] = []

    def witness(self, event: Event, outcome: Outcome) -> None:
        """Told of each decision, before it is committed."""
        piece = event.slice
        place = piece.partition.number, piece.offset(event.index)
        self._decisions.append(Decision(*place, outcome.value, now(), event.receiver is not None))

    @contextmanager
    def transaction(self, begin: Callable[[], AbstractContextManager[Transaction]]) -> Iterator[Transaction]:
        """Around a store's. The worst moments for a worker to stand still and to be killed are before and after it."""
        decisions, self._decisions = self._decisions, []
        received = any(not decision.waited for decision in decisions)
        if received and self._fates.due(Class.FREEZE) and self._calm.acquire(timeout=CALM_S):
            try:
                self._fates.meet(Class.FREEZE)
            finally:
                self._calm.release()
        try:
            with begin() as transaction:
                yield transaction
        except Fenced as error:
            lost = {partition.number for partition in error.partitions}
            events = sum(decision.partition in lost for decision in decisions)
            self._log.write([Refused(now(), "fence", events)])
            raise
        except Mismatch as error:
            self._log.write([Refused(now(), "revision", keys=tuple(error.keys))])
            raise
        self._log.write([Decided(now(), decisions)])
        if received and self._fates.due(Class.KILL):
            self._fates.meet(Class.KILL)


class WatchedStore:
    """A store whose transactions are watched."""

    def __init__(self, store: Store, watch: Watch) -> None:
        self._store = store
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """As the store's."""
        return self._watch.transaction(self._store.transaction)
