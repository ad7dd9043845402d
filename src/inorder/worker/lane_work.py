"""The work of handlers without `tx`: what is taken in, what a refused commit means, and what is let go of.

All of it happens on one event loop, so nothing is locked. A completion counts when its group is committed, and only
then is its delivery settled: whatever was not comes again, so effects happen at least once, in order. What starts, and
what a call that has ended means, is `deciding.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.engine import Unit
from inorder.core.entity import Entity
from inorder.core.event import Event, Malformed, Partition, Slice
from inorder.core.lanes import Lanes
from inorder.core.order import Order
from inorder.core.planner import Planner
from inorder.core.waiting import Waiting
from inorder.declaration import Declaration
from inorder.errors import HandlerTimeout, InorderError
from inorder.observe.nobody import NOBODY
from inorder.ports import Clock, Observer
from inorder.worker.batch import SHARED_S, Witness
from inorder.worker.calls import Calls
from inorder.worker.claims import Claims
from inorder.worker.commits import Commits
from inorder.worker.deciding import Deciding, received
from inorder.worker.group import Group, Groups
from inorder.worker.job import Job
from inorder.worker.keeper import Keeper
from inorder.worker.known import Known
from inorder.worker.reading_back import renew
from inorder.worker.waking import Waking

log = logging.getLogger("inorder.worker")

CANCELLED = "work of the worker itself was cancelled: a handler must cancel no tasks but its own"
READ_AT_ONCE = 64
"""So many deliveries are read before calls that run, or could, have a turn. To read one takes a tenth of what a call
does."""


class LaneWork:
    """Lanes and calls of one worker. Every method runs on the event loop unless it says otherwise."""

    def __init__(
        self,
        declared: Declaration,
        lanes: Lanes,
        planner: Planner,
        codec: JsonCodec,
        keeper: Keeper,
        tally: int,
        clock: Clock,
        witness: Witness | None,
        queue: bool = False,
        observer: Observer = NOBODY,
    ) -> None:
        self.declared = declared
        self._planner = planner
        self._codec = codec
        self._reading, self._loading = asyncio.Lock(), asyncio.Lock()
        self._read_jobs: list[Job] = []
        """Jobs that are read, and not loaded yet."""
        self.reading: Slice | None = None
        """What is being read, by functions of the user's too. From any thread."""
        self._queue = queue
        self._tally = tally
        self._clock = clock
        self._lanes = lanes
        self._keeper = keeper
        claims = Claims(keeper, tally, clock, planner.limits.handler_s) if queue else None
        self._groups = groups = Groups(lambda: Changes(tally, witness, observer.watches))
        self._known = known = Known(keeper, groups, planner.guard.baseline, planner.limits.cache_bytes)
        self._commits = commits = Commits(planner, keeper, groups, known, claims, observer, self._spawn)
        self._waking = waking = Waking(
            planner, codec, keeper, lanes, groups, known, commits, claims, clock, self._spawn
        )
        self._deciding = Deciding(
            declared.batch, lanes, planner, groups, known, commits, waking, clock, observer, self._spawn
        )
        self._standstill = self._deciding.standstill
        self._tasks: set[asyncio.Task[None]] = set()
        self._shared_until = 0.0
        self._left = False
        self.on_settled: Callable[[list[Unit]], None]
        self.on_lapsed: Callable[[list[Unit]], None]
        self.on_lost: Callable[[Mapping[Partition, int]], None]
        self.on_failure: Callable[[BaseException], None]

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Before the loop runs."""
        self._loop = loop
        deciding = self._deciding
        self._calls = Calls(
            self.declared, self._lanes.at_once, loop, deciding.next, deciding.over, deciding.taken_back, self._fail
        )
        deciding.loop, deciding.calls, deciding.go, deciding.lapsed = loop, self._calls, self.go, self._lapsed
        deciding.renew = self._renew
        self._known.running = self._running
        commits, waking = self._commits, self._waking
        commits.loop, commits.go, commits.through = loop, self.go, self._through
        commits.waking, commits.more = waking.draining, self._more
        commits.refused, commits.outdated = self._decide_again, self._outdated
        waking.loop, waking.go, waking.outrun, waking.barred = loop, self.go, self._outrun, self._calls.barred

    @property
    def busy(self) -> bool:
        """Whether anything is queued, running or not committed, or an event waits for its retry. From any thread."""
        running = self._lanes.queued or self._calls.running or self._deciding.unknown or self._tasks
        return bool(running or self._groups.now.changes or self._waking.busy)

    # Taking in.

    def own(self, fences: Mapping[Partition, int], due: Mapping[str, Waiting]) -> None:
        """The partitions that are ours now, and how keys of new ones wait."""
        came = any(self._known.fences.get(partition) != fence for partition, fence in fences.items())
        self._known.fences = dict(fences)
        if came:
            # What comes to us may have been somebody else's since we had it: a handler called on what we knew then
            # would repeat what they did. Where we are at work the commit will tell.
            self._known.forget()
            self._calls.take_back()
            self.go()
        self._waking.note(due)

    def take_in(self, jobs: Iterable[Job]) -> None:
        """New deliveries, not read yet."""
        for job in jobs:
            self._spawn(self._take(job))

    async def _take(self, job: Job) -> None:
        """Read a job when those before it are read, and load it with all that were read while the store answered."""
        async with self._reading:
            await self._read(job)
        self._read_jobs.append(job)
        async with self._loading:
            jobs, self._read_jobs = self._read_jobs, []
            if jobs:
                await self._load(jobs)

    async def _read(self, job: Job) -> None:
        """On the loop: in another thread it would hold up handlers for longer than the reading takes."""
        count = 0
        for unit, piece in job.pieces:
            for start in range(0, len(piece), READ_AT_ONCE):
                if self._deciding.stopping or not self._has(unit):
                    break
                self.reading = piece
                events, malformed = self._codec.read(piece, start, start + READ_AT_ONCE)
                self.reading = None
                job.events += events
                job.malformed += malformed
                count += len(events) + len(malformed)
                if count >= READ_AT_ONCE and self._more():
                    count = 0
                    await asyncio.sleep(0)

    async def _load(self, jobs: list[Job]) -> None:
        """Queue what was read, with what is known of its entities at hand."""
        keys = {event.key for job in jobs for event in job.events}
        if self._clock.now() < self._shared_until:
            self._known.drop(self._waking.idle(keys))
        await self._known.load(keys)
        for job in jobs:
            for unit, piece in job.pieces:
                if self._has(unit):
                    self._groups.opened(unit, piece)
            self._refuse(job.malformed)
            for event in self._sorted(job):
                self._lanes.add(event)
        self.go()

    def _has(self, unit: Unit) -> bool:
        """Whether the partition of a unit has been ours ever since it was received."""
        return self._known.fences.get(unit.partition) == unit.fence

    def _refuse(self, malformed: Iterable[Malformed]) -> None:
        """Refuse what could not be read, as far as it is still ours: the rest is for whoever gets it."""
        self._deciding.refuse([one for one in malformed if self._deciding.is_ours(one.slice)], self._clock.now())

    def _sorted(self, job: Job) -> Iterable[Event]:
        """What came out of order in one poll need not be held in the store: its lane may as well start in order."""
        if self._planner.guard.order is not Order.STRICT:
            return job.events
        return sorted(job.events, key=lambda event: event.version)

    # Running.

    def go(self) -> None:
        """Start what may start, and commit what is decided."""
        if self._lanes.queued:
            self._calls.fill()
        self._commits.soon()

    def _running(self) -> dict[str, Entity]:
        return {run.entity.key: run.entity for run in self._calls.runs if run.epoch == self._known.epoch}

    def watch(self, limit_s: float) -> None:
        """Give up on handlers that have been running for longer than `limit_s`."""
        late = self._calls.late(limit_s)
        for run in late:
            log.error("key %s version %d: the handler hangs", run.entity.key, run.events[0].version)
            run.error = HandlerTimeout(f"ran for more than {limit_s:g} s")
            self._deciding.over(run)
        if late:
            self.go()

    # Want of room.

    @property
    def full(self) -> dict[Partition, str]:
        """See `Standstill.full`. From any thread."""
        return self._standstill.full

    def try_again(self) -> None:
        """There may be room for what found none. Its keys may have been changed by whoever made room."""
        aside, standing = self._standstill.try_again()
        keys = {one.key for one in aside if one.key is not None} | {key for key, _ in standing}
        self._known.drop(keys)
        for key, events in standing:
            self._lanes.put_back(key, events)
        for one in aside:
            if isinstance(one, Event):
                self._lanes.add(one)
            elif self._deciding.is_ours(one.slice):
                self._deciding.refuse([one], self._clock.now())
        self.go()

    # Commits, and what became of them.

    def _more(self) -> bool:
        return bool(self._lanes.queued or self._calls.running)

    def _through(self, waits: Mapping[str, Waiting | None], settled: list[Unit]) -> None:
        self._standstill.tried()
        self._waking.note(waits)
        if settled:
            self.on_settled(settled)

    def _outdated(self) -> None:
        if self._queue:
            self._shared_until = self._clock.now() + SHARED_S

    def _outrun(self) -> None:
        self._shared_until = self._clock.now() + SHARED_S
        self._decide_again(Group(Changes(self._tally)), {})

    def _decide_again(self, refused: Group, lost: Mapping[Partition, int]) -> None:
        """Nothing of a commit was written: forget what was known, and let the guard look at its events again, as far as
        they are still ours when their turn comes. Whoever finds this out calls `go` in the end.

        Those that come back from the store are read anew, with whatever else waits for their keys.
        """
        self._calls.take_back()
        self._known.begin_anew()
        since = self._groups.take()
        redo = refused.events + since.events
        waking = {event.key for event in redo if event.receiver is not None} | self._waking.begin_anew()
        for partition, fence in lost.items():
            if self._known.fences.get(partition) == fence:
                del self._known.fences[partition]
        if lost:
            self._groups.keep(self._known.fences)
            self.on_lost(lost)
        self._waking.at_once(waking)
        self._refuse(refused.malformed + since.malformed)
        redo = received(redo)
        self._renew(redo)
        for event in redo:
            self._lanes.add(event)

    def _renew(self, events: list[Event]) -> None:
        renew(self._codec, events, self._calls.barred)

    # Letting go.

    def drop(self, partitions: set[Partition]) -> None:
        """Start nothing more of these partitions, nor of the keys that are at home there."""
        for partition in partitions:
            self._known.fences.pop(partition, None)
        self._calls.take_back()
        for key, events in self._standstill.forget(partitions):
            self._lanes.put_back(key, events)
        epoch = self._known.epoch
        moved = self._waking.moved(partitions, lambda key: self._calls.coming_back(key, epoch))

        def gone(event: Event) -> bool:
            return event.key in moved if event.receiver is not None else event.slice.partition in partitions

        self._lanes.drop(gone)
        self.go()

    async def drained(self, partitions: set[Partition]) -> None:
        """Wait for what runs of these partitions, and for the commit of what was decided."""
        while self._calls.of(partitions):
            await asyncio.sleep(0.005)
        commits, groups = self._commits, self._groups
        due = commits.count + commits.writing + bool(groups.now.changes)
        while commits.count < due and (commits.busy or groups.now.changes):
            await asyncio.sleep(0.005)
        groups.keep(self._known.fences)

    def finish(self, finished: Callable[[], None]) -> None:
        """Finish what runs, start nothing more, and commit."""
        self._deciding.stopping = self._waking.stopping = True
        self._lanes.drop(lambda event: True)
        if self._commits.busy or self._groups.now.changes or self._calls.running:
            self._loop.call_later(0.005, self.finish, finished)
        else:
            finished()

    def leave(self) -> None:
        """Before the loop ends: do without what still runs."""
        self._left = True
        self._calls.close()

    def close(self) -> None:
        """After the loop has ended. From any thread."""
        self._calls.close()
        self._keeper.close()

    # When a handler blocks the loop. From another thread.

    def stuck_in(self) -> Event | None:
        """The event whose handler has the loop to itself."""
        return self._calls.current()

    def abandon(self) -> None:
        """Nothing of this is to be written or reported any more."""
        self.on_settled, self.on_lapsed, self.on_lost, self.on_failure = (lambda _: None,) * 4
        self._deciding.stopping = True
        self._keeper.abandon()
        self._calls.close()

    def bar(self, event: Event, error: Exception) -> None:
        """This event is to fail with this error, without being tried. Before anything is taken in."""
        self._calls.barred[event.key, event.version] = error

    # What may go wrong.

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            if not self._left:
                # What it had would never be settled, and nobody would know.
                self._fail(InorderError(CANCELLED))
        elif (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.on_failure(error)

    def _lapsed(self, unit: Unit) -> None:
        self.on_lapsed([unit])
