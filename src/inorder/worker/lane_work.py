"""The work of handlers without `tx`: which lane starts, what a completion means, what is committed together.

All of it happens on one event loop, so nothing is locked. A completion counts when its group is committed, and only
then is its delivery settled: whatever was not comes again, so effects happen at least once, in order.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.engine import Unit
from inorder.core.entity import Entity
from inorder.core.event import Event, Malformed, Partition, Slice
from inorder.core.lanes import Lanes
from inorder.core.order import Order
from inorder.core.planner import NoRoom, Outage, Planner, by_key
from inorder.core.waiting import AT_ONCE, Wait, Waiting
from inorder.declaration import Declaration
from inorder.errors import Fenced, HandlerTimeout, Mismatch
from inorder.observe.nobody import NOBODY
from inorder.ports import Clock, Observer, Store
from inorder.worker.batch import HELD_AT_ONCE, SHARED_S, Witness, at_home, read_back
from inorder.worker.cache import Cache
from inorder.worker.calls import Calls, Run
from inorder.worker.claims import Claims
from inorder.worker.group import Group, Groups
from inorder.worker.job import Job
from inorder.worker.keeper import Keeper
from inorder.worker.runner import FIRST_PAUSE_S, LONGEST_PAUSE_S
from inorder.worker.timers import Timers

log = logging.getLogger("inorder.worker")

CONFIRM_EVERY_S = 1.0
"""A worker that has not heard from the store for so long asks it whether its partitions are still its own before it
starts another handler: a process that was stopped and goes on must not repeat what its successor has done."""
CLAIM_AGAIN_S = 0.02
"""When to try again to claim a key while something is being committed."""
LOOK_AGAIN_S = 0.5
"""When to look again at a key that is said to be due, and has something running."""


class LaneWork:
    """Lanes, entities and commits of one worker. Every method runs on the event loop unless it says otherwise."""

    def __init__(
        self,
        declared: Declaration,
        concurrency: int,
        planner: Planner,
        codec: JsonCodec,
        store: Store,
        tally: int,
        clock: Clock,
        witness: Witness | None,
        queue: bool = False,
        observer: Observer = NOBODY,
    ) -> None:
        self.declared = declared
        self._concurrency = concurrency
        self._planner = planner
        self._codec = codec
        self._observer = observer
        self._observed = observer.watches
        self._keeper = Keeper(store, observer)
        self._tally = tally
        self._clock = clock
        self._claims = Claims(self._keeper, tally, clock, planner.limits.handler_s) if queue else None
        self._groups = Groups(lambda: Changes(tally, witness, observer.watches))
        self._lanes = Lanes(concurrency)
        self._cache = Cache(planner.limits.cache_bytes)
        self._timers = Timers()
        self._draining: dict[str, int] = {}
        self._aside: list[Event | Malformed] = []
        """What found no room in the store, to be tried again."""
        self._standing: list[tuple[str, list[Event]]] = []
        """The same, of events that failed: the lane of their key stands still."""
        self._full: dict[Partition, str] = {}
        self._trying: dict[Partition, str] = {}
        self._homes: dict[str, tuple[Partition, int]] = {}
        """Of keys whose held events are being decided: the fence that it stands under."""
        self._fences: dict[Partition, int] = {}
        self._epoch = 0
        self._confirmed_at = time.monotonic()
        self._confirming = False
        self._shared_until = 0.0
        self._unknown: list[Event] = []
        """Started, but for their entities, which have to be read first."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._committing = False
        self._writing: set[str] = set()
        """The keys whose entities are being committed."""
        self._commits = 0
        self._paused_s = 0.0
        self._last_pause_s = 0.0
        self._stopping = False
        self._ringing = False
        self._alarm: asyncio.TimerHandle | None = None
        self.on_settled: Callable[[list[Unit]], None] = lambda units: None
        self.on_lapsed: Callable[[list[Unit]], None] = lambda units: None
        self.on_lost: Callable[[Mapping[Partition, int]], None] = lambda fences: None
        self.on_failure: Callable[[BaseException], None] = lambda error: None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Before the loop runs."""
        self._loop = loop
        self._calls = Calls(self.declared, self._concurrency, loop, self._next, self._over, self._failed)

    @property
    def busy(self) -> bool:
        """Whether anything is queued, running or not committed, or an event waits for its retry. From any thread."""
        running = self._lanes.queued or self._calls.running or self._unknown or self._tasks or self._committing
        return bool(running or self._ringing or self._groups.now.changes or self._timers.urgent or self._draining)

    # Taking in.

    def own(self, fences: Mapping[Partition, int], due: Mapping[str, Waiting]) -> None:
        """The partitions that are ours now, and how keys of new ones wait."""
        came = any(self._fences.get(partition) != fence for partition, fence in fences.items())
        self._fences = dict(fences)
        if came:
            self._forget_known()
        self._note_waits(due)

    def take_in(self, jobs: list[Job]) -> None:
        """New deliveries."""
        self._spawn(self._load(jobs))

    async def _load(self, jobs: list[Job]) -> None:
        if self._clock.now() < self._shared_until:
            self._cache.drop(self._idle({event.key for job in jobs for event in job.events}))
        await self._entities({event.key for job in jobs for event in job.events})
        now = self._clock.now()
        for job in jobs:
            for unit, piece in job.pieces:
                self._groups.opened(unit, piece)
            self._refuse(job.malformed, now)
            for event in self._sorted(job):
                self._lanes.add(event)
        self.go()

    def _refuse(self, malformed: Iterable[Malformed], now: float) -> None:
        for found in malformed:
            try:
                self._planner.malformed(found, self._groups.now.changes, now)
            except NoRoom as error:
                self._full[error.partition] = str(error)
                self._aside.append(found)
            else:
                self._groups.now.malformed.append(found)

    def _sorted(self, job: Job) -> Iterable[Event]:
        """What came out of order in one poll need not be held in the store: its lane may as well start in order."""
        if self._planner.guard.order is not Order.STRICT:
            return job.events
        return sorted(job.events, key=lambda event: event.version)

    async def _entities(self, keys: Iterable[str]) -> None:
        """Read the entities that are not known into the cache."""
        _, missing = self._cache.find(set(keys))
        if not missing:
            return
        epoch = self._epoch
        loaded = await self._keeper.load(missing)
        if epoch != self._epoch:
            return
        _, missing = self._cache.find(set(missing))
        for key in missing:
            self._cache.keep(loaded.get(key) or Entity(key, self._planner.guard.baseline))

    # Running.

    def go(self) -> None:
        """Start what may start, and commit what is decided."""
        if self._lanes.queued:
            self._calls.fill()
        if self._groups.now.changes:
            self._commit_soon()

    def _next(self) -> Run | None:
        """What to call the handler with next; None: nothing, for now."""
        lanes = self._lanes
        if not lanes.queued or self._paused_s or self._stopping:
            return None
        now = time.monotonic()
        if now - self._confirmed_at > CONFIRM_EVERY_S:
            self._confirm_soon()
            return None
        while events := lanes.start(self.declared.batch):
            ours = [event for event in events if self._may_begin(event)]
            if len(ours) < len(events):
                lanes.put_back(events[0].key, ours)
                continue
            entity = self._cache.get(events[0].key)
            if entity is None:
                if not self._unknown:
                    self._loop.call_soon(self._load_unknown)
                self._unknown += events
                continue
            run = self._decide(entity, events, now)
            if run is not None:
                return run
        if self._groups.now.changes:
            self._commit_soon()
        return None

    def _may_begin(self, event: Event) -> bool:
        """Whether an event is still ours to handle. One that is not is on its way to somebody else."""
        if event.receiver is None:
            return self._is_ours(event.slice)
        key = event.key
        home = self._homes.get(key)
        ours = home is None or self._fences.get(home[0]) == home[1]
        if ours and (self._claims is None or self._claims.holds(key)):
            return True
        # Somebody else may have woken the key by now: all that waits for it is read anew, if it is still ours to wake.
        self._lanes.drop(lambda queued: queued.receiver is not None and queued.key == key)
        self._draining.pop(key, None)
        self._note_waits({key: Waiting(Wait.GAP, 0, 0.0, due_at=AT_ONCE)})
        return False

    def _is_ours(self, piece: Slice) -> bool:
        """Whether a slice came from a partition that has been ours ever since, or under a lease that holds."""
        if self._groups.fence(piece) != self._fences.get(piece.partition, -1):
            return False
        if piece.lease is None or piece.lease.holds():
            return True
        unit = self._groups.lapse(piece)
        if unit is not None:
            self.on_lapsed([unit])
        return False

    def _decide(self, entity: Entity, events: list[Event], since: float) -> Run | None:
        """The call with the first of `events`, and with those that may follow it in the same call. None: no call."""
        first = events[0]
        flows = not entity.held and self._planner.follows(entity, entity.version, first)
        if not flows and not self._admits(entity, events):
            return None
        if len(events) > 1:
            count = 1
            follows, bars = self._planner.follows, self._calls.bars
            while (
                count < len(events)
                and follows(entity, events[count - 1].version, events[count])
                and not bars(events[count])
            ):
                count += 1
            self._lanes.keep_back(entity.key, events[count:])
            events = events[:count]
        waiting = entity.waiting
        again = waiting is not None and waiting.version == first.version
        attempt = 1 + (waiting.attempts if again and waiting else 0)
        partition = first.slice.partition
        fence = self._fences.get(partition, 0)
        if first.receiver is not None:
            partition, fence = self._homes.get(entity.key, (partition, fence))
        if self._observed:
            self._observer.started(first.slice)
        return Run(entity, events, self._epoch, attempt, partition, fence, since)

    def _admits(self, entity: Entity, events: list[Event]) -> bool:
        """Whether the first of these may take effect. Where not, the others are put back."""
        first, now = events[0], self._clock.now()
        try:
            if self._planner.admit(entity, first, self._groups.now.changes, now):
                return True
        except NoRoom as error:
            # Its lane goes on: what follows may be what makes room.
            self._full[error.partition] = str(error)
            self._aside.append(first)
        else:
            self._note(first)
            self._look_ahead(entity, first, now)
        self._lanes.put_back(entity.key, events[1:])
        return False

    def _load_unknown(self) -> None:
        events, self._unknown = self._unknown, []
        self._spawn(self._load_again(events))

    async def _load_again(self, events: list[Event]) -> None:
        """The cache has let go of these entities while their events were queued."""
        epoch = self._epoch
        found = by_key(events)
        await self._entities(found)
        for key, those in found.items():
            self._lanes.put_back(key, those if epoch == self._epoch else _received(those))
        self.go()

    def _over(self, run: Run) -> None:
        """A handler returned or raised: what that means, and whether its lane may go on."""
        key = run.entity.key
        if self._observed:
            self._observer.called(time.monotonic() - run.since, run.error is not None)
        if run.epoch != self._epoch:
            # Decided on knowledge that turned out old: the guard must look again.
            self._lanes.put_back(key, _received(run.events))
            return
        if run.error is not None:
            self._failed_call(run, run.error)
        else:
            if self._last_pause_s:
                self._go_on()
            changes, applied = self._groups.now.changes, self._planner.applied
            for event in run.events:
                applied(run.entity, event, changes)
                self._note(event)
            if run.entity.waiting is not None:
                self._look_ahead(run.entity, run.events[0], self._clock.now())
            self._lanes.finish(key)
        self._commit_soon()

    def _failed_call(self, run: Run, error: BaseException) -> None:
        key, now, events = run.entity.key, self._clock.now(), run.events
        try:
            self._planner.failed(run.entity, events[0], error, self._groups.now.changes, now)
        except Outage as outage:
            self._lanes.put_back(key, events)
            self._pause(str(outage))
        except NoRoom as no_room:
            self._full[no_room.partition] = str(no_room)
            self._standing.append((key, events))
        else:
            self._note(events[0])
            self._look_ahead(run.entity, events[0], now)
            self._lanes.put_back(key, events[1:])

    def _note(self, event: Event) -> None:
        """`event` is decided; its delivery is settled with the next commit."""
        self._groups.now.events.append(event)
        if event.receiver is None:
            return
        if event.key in self._homes:
            self._groups.now.under(*self._homes[event.key])
        left = self._draining.get(event.key, 0) - 1
        if left > 0:
            self._draining[event.key] = left
        else:
            self._draining.pop(event.key, None)
            self._homes.pop(event.key, None)

    def _look_ahead(self, entity: Entity, after: Event, now: float) -> None:
        if entity.key not in self._draining:
            self._planner.look_ahead(entity, self._groups.now.changes, now, after)

    def watch(self, limit_s: float) -> None:
        """Give up on handlers that have been running for longer than `limit_s`."""
        late = self._calls.late(limit_s)
        for run in late:
            log.error("key %s version %d: the handler hangs", run.entity.key, run.events[0].version)
            run.error = HandlerTimeout(f"ran for more than {limit_s:g} s")
            self._over(run)
        if late:
            self.go()

    # Want of room.

    @property
    def full(self) -> dict[Partition, str]:
        """The partitions whose next event finds no room, and why; also while it is tried again. From any thread."""
        return self._trying | self._full

    def try_again(self) -> None:
        """There may be room for what found none. Its keys may have been changed by whoever made room."""
        aside, standing = self._aside, self._standing
        self._aside, self._standing, self._full, self._trying = [], [], {}, self._full
        at_work = self._groups.now.changes.entities
        keys = {one.key for one in aside if one.key is not None} | {key for key, _ in standing}
        if not self._committing:
            self._cache.drop(key for key in keys if key not in at_work)
        for key, events in standing:
            self._lanes.put_back(key, events)
        for one in aside:
            if isinstance(one, Event):
                self._lanes.add(one)
            elif self._is_ours(one.slice):
                self._refuse([one], self._clock.now())
        self.go()

    # Waking keys.

    def _note_waits(self, waits: Mapping[str, Waiting | None]) -> None:
        self._timers.note(waits)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        delay_s = self._timers.next() - self._clock.now()
        if delay_s < float("inf"):
            self._alarm = self._loop.call_later(max(0.0, min(delay_s, 60.0)), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._ringing = True
        keys = [key for key in self._timers.take(self._clock.now()) if key not in self._draining]
        self._forget_changed(keys)
        for key in keys:
            self._draining[key] = 0
        if keys and not self._stopping:
            self._spawn(self._wake(keys))
        self._ringing = False
        self._note_waits({})

    async def _wake(self, keys: list[str]) -> None:
        begun_in = self._epoch
        await self._entities(keys)
        now = self._clock.now()
        found, _ = self._cache.find(set(keys))
        for key in keys:
            if self._epoch != begun_in:
                # What was found is old by now. Whoever found that out has these keys rung for again.
                break
            self._draining.pop(key, None)
            self._homes.pop(key, None)
            entity = found.get(key)
            if entity is None or not at_home(entity, self._fences):
                continue
            if self._claims is not None:
                if not self._idle([key]):
                    # A claim is written by itself, and never over what is not written yet.
                    self._note_waits({key: Waiting(Wait.GAP, 0, 0.0, due_at=now + CLAIM_AGAIN_S)})
                    continue
                self._claims.recognise(entity)
            waits = entity.waiting
            if waits is not None and waits.home is not None:
                self._homes[key] = waits.home, self._fences[waits.home]
                self._groups.now.under(waits.home, self._fences[waits.home])
            if not self._planner.wake(entity, self._groups.now.changes, now):
                self._homes.pop(key, None)
                if self._claims is None and not entity.due(now) and key not in self._timers.all():
                    # Who said that it was due may have known less than the store does.
                    self._note_waits({key: entity.waiting})
                continue
            self._draining[key] = 0
            if self._claims is not None and not await self._claim(entity, waits):
                continue
            home, epoch = self._homes.get(key), self._epoch
            rows = await self._keeper.held(key, HELD_AT_ONCE)
            if epoch != self._epoch or self._homes.get(key) != home:
                # What was decided is old, or the home of the key is not ours any more.
                continue
            events = [read_back(self._codec, row, self._calls.barred) for row in rows if row.version in entity.held]
            self._draining[key] = len(events)
            if not events:
                del self._draining[key]
                self._homes.pop(key, None)
            for event in events:
                self._lanes.add(event)
        self.go()

    async def _claim(self, entity: Entity, waits: Waiting | None) -> bool:
        """Make sure that no other worker of the queue wakes this key. Nothing else is committed meanwhile."""
        assert self._claims is not None
        key, epoch = entity.key, self._epoch
        if key in self._groups.now.changes.entities:
            # What woke it (a replay that died) is to be written first. Then it is rung for again.
            self._draining.pop(key, None)
            self._homes.pop(key, None)
            return False
        self._committing = True
        try:
            taken = await self._claims.take(entity, waits, self._fences)
        finally:
            self._committing = False
            self._commits += 1
        if not taken:
            # Woken by another worker, or it got another event: what the store says now decides.
            self._shared_until = self._clock.now() + SHARED_S
            self._decide_again(Group(Changes(self._tally)), {})
        return taken and epoch == self._epoch

    def _forget_changed(self, due: list[str]) -> None:
        """Read anew what somebody else has set going, but not yet where we are at work: what we know may be newer."""
        now = self._clock.now()
        changed = self._cache.changed(due, now)
        idle = self._idle(changed)
        self._cache.drop(idle)
        busy = set(changed).difference(idle)
        self._timers.note({key: Waiting(Wait.RETRY, 0, 0.0, due_at=now + LOOK_AGAIN_S) for key in busy})

    def _forget_known(self) -> None:
        """What comes to us may have been somebody else's since we had it: a handler called on what we knew then would
        repeat what they did. Where we are at work the commit will tell.
        """
        at_work = self._writing | self._groups.now.changes.entities.keys() | self._draining.keys()
        known = [entity.key for entity in self._cache.all()]
        self._cache.drop(key for key in known if key not in at_work and not self._lanes.busy(key))

    def _idle(self, keys: Iterable[str]) -> list[str]:
        """Those of which we know no more than the store."""
        at_work = self._groups.now.changes.entities
        return [
            key
            for key in keys
            if not (self._committing or self._lanes.busy(key) or key in at_work or key in self._draining)
        ]

    # Committing.

    def _commit_soon(self) -> None:
        """What is decided by the end of this turn of the loop is committed, as soon as nothing else is."""
        if not self._committing and self._groups.now.changes:
            self._committing = True
            self._spawn(self._commit())

    async def _commit(self) -> None:
        group = self._groups.take()
        self._writing = set(group.changes.entities)
        fences = self._groups.fences(group)
        waits = dict(group.changes.waits)
        renewed = self._claims.renew(self._draining, group.changes) if self._claims else {}
        rows = group.changes.rows(lambda entity: None, self._planner.guard.remembered)
        began = time.monotonic()
        try:
            await self._keeper.write(rows, group.changes, fences)
        except Mismatch as error:
            log.log(logging.INFO if self._claims is None else logging.DEBUG, "%s; decided again", error)
            if self._claims is not None:
                self._shared_until = self._clock.now() + SHARED_S
            self._observer.outdated()
            self._decide_again(group, {})
        except Fenced as error:
            log.warning("%s; its events are left to the new owner", error)
            self._observer.fenced(len(error.partitions))
            self._decide_again(group, {partition: fences[partition] for partition in error.partitions})
        else:
            self._confirmed_at = time.monotonic()
            self._trying = {}
            if self._planner.room is not None:
                self._planner.room.written(group.changes)
            if self._claims is not None:
                self._claims.confirm(renewed)
            self._observer.committed(group.changes, None, time.monotonic() - began)
            self._note_waits(waits)
            settled = self._groups.settle(group)
            if settled:
                self.on_settled(settled)
        finally:
            self._committing = False
            self._writing = set()
            self._commits += 1
        self.go()

    def _decide_again(self, refused: Group, lost: Mapping[Partition, int]) -> None:
        """Nothing of a commit was written: forget what was known, and let the guard look at its events again.

        Those that come back from the store are read anew, with whatever else waits for their keys.
        """
        self._epoch += 1
        self._cache.clear()
        since = self._groups.take()
        redo = refused.events + since.events
        waking = {event.key for event in redo if event.receiver is not None} | set(self._draining)
        self._draining.clear()
        self._homes.clear()
        self._lanes.drop(lambda event: event.receiver is not None)
        for partition, fence in lost.items():
            if self._fences.get(partition) == fence:
                del self._fences[partition]
        if lost:
            self._groups.keep(self._fences)
            self.on_lost(lost)
        self._note_waits({key: Waiting(Wait.GAP, 0, 0.0, due_at=AT_ONCE) for key in waking})
        malformed = [one for one in refused.malformed + since.malformed if self._is_ours(one.slice)]
        self._refuse(malformed, self._clock.now())
        again = [event for event in redo if event.receiver is None and self._is_ours(event.slice)]
        for event in again:
            self._lanes.add(event)
        self._spawn(self._entities({event.key for event in again}))

    def _confirm_soon(self) -> None:
        if not self._confirming:
            self._confirming = True
            self._spawn(self._confirm())

    async def _confirm(self) -> None:
        fences = dict(self._fences)
        try:
            await self._keeper.write([], Changes(self._tally), fences)
        except Fenced as error:
            log.warning("%s; its events are left to the new owner", error)
            self._observer.fenced(len(error.partitions))
            self._decide_again(self._groups.take(), {partition: fences[partition] for partition in error.partitions})
        finally:
            self._confirming = False
        self._confirmed_at = time.monotonic()
        self.go()

    # Letting go.

    def drop(self, partitions: set[Partition]) -> None:
        """Start nothing more of these partitions, nor of the keys that are at home there."""
        for partition in partitions:
            self._fences.pop(partition, None)
            self._full.pop(partition, None)
            self._trying.pop(partition, None)
        self._aside = [one for one in self._aside if one.slice.partition not in partitions]
        for key, events in [one for one in self._standing if one[1][0].slice.partition in partitions]:
            self._standing.remove((key, events))
            self._lanes.put_back(key, [event for event in events if event.slice.partition not in partitions])
        moved = {key for key, (home, _) in self._homes.items() if home in partitions}
        for key in moved:
            if left := self._calls.coming_back(key):
                self._draining[key] = left
            else:
                del self._homes[key]
                self._draining.pop(key, None)

        def gone(event: Event) -> bool:
            return event.key in moved if event.receiver is not None else event.slice.partition in partitions

        self._lanes.drop(gone)

    async def drained(self, partitions: set[Partition]) -> None:
        """Wait for what runs of these partitions, and for the commit of what was decided."""
        while self._calls.of(partitions):
            await asyncio.sleep(0.005)
        due = self._commits + self._committing + bool(self._groups.now.changes)
        while self._commits < due and (self._committing or self._groups.now.changes):
            await asyncio.sleep(0.005)
        self._groups.keep(self._fences)

    def finish(self, finished: Callable[[], None]) -> None:
        """Finish what runs, start nothing more, and commit."""
        self._stopping = True
        self._lanes.drop(lambda event: True)
        if self._committing or self._groups.now.changes or self._calls.running:
            self._loop.call_later(0.005, self.finish, finished)
        else:
            finished()

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
        self._stopping = True
        self._keeper.abandon()
        self._calls.close()

    def bar(self, event: Event, error: Exception) -> None:
        """This event is to fail with this error, without being tried. Before anything is taken in."""
        self._calls.barred[event.key, event.version] = error

    # Pausing, and what may go wrong.

    def _pause(self, why: str) -> None:
        """Something that the handler needs is down: start nothing for a while."""
        if self._paused_s:
            return
        if self._last_pause_s == 0.0:
            log.error("paused: %s", why)
            self._observer.paused("handler", why)
        self._paused_s = self._last_pause_s = min(max(FIRST_PAUSE_S, 2 * self._last_pause_s), LONGEST_PAUSE_S)
        self._loop.call_later(self._paused_s, self._resume)

    def _go_on(self) -> None:
        """A handler has returned: what it needs is there."""
        log.warning("goes on after a pause")
        self._last_pause_s = 0.0
        self._observer.paused("handler", None)

    def _resume(self) -> None:
        self._paused_s = 0.0
        self.go()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self.on_failure(error)


def _received(events: list[Event]) -> list[Event]:
    """Without what came back from the store: after a refused commit that is read again, with its whole key."""
    return [event for event in events if event.receiver is None]
