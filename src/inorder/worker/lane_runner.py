"""The thread that handlers without `tx` run in, and what the poll loop may ask of it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Mapping

from inorder.core.engine import Unit
from inorder.core.entity import Waiting
from inorder.core.event import Partition
from inorder.worker.job import Job
from inorder.worker.lane_work import LaneWork


class LaneRunner:
    """See `inorder.worker.worker.Runner`. Called from the poll loop's thread."""

    def __init__(self, work: LaneWork) -> None:
        self._work = work
        self._inbox: deque[Job] = deque()
        self._settled: deque[Unit] = deque()
        self._lost: dict[Partition, int] = {}
        self._failure: BaseException | None = None
        self._news = threading.Event()
        self._loop = asyncio.new_event_loop()
        work.begin(self._loop)
        work.on_settled = self._take_settled
        work.on_lost = self._lost.update
        work.on_failure = self._fail
        self._thread = threading.Thread(target=self._loop.run_forever, name="inorder-lanes", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._inbox.append(job)
        self._loop.call_soon_threadsafe(self._take_in)

    def own(self, fences: Mapping[Partition, int], due: Mapping[str, Waiting] | None = None) -> None:
        """The partitions that are ours now, and how keys of new ones wait."""
        self._loop.call_soon_threadsafe(self._work.own, dict(fences), dict(due or {}))

    def settled(self) -> list[Unit]:
        """What has been settled since the last call. Raises what the lanes died of."""
        self._news.clear()
        if self._failure is not None:
            raise self._failure
        return [self._settled.popleft() for _ in range(len(self._settled))]

    def lost(self) -> dict[Partition, int]:
        """Partitions that the store says a newer owner has taken, with the fence it refused, since the last call."""
        return dict(self._lost.popitem() for _ in range(len(self._lost)))

    def wait(self, timeout_s: float) -> None:
        """Until something is settled, or the time is over."""
        self._news.wait(timeout_s)

    def busy(self) -> bool:
        """Whether anything is queued, running or not committed, or an event waits for its retry."""
        return bool(self._inbox or self._settled or self._work.busy)

    def drop(self, partitions: set[Partition], timeout_s: float) -> bool:
        """Forget what is queued of these partitions, and wait for what runs. Returns whether it ended in time."""
        for job in list(self._inbox):
            job.without(partitions)
        self._loop.call_soon_threadsafe(self._work.drop, partitions)
        drained = asyncio.run_coroutine_threadsafe(self._work.drained(partitions), self._loop)
        return self._within(drained, timeout_s)

    def watch(self, limit_s: float) -> None:
        """Give up on handlers that have been running for longer than `limit_s`."""
        self._loop.call_soon_threadsafe(self._work.watch, limit_s)

    def stop(self, timeout_s: float) -> bool:
        """Finish what runs, start nothing more, and end. Returns whether it ended in time."""
        ended = self._within(asyncio.run_coroutine_threadsafe(self._work.finish(), self._loop), timeout_s)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)
        self._work.close()
        return ended

    def _within(self, future: object, timeout_s: float) -> bool:
        try:
            future.result(timeout_s)  # type: ignore[attr-defined]
        except TimeoutError:
            return False
        return True

    def _take_in(self) -> None:
        jobs = [self._inbox.popleft() for _ in range(len(self._inbox))]
        if jobs:
            self._work.take_in(jobs)

    def _take_settled(self, units: list[Unit]) -> None:
        self._settled.extend(units)
        self._news.set()

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._news.set()
