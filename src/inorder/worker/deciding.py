"""What the lanes of a worker start, and what a call that has ended means. Never writes, and never settles anything.

An event whose handler is to be called passes here, just before: whether it is still ours, under its fence and its
lease, and whether the guard lets it through. Used on the event loop, so nothing is locked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from itertools import pairwise
from typing import Any

from inorder.core.effect import NoRoom, Outage
from inorder.core.engine import Unit
from inorder.core.entity import Entity
from inorder.core.event import Event, Malformed, Slice
from inorder.core.lanes import Lanes
from inorder.core.planner import Planner, by_key
from inorder.ports import Clock, Observer
from inorder.worker.calls import Calls
from inorder.worker.commits import Commits
from inorder.worker.group import Groups
from inorder.worker.known import Known
from inorder.worker.runner import FIRST_PAUSE_S, LONGEST_PAUSE_S
from inorder.worker.running import Run
from inorder.worker.standstill import Standstill
from inorder.worker.waking import Waking

log = logging.getLogger("inorder.worker")


class Deciding:
    """Up to `batch` events are handled in one call. `spawn` runs a coroutine on the loop. Whoever makes it sets its
    `loop`, its `calls` and the callbacks before it is used.
    """

    def __init__(
        self,
        batch: int,
        lanes: Lanes,
        planner: Planner,
        groups: Groups,
        known: Known,
        commits: Commits,
        waking: Waking,
        clock: Clock,
        observer: Observer,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._batch = batch
        self._lanes = lanes
        self._planner = planner
        self._groups = groups
        self._known = known
        self._commits = commits
        self._waking = waking
        self._clock = clock
        self._observer = observer
        self._observed = observer.watches
        self._spawn = spawn
        self.standstill = Standstill()
        self.unknown: list[Event] = []
        """Started, but for their entities, which are to be read first."""
        self._paused_s = 0.0
        self._last_pause_s = 0.0
        self.stopping = False
        """Nothing more is started."""
        self.loop: asyncio.AbstractEventLoop
        self.calls: Calls
        self.go: Callable[[], None]
        self.renew: Callable[[list[Event]], None]
        """Told of events that the handler was given, and may be given again."""
        self.lapsed: Callable[[Unit], None]
        """Told of a delivery whose lease was over before its handler was called."""

    # Starting.

    def next(self) -> Run | None:
        """What to call the handler with next. None: nothing, for now."""
        lanes = self._lanes
        if not lanes.queued or self._paused_s or self.stopping:
            return None
        now = time.monotonic()
        if not self._commits.confirmed(now):
            return None
        while events := lanes.start(self._batch):
            ours = [event for event in events if self._may_begin(event)]
            if len(ours) < len(events):
                lanes.put_back(events[0].key, ours)
                continue
            entity = self._known.find(events[0].key)
            if entity is None:
                if not self.unknown:
                    self.loop.call_soon(self._load_unknown)
                self.unknown += events
                continue
            run = self._decide(entity, events, now)
            if run is not None:
                return run
        self._commits.soon()
        return None

    def _may_begin(self, event: Event) -> bool:
        """Whether an event is still ours to handle. One that is not is on its way to somebody else."""
        return self.is_ours(event.slice) if event.receiver is None else self._waking.may_begin(event.key)

    def is_ours(self, piece: Slice) -> bool:
        """Whether a slice came from a partition that has been ours ever since, or under a lease that holds."""
        if self._groups.fence(piece) != self._known.fences.get(piece.partition, -1):
            return False
        if piece.lease is None or piece.lease.holds():
            return True
        unit = self._groups.lapse(piece)
        if unit is not None:
            self.lapsed(unit)
        return False

    def _decide(self, entity: Entity, events: list[Event], since: float) -> Run | None:
        """The call with the first of `events`, and with those that may follow it in the same call. None: no call."""
        first = events[0]
        flows = not entity.held and self._planner.follows(entity, entity.version, first)
        if not flows and not self._admits(entity, events):
            return None
        if len(events) > 1:
            events = self._together(entity, events)
        waiting = entity.waiting
        again = waiting is not None and waiting.version == first.version
        attempt = 1 + (waiting.attempts if again and waiting else 0)
        partition = first.slice.partition
        fence = self._known.fences.get(partition, 0)
        if first.receiver is not None:
            partition, fence = self._waking.home(entity.key) or (partition, fence)
        return Run(entity, events, self._known.epoch, attempt, partition, fence, since, self._lanes.long(entity.key))

    def _admits(self, entity: Entity, events: list[Event]) -> bool:
        """Whether the first of these may take effect. Where not, the others are put back."""
        first, now = events[0], self._clock.now()
        try:
            if self._planner.admit(entity, first, self._groups.now.changes, now):
                return True
        except NoRoom as error:
            # Its lane goes on: what follows may be what makes room.
            self.standstill.put_aside(error)
        else:
            self._note(first)
            self._look_ahead(entity, first, now)
        self._lanes.put_back(entity.key, events[1:])
        return False

    def _together(self, entity: Entity, events: list[Event]) -> list[Event]:
        """Those that may be handled in one call, from the first one on. The others are kept back."""
        count, follows, bars = 1, self._planner.follows, self.calls.bars
        for last, event in pairwise(events):
            if bars(event) or not follows(entity, last.version, event):
                break
            count += 1
        self._lanes.keep_back(entity.key, events[count:])
        return events[:count]

    def _load_unknown(self) -> None:
        self._spawn(self._load_again(list(self.unknown)))
        self.unknown.clear()

    async def _load_again(self, events: list[Event]) -> None:
        """The cache has let go of these entities while their events were queued."""
        found = by_key(events)
        await self._known.load(found)
        for key, those in found.items():
            self._lanes.put_back(key, those)
        self.go()

    # What came of it.

    def taken_back(self, run: Run) -> None:
        """The handler was not called after all: its lane is as if it had not been started."""
        old = run.epoch != self._known.epoch
        self._lanes.take_back(run.entity.key, received(run.events) if old else run.events)

    def over(self, run: Run) -> None:
        """A handler returned or raised: what that means, and whether its lane may go on."""
        entity = run.entity
        if self._observed:
            ended = min(run.ended_at, time.monotonic())
            self._observer.called(run.events[0].slice, run.began_at, ended, run.error is not None)
        if run.epoch != self._known.epoch:
            # Decided on knowledge that turned out old: the guard must look again.
            self._put_back(entity.key, received(run.events))
            return
        if run.error is not None:
            self._over_with(run.error, run)
        else:
            if self._last_pause_s:
                self._go_on()
            group = self._groups.now
            for event in run.events:
                self._planner.applied(entity, event, group.changes)
                if event.receiver is None:
                    group.events.append(event)
                else:
                    self._note(event)
            if entity.waiting is not None:
                self._look_ahead(entity, run.events[0], self._clock.now())
            self._lanes.finish(entity.key)
        self._commits.soon()

    def _over_with(self, error: BaseException, run: Run) -> None:
        key, events, now = run.entity.key, run.events, self._clock.now()
        try:
            self._planner.failed(run.entity, events[0], error, self._groups.now.changes, now)
        except Outage as outage:
            self._put_back(key, events)
            self._pause(str(outage))
        except NoRoom as no_room:
            self.renew(events)
            self.standstill.stop(key, events, no_room)
        else:
            self._note(events[0])
            self._look_ahead(run.entity, events[0], now)
            self._put_back(key, events[1:])

    def _put_back(self, key: str, events: list[Event]) -> None:
        """Put back what the handler was given, and may be given once more."""
        self.renew(events)
        self._lanes.put_back(key, events)

    def _note(self, event: Event) -> None:
        """`event` is decided; its delivery is settled with the next commit."""
        self._groups.now.events.append(event)
        if event.receiver is not None:
            self._waking.decided(event.key)

    def _look_ahead(self, entity: Entity, after: Event, now: float) -> None:
        if not self._waking.drains(entity.key):
            self._planner.look_ahead(entity, self._groups.now.changes, now, after)

    def refuse(self, malformed: Iterable[Malformed], now: float) -> None:
        """Deliveries that no event could be read from: each becomes a dead letter, or finds no room to."""
        for found in malformed:
            try:
                self._planner.malformed(found, self._groups.now.changes, now)
            except NoRoom as error:
                self.standstill.put_aside(error)
            else:
                self._groups.now.malformed.append(found)

    # Pausing.

    def _pause(self, why: str) -> None:
        """Something that the handler needs is down: start nothing for a while."""
        if self._paused_s:
            return
        if self._last_pause_s == 0.0:
            log.error("paused: %s", why)
            self._observer.paused("handler", why)
        self.calls.take_back()
        self._paused_s = self._last_pause_s = min(max(FIRST_PAUSE_S, 2 * self._last_pause_s), LONGEST_PAUSE_S)
        self.loop.call_later(self._paused_s, self._resume)

    def _go_on(self) -> None:
        """A handler has returned: what it needs is there."""
        log.warning("goes on after a pause")
        self._last_pause_s = 0.0
        self._observer.paused("handler", None)

    def _resume(self) -> None:
        self._paused_s = 0.0
        self.go()


def received(events: list[Event]) -> list[Event]:
    """Without what came back from the store: after a refused commit that is read again, with its whole key."""
    return [event for event in events if event.receiver is None]
