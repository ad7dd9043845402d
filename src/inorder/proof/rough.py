"""What a simulated worker stands on: handlers and a store that fail when told to, and a runner without a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from inorder.core.effect import Outage
from inorder.core.engine import Unit
from inorder.core.event import Event, Partition
from inorder.core.waiting import Waiting
from inorder.errors import Unavailable, Unreachable
from inorder.proof.recorder import Scripted, found_once
from inorder.worker.batch import Batches
from inorder.worker.job import Job, Turn, merged


class Rough(Scripted):
    """Handlers that fail, and what they need that may be down."""

    def __init__(self) -> None:
        super().__init__()
        self.outages: dict[tuple[str, int], int] = {}

    def strike(self, event: Event) -> None:
        """Raise, if this event is to fail."""
        if self.outages:
            left = self.outages.pop((event.key, event.version), 0)
            if left > 1:
                self.outages[event.key, event.version] = left - 1
            if left:
                raise Unavailable("what the handler needs is down")
        if self.poisoned or self.transient:
            super().strike(event)

    def mend(self, key: str | None, version: int | None) -> None:
        """This event fails no more."""
        self.poisoned.discard((key or "", version or 0))

    def clear(self) -> None:
        """Nothing fails any more."""
        self.poisoned.clear()
        self.transient.clear()
        self.outages.clear()


class RoughStore:
    """A store that may be down, or whose answer may be lost, and that gives the world a turn before a transaction."""

    def __init__(self, store: Any, before: Callable[[], None]) -> None:
        self._store = store
        self._before = before
        self.down = 0
        self.cut = 0

    def __getattr__(self, name: str) -> Any:
        return found_once(self, self._store, name)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A transaction of the store."""
        self._before()
        with self._store.transaction() as tx:
            yield tx
            if self.down:
                self.down -= 1
                raise Unreachable("the store went down in the transaction")
        if self.cut:
            self.cut -= 1
            raise Unreachable("the store's answer was lost")


class AtOnce:
    """Decides ahead before the batch at hand is written, in the same thread."""

    def submit(self, task: Callable[[], None]) -> None:
        """Do it."""
        task()

    def close(self) -> None:
        """Nothing is under way."""

    def abandon(self) -> None:
        """Nothing is under way."""


class SteppedRunner:
    """Does what `inorder.worker.runner.BatchRunner` does, a step at a time and without a thread."""

    def __init__(self, batches: Batches, now: Callable[[], float], merge: int) -> None:
        self.batches = batches
        self._now = now
        self._merge = merge
        self._queue: deque[Job] = deque()
        self._current: Turn | None = None
        self._ahead: Turn | None = None
        self._stale = False
        self._fences: dict[Partition, int] = {}
        self._settled: list[Unit] = []
        self._lost: dict[Partition, int] = {}

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._queue.append(job)

    def own(self, fences: Mapping[Partition, int], due: Mapping[str, Waiting] | None = None) -> None:
        """The partitions that are ours now, and how keys of new ones wait."""
        self._fences = dict(fences)
        self.batches.timers.note(due or {})

    def settled(self) -> list[Unit]:
        """What has been settled since the last call."""
        found, self._settled = self._settled, []
        return found

    def lapsed(self) -> list[Unit]:
        """Nothing: there are no leases."""
        return []

    def full(self) -> dict[Partition, str]:
        """Nothing: the store has room."""
        return {}

    def try_again(self) -> None:
        """Nothing was left aside."""

    def lost(self) -> dict[Partition, int]:
        """Partitions that the store says a newer owner has taken, since the last call."""
        found, self._lost = self._lost, {}
        return found

    def wait(self, timeout_s: float) -> None:
        """Nothing happens meanwhile."""

    def busy(self) -> bool:
        """Whether anything is queued or under way, or an event waits for its retry."""
        return bool(self._queue or self._current or self._ahead or self._settled or self.batches.timers.urgent)

    def drop(self, partitions: set[Partition], timeout_s: float) -> bool:
        """Forget what is queued of these partitions. What is under way is left to its end, if it may take that long."""
        for job in self._queue:
            job.without(partitions)
        if self._ahead is not None:
            self._ahead.job.without(partitions)
            self._stale = True
        if timeout_s and self._current is not None:
            self.step()
        return self._current is None

    def watch(self, limit_s: float) -> bool:
        """No handler hangs."""
        return False

    def stop(self, timeout_s: float) -> bool:
        """Nothing runs between two steps."""
        return True

    @property
    def idle(self) -> bool:
        """Whether a step would find nothing to do."""
        return not (self._queue or self._current or self._ahead) and self.batches.timers.next() > self._now()

    def step(self) -> None:
        """One job with what is due. What cannot be done at present is kept, and tried again with the next step."""
        if self.idle:
            return
        if self._current is None:
            self._current, self._ahead = self._taken(), None
            if self._stale:
                self.batches.discard()
            self._stale = False
        turn = self._current
        try:
            lost = self.batches.run(*turn, self._follow)
        except (Unreachable, Outage):
            return
        self._current = None
        self._settled += turn.job.units
        self._lost.update(lost)

    def _taken(self) -> Turn:
        if self._ahead is not None:
            return Turn(self._ahead.job, self._ahead.due, self._fences)
        return Turn(merged(self._queue, self._merge), self.batches.timers.take(self._now()), self._fences)

    def _follow(self) -> Turn | None:
        if self._queue or self._ahead:
            self._ahead = self._taken()
        return self._ahead
