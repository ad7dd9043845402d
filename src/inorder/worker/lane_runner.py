"""The thread that handlers without `tx` run in, and what the poll loop may ask of it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from inorder.core.engine import Unit
from inorder.core.event import Event, Partition, Slice
from inorder.core.waiting import Waiting
from inorder.errors import HandlerTimeout, InorderError, Unreachable
from inorder.worker.job import Job
from inorder.worker.lane_work import LaneWork
from inorder.worker.news import News
from inorder.worker.pool import LEAVING_S, Left, close_loop, throw
from inorder.worker.runner import FIRST_PAUSE_S
from inorder.worker.turning import new_loop

log = logging.getLogger("inorder.worker")

UNREADABLE = (
    "{} from offset {}: reading its events takes more than {:g} s: "
    "a function for key, version or id, or the payload's own decoding, does not return"
)


class LaneRunner:
    """See `inorder.worker.worker.Runner`. Called from the poll loop's thread.

    `make` is called again when an async handler blocks the event loop: then the loop is abandoned with its thread and
    its store, and another takes over what was under way, which it reads anew.
    """

    def __init__(self, make: Callable[[], LaneWork]) -> None:
        self._make = make
        self._inbox: deque[Job] = deque()
        self._under_way: dict[Unit, Slice] = {}
        self._fences: dict[Partition, int] = {}
        self._owned: deque[tuple[dict[Partition, int], dict[str, Waiting]]] = deque()
        self._settled: deque[Unit] = deque()
        self._lapsed: deque[Unit] = deque()
        self._lost: dict[Partition, int] = {}
        self._failure: BaseException | None = None
        self._asked_at: float | None = None
        self._blocked: Event | None = None
        """What the loop is blocked by, while there is no store for another one."""
        self._news = News()
        self._start()

    def _start(self) -> None:
        self._work = work = self._make()
        self._loop = loop = new_loop()
        work.begin(loop)
        work.on_settled = self._take_settled
        work.on_lapsed = self._take_lapsed
        work.on_lost = self._lost.update
        work.on_failure = self._fail

        def run() -> None:
            with suppress(Left):
                while not _runs_to_its_end(loop):
                    pass
            close_loop(loop)

        self._thread = threading.Thread(target=run, name="inorder-lanes", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job that is not read yet."""
        self._under_way.update(job.pieces)
        self._inbox.append(job)
        self._loop.call_soon_threadsafe(self._take_in, self._work)

    def own(self, fences: Mapping[Partition, int], due: Mapping[str, Waiting] | None = None) -> None:
        """The partitions that are ours now, and how keys of new ones wait."""
        self._fences = dict(fences)
        self._owned.append((dict(fences), dict(due or {})))
        self._loop.call_soon_threadsafe(self._take_over, self._work)

    def settled(self) -> list[Unit]:
        """What has been settled since the last call. Raises what the lanes died of."""
        self._news.taken()
        if self._failure is not None:
            raise self._failure
        found = [self._settled.popleft() for _ in range(len(self._settled))]
        for unit in found:
            self._under_way.pop(unit, None)
        return found

    def lapsed(self) -> list[Unit]:
        """Deliveries whose lease ended before their handler was called, since the last call."""
        found = [self._lapsed.popleft() for _ in range(len(self._lapsed))]
        for unit in found:
            self._under_way.pop(unit, None)
        return found

    def lost(self) -> dict[Partition, int]:
        """Partitions that the store says a newer owner has taken, with the fence it refused, since the last call."""
        return dict(self._lost.popitem() for _ in range(len(self._lost)))

    def full(self) -> dict[Partition, str]:
        """Partitions whose next event finds no room in the store, and why."""
        return dict(self._work.full)

    def try_again(self) -> None:
        """There may be room for what found none."""
        work = self._work
        self._loop.call_soon_threadsafe(work.try_again)

    def wait(self, timeout_s: float) -> None:
        """Until something is settled, or the time is over."""
        self._news.wait(timeout_s)

    def busy(self) -> bool:
        """Whether anything is queued, running or not committed, or an event waits for its retry."""
        return bool(self._inbox or self._owned or self._settled or self._work.busy)

    def drop(self, partitions: set[Partition], timeout_s: float) -> bool:
        """Forget what is queued of these partitions, and wait for what runs. Returns whether it ended in time."""
        self._under_way = {unit: piece for unit, piece in self._under_way.items() if unit.partition not in partitions}
        self._loop.call_soon_threadsafe(self._work.drop, partitions)
        drained = asyncio.run_coroutine_threadsafe(self._work.drained(partitions), self._loop)
        return self._within(drained, timeout_s)

    def watch(self, limit_s: float) -> bool:
        """Give up on handlers that have been running for longer than `limit_s`. True: `own` is to be called again."""
        now = time.monotonic()
        if self._blocked is not None:
            time.sleep(FIRST_PAUSE_S)
            return self._begin_anew(self._blocked, limit_s)
        if self._asked_at is None:
            self._asked_at = now
            self._loop.call_soon_threadsafe(self._watched, self._work, limit_s)
        elif now - self._asked_at > limit_s:
            if (event := self._work.stuck_in()) is not None:
                log.error("key %s version %d: the handler blocks its event loop", event.key, event.version)
                self._work.abandon()
                return self._begin_anew(event, limit_s)
            if (piece := self._work.reading) is not None:
                self._fail(InorderError(UNREADABLE.format(piece.partition, piece.offset(0), limit_s)))
        return False

    def _watched(self, work: LaneWork, limit_s: float) -> None:
        if work is self._work:
            self._asked_at = None
            work.watch(limit_s)

    def _begin_anew(self, event: Event, limit_s: float) -> bool:
        """Returns whether another loop has taken over: it needs a store of its own."""
        work, loop, thread = self._work, self._loop, self._thread
        try:
            self._start()
        except Unreachable as away:
            if self._blocked is None:
                log.error("paused: %s", away)
            self._blocked = event
            return False
        throw(Left, thread)
        loop.call_soon_threadsafe(_end, loop, work)
        self._blocked = self._asked_at = None
        self._inbox.clear()
        self._owned.clear()
        self._work.bar(event, HandlerTimeout(f"ran for more than {limit_s:g} s"))
        job = Job()
        for unit, piece in self._under_way.items():
            if unit not in self._settled:
                job.add(unit, piece)
        self.own(self._fences)
        self.submit(job)
        return True

    def stop(self, timeout_s: float) -> bool:
        """Finish what runs, start nothing more, and end. Returns whether it ended in time."""
        finished = threading.Event()
        self._loop.call_soon_threadsafe(self._work.finish, finished.set)
        ended = finished.wait(timeout_s)
        if not ended and (self._work.stuck_in() or self._work.reading) is not None:
            throw(Left, self._thread)
        self._loop.call_soon_threadsafe(_end, self._loop, self._work)
        self._thread.join(2 * LEAVING_S)
        self._work.close()
        return ended

    def _within(self, future: object, timeout_s: float) -> bool:
        try:
            future.result(timeout_s)  # type: ignore[attr-defined]
        except TimeoutError:
            return False
        return True

    def _take_over(self, work: LaneWork) -> None:
        if work is self._work and self._owned:
            work.own(*self._owned[0])
            self._owned.popleft()

    def _take_in(self, work: LaneWork) -> None:
        if work is self._work and self._inbox:
            jobs = list(self._inbox)
            work.take_in(jobs)
            for _ in jobs:
                self._inbox.popleft()

    def _take_settled(self, units: list[Unit]) -> None:
        self._settled.extend(units)
        self._news.tell()

    def _take_lapsed(self, units: list[Unit]) -> None:
        self._lapsed.extend(units)
        self._news.tell()

    def _fail(self, error: BaseException) -> None:
        # The first one is the reason: what comes later may be no more than how it ended.
        self._failure = self._failure or error
        self._news.tell()


def _runs_to_its_end(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop was stopped on purpose."""
    try:
        loop.run_forever()
    except (SystemExit, KeyboardInterrupt):
        # Raised in a task of a handler's own. Whoever awaits that task is told; all others go on.
        return False
    return True


def _end(loop: asyncio.AbstractEventLoop, work: LaneWork) -> None:
    """Stop the loop, when what still runs on it has been told and has ended."""

    async def end() -> None:
        work.leave()
        others = asyncio.all_tasks() - {ending}
        for other in others:
            if not other.cancelling():
                # To be told twice would cut the cleaning up short as well.
                other.cancel()
        if others:
            await asyncio.wait(others, timeout=LEAVING_S)
        loop.stop()

    ending = loop.create_task(end())
