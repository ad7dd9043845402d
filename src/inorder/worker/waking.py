"""Keys of lanes that wait: rung for when they are due, and their held events brought back from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from inorder.codecs.json import JsonCodec
from inorder.core.entity import Entity
from inorder.core.event import Partition
from inorder.core.lanes import Lanes
from inorder.core.planner import Planner
from inorder.core.waiting import AT_ONCE, NEVER, Wait, Waiting
from inorder.ports import Clock
from inorder.worker.batch import HELD_AT_ONCE
from inorder.worker.claims import Claims
from inorder.worker.commits import Commits
from inorder.worker.group import Groups
from inorder.worker.keeper import Keeper
from inorder.worker.known import Known
from inorder.worker.reading_back import read_back
from inorder.worker.timers import Timers

CLAIM_AGAIN_S = 0.02
"""When to try again to claim a key while something is being committed."""
LOOK_AGAIN_S = 0.5
"""When to look again at a key that is said to be due, and has something running."""
LONGEST_S = 60.0
"""Longest sleep of the alarm: the clock may be set meanwhile."""


class Waking:
    """Used on the event loop, when its `loop` and callbacks are set. A key that was rung for is looked at, and drains
    from then on until its held events are decided, or let go of."""

    def __init__(
        self,
        planner: Planner,
        codec: JsonCodec,
        keeper: Keeper,
        lanes: Lanes,
        groups: Groups,
        known: Known,
        commits: Commits,
        claims: Claims | None,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._planner = planner
        self._codec = codec
        self._keeper = keeper
        self._lanes = lanes
        self._groups = groups
        self._known = known
        self._commits = commits
        self._claims = claims
        self._clock = clock
        self._spawn = spawn
        self._timers = Timers()
        self._rung: set[str] = set()
        """Rung for, and not looked at yet: what is decided of them until then is seen."""
        self._draining: dict[str, int] = {}
        self._homes: dict[str, tuple[Partition, int]] = {}
        """Of keys whose held events are being decided: the fence that it stands under."""
        self._alarm: asyncio.TimerHandle | None = None
        self._ringing = False
        self.stopping = False
        self.loop: asyncio.AbstractEventLoop
        self.barred: dict[tuple[str, int], Exception]
        """See `Calls.barred`."""
        self.go: Callable[[], None]
        self.outrun: Callable[[], None]
        """Told when another worker of a queue turns out to have woken a key."""

    @property
    def busy(self) -> bool:
        """Whether a key is being woken, or an event waits for its retry. From any thread."""
        # In the order that a key goes through them.
        return bool(self._timers.urgent or self._ringing or self._rung or self._draining)

    def note(self, waits: Mapping[str, Waiting | None]) -> None:
        """How these keys wait from now on."""
        self._timers.note(waits)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        delay_s = self._timers.next() - self._clock.now()
        if delay_s < NEVER:
            self._alarm = self.loop.call_later(max(0.0, min(delay_s, LONGEST_S)), self._ring)

    def at_once(self, keys: Iterable[str]) -> None:
        """Look at these keys anew."""
        self.note({key: Waiting(Wait.GAP, 0, 0.0, due_at=AT_ONCE) for key in keys})

    def draining(self) -> Iterable[str]:
        """The keys whose held events are being decided."""
        return self._draining.keys()

    def drains(self, key: str) -> bool:
        """Whether the held events of a key are being decided."""
        return key in self._draining

    def home(self, key: str) -> tuple[Partition, int] | None:
        """The home of a key whose held events are being decided, and the fence that they stand under."""
        return self._homes.get(key)

    def may_begin(self, key: str) -> bool:
        """Whether a held event of this key is still ours to handle. One that is not is somebody else's to wake."""
        home = self._homes.get(key)
        ours = home is None or self._known.fences.get(home[0]) == home[1]
        if ours and (self._claims is None or self._claims.holds(key)):
            return True
        # Somebody else may have woken the key by now: all that waits for it is read anew, if it is still ours to wake.
        self._lanes.drop(lambda queued: queued.receiver is not None and queued.key == key)
        self._forget(key)
        self.at_once([key])
        return False

    def decided(self, key: str) -> None:
        """One of the held events of a key is decided."""
        home = self._homes.get(key)
        if home is not None:
            self._groups.now.under(*home)
        left = self._draining.get(key, 0) - 1
        if left > 0:
            self._draining[key] = left
        else:
            self._let_go(key)

    def begin_anew(self) -> set[str]:
        """What was being woken was decided on old knowledge. Returns the keys, to be rung for again."""
        keys = self._rung.union(self._draining)
        self._rung.clear()
        self._draining.clear()
        self._homes.clear()
        self._lanes.drop(lambda event: event.receiver is not None)
        return keys

    def moved(self, partitions: set[Partition], running: Callable[[str], int]) -> set[str]:
        """The keys whose held events stood under fences of these partitions, which are not ours any more.

        `running`: how many of the held events of a key are being handled.
        """
        keys = {key for key, (home, _) in self._homes.items() if home in partitions}
        for key in keys:
            if left := running(key):
                self._draining[key] = left
            else:
                self._let_go(key)
        return keys

    def idle(self, keys: Iterable[str]) -> list[str]:
        """Those of which we know no more than the store."""
        if self._commits.busy:
            return []
        at_work, busy, rung, draining = self._groups.now.changes.entities, self._lanes.busy, self._rung, self._draining
        return [key for key in keys if not (busy(key) or key in at_work or key in rung or key in draining)]

    def _look_at(self, key: str) -> None:
        """It has been rung for, and nothing of an earlier time counts any more."""
        self._rung.discard(key)
        self._let_go(key)

    def _let_go(self, key: str) -> None:
        self._forget(key)
        self._homes.pop(key, None)

    def _forget(self, key: str) -> None:
        self._draining.pop(key, None)
        self._known.pinned.pop(key, None)

    def _ring(self) -> None:
        self._alarm = None
        self._ringing = True
        now = self._clock.now()
        due = self._timers.take(now)
        self._look_again((key for key in due if key in self._draining), now)
        keys = [key for key in due if key not in self._draining and key not in self._rung]
        self._forget_changed(keys, now)
        self._rung.update(keys)
        if keys and not self.stopping:
            self._spawn(self._wake(keys, self._known.epoch))
        self._ringing = False
        self.note({})

    def _look_again(self, keys: Iterable[str], now: float) -> None:
        self._timers.note({key: Waiting(Wait.RETRY, 0, 0.0, due_at=now + LOOK_AGAIN_S) for key in keys})

    def _forget_changed(self, due: list[str], now: float) -> None:
        """Read anew what somebody else has set going, but not yet where we are at work: what we know may be newer."""
        changed = self._known.changed(due, now)
        # Of a queue's keys others may have changed any.
        idle = self.idle(changed if self._claims is None else due)
        self._known.drop(idle)
        self._look_again(set(changed).difference(idle), now)

    async def _wake(self, keys: list[str], begun_in: int) -> None:
        found = await self._known.load(keys)
        if self._known.epoch == begun_in:
            self._known.pinned.update(found)
        for key in keys:
            if self._known.epoch != begun_in:
                # What was found is old by now. Whoever found that out has these keys rung for again.
                break
            if self._claims is None:
                awake = self._wake_one(key, found[key])
            else:
                awake = await self._wake_alone(key, found[key], self._claims, begun_in)
            if awake:
                await self._bring_back(key, found[key])
        self.go()

    async def _wake_alone(self, key: str, entity: Entity, claims: Claims, epoch: int) -> bool:
        """Wake a key of a queue, and make sure that no other worker does. Nothing is committed meanwhile."""
        async with self._commits.turns:
            if self._known.epoch != epoch:
                return False
            at_work = self._groups.now.changes.entities
            if self._lanes.busy(key) or key in at_work:
                # A claim is written by itself, and never over what is not written yet.
                self._look_at(key)
                self.note({key: Waiting(Wait.GAP, 0, 0.0, due_at=self._clock.now() + CLAIM_AGAIN_S)})
                return False
            claims.recognise(entity)
            waits = entity.waiting
            if not self._wake_one(key, entity):
                return False
            if key in at_work:
                # What woke it (a replay that died) is to be written first. Then it is rung for again.
                self._let_go(key)
                return False
            taken = await claims.take(entity, waits, self._known.fences)
            if not taken:
                # Woken by another worker, or it got another event: what the store says now decides.
                self.outrun()
            return taken and epoch == self._known.epoch

    def _wake_one(self, key: str, entity: Entity) -> bool:
        """Returns whether what waits for the key is to be decided again: it drains from now on."""
        self._look_at(key)
        now = self._clock.now()
        if not entity.at_home(self._known.fences):
            return False
        waits = entity.waiting
        if waits is not None and waits.home is not None:
            self._homes[key] = waits.home, self._known.fences[waits.home]
        changes = self._groups.now.changes
        awake = self._planner.wake(entity, changes, now)
        if key in self._homes and key in changes.entities:
            self._groups.now.under(*self._homes[key])
        if not awake:
            self._homes.pop(key, None)
            if not entity.due(now) and key not in self._timers.all():
                # Who said that it was due may have known less than the store does.
                self.note({key: entity.waiting})
            return False
        self._draining[key] = 0
        self._known.pinned[key] = entity
        return True

    async def _bring_back(self, key: str, entity: Entity) -> None:
        home, epoch = self._homes.get(key), self._known.epoch
        rows = await self._keeper.held(key, HELD_AT_ONCE)
        if epoch != self._known.epoch or self._homes.get(key) != home:
            # What was decided is old, or the home of the key is not ours any more.
            return
        events = read_back(self._codec, [row for row in rows if row.version in entity.held], self.barred)
        if events:
            self._draining[key] = len(events)
        else:
            self._let_go(key)
        for event in events:
            self._lanes.add(event)
