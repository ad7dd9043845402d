"""Several batch runners of one worker, each with a connection and a share of the keys.

All events of a key are one runner's, in the order they came, so the runners have nothing to agree on: the transactions
of one never touch an entity of another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from inorder.core.engine import Unit
from inorder.core.event import Partition
from inorder.core.waiting import Waiting
from inorder.worker.job import Job, shard_of
from inorder.worker.news import News
from inorder.worker.runner import BatchRunner


class ShardedRunner:
    """Hands each runner the events of its keys, and says that a unit is settled when all who have part in it are
    through. `make` makes a runner that calls what it is given whenever it has news.
    """

    def __init__(self, count: int, make: Callable[[Callable[[], None]], BatchRunner]) -> None:
        self._news = News()
        self._runners: list[BatchRunner] = []
        try:
            for _ in range(count):
                self._runners.append(make(self._news.tell))
        except BaseException:
            for runner in self._runners:
                runner.finish()
            raise
        self._open: dict[int, tuple[Unit, int]] = {}
        """Units that are not settled, by identity, and how many runners are at work on them."""

    def submit(self, job: Job) -> None:
        """Queue each runner's part of a job."""
        for runner, part in zip(self._runners, job.shares(len(self._runners)), strict=True):
            for unit in part.units:
                self._open[id(unit)] = (unit, 1 + self._open.get(id(unit), (unit, 0))[1])
            if part.pieces:
                runner.submit(part)

    def own(self, fences: Mapping[Partition, int], due: Mapping[str, Waiting] | None = None) -> None:
        """The partitions that are ours now, and how keys of new ones wait."""
        self._open = {at: one for at, one in self._open.items() if fences.get(one[0].partition) == one[0].fence}
        waits: list[dict[str, Waiting]] = [{} for _ in self._runners]
        for key, waiting in (due or {}).items():
            waits[shard_of(key, len(waits))][key] = waiting
        for runner, those in zip(self._runners, waits, strict=True):
            runner.own(fences, those)

    def settled(self) -> list[Unit]:
        """What has been settled since the last call. Raises what a thread died of."""
        self._news.taken()
        return [unit for runner in self._runners for unit in runner.settled() if self._complete(unit)]

    def _complete(self, unit: Unit) -> bool:
        left = self._open.pop(id(unit), (unit, 0))[1] - 1
        if left > 0:
            self._open[id(unit)] = (unit, left)
        return left == 0

    def lapsed(self) -> list[Unit]:
        """See `BatchRunner.lapsed`."""
        return []

    def lost(self) -> dict[Partition, int]:
        """Partitions that the store says a newer owner has taken, with the fence it refused, since the last call."""
        found: dict[Partition, int] = {}
        for runner in self._runners:
            for partition, fence in runner.lost().items():
                # One of them may have been at something old.
                found[partition] = max(fence, found.get(partition, fence))
        return found

    def full(self) -> dict[Partition, str]:
        """Partitions whose next event finds no room in the store, and why."""
        return {partition: why for runner in self._runners for partition, why in runner.full().items()}

    def try_again(self) -> None:
        """There may be room for what found none."""
        for runner in self._runners:
            runner.try_again()

    def wait(self, timeout_s: float) -> None:
        """Until there is news, or the time is over."""
        self._news.wait(timeout_s)

    def busy(self) -> bool:
        """Whether anything is queued or running, or an event waits for its retry."""
        return any(runner.busy() for runner in self._runners)

    def drop(self, partitions: set[Partition], timeout_s: float) -> bool:
        """Forget what is queued of these partitions, and wait for what runs. Returns whether it ended in time."""
        for runner in self._runners:
            runner.drop(partitions, 0)
        return self._in_time(timeout_s, lambda runner, left_s: runner.drop(partitions, left_s))

    def watch(self, limit_s: float) -> bool:
        """Give up on handlers that have been running one event for longer than `limit_s`. Returns False."""
        for runner in self._runners:
            runner.watch(limit_s)
        return False

    def stop(self, timeout_s: float) -> bool:
        """Finish what runs, start nothing more, and end the threads. Returns whether all ended in time."""
        for runner in self._runners:
            runner.finish()
        return self._in_time(timeout_s, lambda runner, left_s: runner.stop(left_s))

    def _in_time(self, timeout_s: float, end: Callable[[BatchRunner, float], bool]) -> bool:
        until = time.monotonic() + timeout_s
        in_time = True
        for runner in self._runners:
            in_time = end(runner, max(0.0, until - time.monotonic())) and in_time
        return in_time
