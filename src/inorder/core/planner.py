"""From events and what is known of their entities to what the next transaction writes.

This is the one road that every event takes: live from the source, back from the store when its gap has filled or
its retry is due, or replayed from a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Final

import msgspec
from mypy_extensions import mypyc_attr

from inorder.core.changes import Changes
from inorder.core.effect import Effect, NoRoom, Outage
from inorder.core.entity import Entity
from inorder.core.event import Event, Malformed
from inorder.core.guard import APPLY, CONFLICT, DUPLICATE, HOLD, LATE, STALE, Guard
from inorder.core.limits import Limits
from inorder.core.order import Order, Outcome
from inorder.core.retry import ErrorClass, Retry
from inorder.core.room import Room
from inorder.core.rows import Counter, Letter, Reason
from inorder.core.waiting import AT_ONCE, Wait, Waiting
from inorder.core.words import describe, message

NO_ROOM_S = 30.0
"""When an event that waits, and has no room to become a dead letter, is tried again."""

_APPLIED: Final = Outcome.APPLIED
"""As in `guard`: looked up once."""

_SETTLED = {
    DUPLICATE: Outcome.DUPLICATE,
    STALE: Outcome.STALE,
    CONFLICT: Outcome.CONFLICT,
    LATE: Outcome.LATE,
}

_STOPPED = {Wait.PARKED, Wait.REPLAY}

_VERSION = attrgetter("version")


@mypyc_attr(allow_interpreted_subclasses=True)
class Planner:
    """Decides events, entity by entity, and notes in `changes` what follows from each decision.

    `parks` says whether a key stops when one of its events is given up on. `classify` tells what an exception of the
    handler says about trying again.
    """

    def __init__(
        self,
        guard: Guard,
        retry: Retry,
        limits: Limits,
        parks: bool,
        classify: Callable[[BaseException], ErrorClass],
    ) -> None:
        self.guard = guard
        self.retry = retry
        self.limits = limits
        self.parks = parks
        self.classify = classify
        self.explain: Callable[[BaseException], str | None] = lambda error: None
        """Where in the handler an exception comes from, at length."""
        self.code_version: str | None = None
        self.room: Room | None = None
        """Where there is none, nothing is limited: a replay makes room, and is not held up for want of it."""
        self._strict = guard.order is Order.STRICT

    def decide(
        self,
        entities: dict[str, Entity],
        events: list[Event],
        effect: Effect,
        changes: Changes,
        now: float,
    ) -> None:
        """Decide the events of a batch, those of each entity in the order they came."""
        if self._strict:
            aside = self._in_sequence(entities, events, effect, changes, now)
            if aside:
                if changes.effects is not None:
                    _note_strays(entities, aside, changes)
                # Most of the disorder is within the batch: sorted by version, it is a sequence again.
                again = [event for rest in aside.values() for event in sorted(rest, key=_VERSION)]
                aside = self._in_sequence(entities, again, effect, changes, now)
        else:
            aside = by_key(events)
        for key, rest in aside.items():
            self.advance(entities[key], rest, effect, changes, now)

    def _in_sequence(
        self,
        entities: dict[str, Entity],
        events: list[Event],
        effect: Effect,
        changes: Changes,
        now: float,
    ) -> dict[str, list[Event]]:
        """The common case, and the hot loop: strict order, and the event is the next one of an entity that flows.

        Returns the rest, by key: from the first event of a key that needs more thought, all of its events.
        """
        aside: dict[str, list[Event]] = {}
        changed = changes.entities
        done = 0
        for event in events:
            key = event.key
            entity = entities[key]
            version = event.version
            if version != entity.version + 1 or entity.waiting is not None or (aside and key in aside):
                if version <= entity.version and entity.waiting is None:
                    changes.strayed(version - entity.version - 1)
                    self._refuse(event, _SETTLED[self.guard.decide(entity, event)], changes, now)
                else:
                    aside.setdefault(key, []).append(event)
                continue
            try:
                effect.apply(entity, event)
            except Exception as error:
                effect.undo(entity)
                self.failed(entity, event, error, changes, now)
                continue
            entity.version = version
            entity.recent.append(event.fingerprint)
            if not entity.applied:
                # Else it is there already: `rows` empties the list, and what is given up is loaded anew.
                changed[key] = entity
            entity.applied.append(event)
            done += 1
            if changes.witness is not None:
                changes.witness(event, _APPLIED)
        if done:
            changes.delivered(_APPLIED, done)
        return aside

    def advance(self, entity: Entity, events: Sequence[Event], effect: Effect, changes: Changes, now: float) -> None:
        """Decide `events` of one entity: as they came, or under strict order sorted, so that none sets free another."""
        early: dict[int, Event] = {}
        noted = self._strict and entity.waiting is None
        for event in events:
            if self.admit(entity, event, changes, now, early, noted):
                self._attempt(entity, event, effect, changes, now)
        for event in early.values():
            self.hold(entity, event, changes, now)
        self.look_ahead(entity, changes, now, events[-1])

    def admit(
        self,
        entity: Entity,
        event: Event,
        changes: Changes,
        now: float,
        early: dict[int, Event] | None = None,
        noted: bool = False,
    ) -> bool:
        """Whether `event` may take effect now. Where not, what becomes of it is noted.

        An early event goes to `early`, where that is given, in case what it waits for comes in the same batch. `noted`:
        how early it came was noted before the batch was sorted.
        """
        if event.receiver is None and event.version in entity.held:
            self._second_claim(entity.held[event.version], event, changes, now)
            return False
        decision = self.guard.decide(entity, event)
        waiting = entity.waiting
        strays = decision is not APPLY and event.receiver is None and (waiting is None or waiting.open)
        if strays and not (noted and decision is HOLD):
            changes.strayed(event.version - entity.version - 1)
        if decision is APPLY:
            # The last version may wait as its own duplicate, delivered again while it was a letter. It goes first:
            # nobody would look for it once the state is past it.
            duplicate_first = self._strict and event.receiver is None and entity.version in entity.held
            if (waiting is None or waiting.open) and not duplicate_first:
                return True
            if event.receiver is None:
                self.hold(entity, event, changes, now)
        elif decision is HOLD:
            if event.receiver is not None:
                return False
            if early is None or (waiting is not None and not waiting.open):
                self.hold(entity, event, changes, now)
            elif event.version in early:
                self._second_claim(early[event.version].fingerprint, event, changes, now)
            else:
                early[event.version] = event
        else:
            self._refuse(event, _SETTLED[decision], changes, now)
            if event.receiver is not None:
                self._left(entity, event, changes)
        return False

    def _attempt(self, entity: Entity, event: Event, effect: Effect, changes: Changes, now: float) -> None:
        try:
            effect.apply(entity, event)
        except Exception as error:
            effect.undo(entity)
            self.failed(entity, event, error, changes, now)
        else:
            self.applied(entity, event, changes)

    def applied(self, entity: Entity, event: Event, changes: Changes) -> None:
        """`event` took effect."""
        self.guard.advance(entity, event.version, event.fingerprint)
        entity.applied.append(event)
        changes.entities[entity.key] = entity
        changes.settled(event, _APPLIED)
        if entity.waiting is not None:
            if event.receiver is not None:
                entity.held.pop(event.version, None)
            if not entity.held:
                self._wait(entity, None, changes)

    def failed(self, entity: Entity, event: Event, error: BaseException, changes: Changes, now: float) -> None:
        """`event` could not take effect: it waits to be tried again, or becomes a dead letter."""
        waiting = entity.waiting
        attempts, since, home = 1, now, event.slice.partition
        if event.receiver is not None and waiting is not None and waiting.home is not None:
            # Whoever decides what waited looks after it, and need not own what it came from.
            home = waiting.home
        if waiting is not None and waiting.attempts and waiting.version == event.version:
            attempts, since = waiting.attempts + 1, waiting.since
        kind = self.classify(error)
        if kind is ErrorClass.INFRASTRUCTURE:
            raise Outage(message(error)) from error
        detail = describe(error)
        again_later = kind is ErrorClass.TRANSIENT and attempts < self.retry.attempts
        if again_later:
            self._room_to_wait(entity, event, changes)
        no_room = None if again_later else self._room_for_letter(event, changes)
        if no_room is not None:
            why, due_at = f"{no_room}; after {detail}", now + NO_ROOM_S
            self._wait(entity, Waiting(Wait.RETRY, event.version, since, due_at, attempts, why, home=home), changes)
            return
        if again_later:
            changes.count(Counter.RETRIES)
            due_at = now + self.retry.delay(attempts, event.key)
            self._wait(
                entity,
                Waiting(Wait.RETRY, event.version, since, due_at, attempts, detail, home=home),
                changes,
            )
            if event.receiver is None:
                self.hold(entity, event, changes, now)
            return
        self._dead_letter(event, Reason.FAILED, detail, changes, now, attempts=attempts, since=since, error=error)
        changes.settled(event, Outcome.DEAD_LETTERED)
        if event.receiver is not None:
            entity.held.pop(event.version, None)
        if self.parks:
            parked = Waiting(Wait.PARKED, event.version, now, attempts=attempts, reason=detail, home=home)
            self._wait(entity, parked, changes)
        elif entity.held and waiting is not None:
            self._wait(entity, Waiting(Wait.GAP, event.version, now, due_at=AT_ONCE, home=waiting.home), changes)
        else:
            self._wait(entity, None, changes)

    def hold(self, entity: Entity, event: Event, changes: Changes, now: float) -> None:
        """`event` is early, or its entity is stopped: it gets a durable place in the store."""
        known = entity.held.get(event.version)
        if known is not None:
            self._second_claim(known, event, changes, now)
            return
        self._room_to_wait(entity, event, changes)
        waiting = entity.waiting
        if waiting is None:
            due_at, home = now + self.limits.gap_s, event.slice.partition
            waiting = Waiting(Wait.GAP, entity.version + 1, now, due_at=due_at, home=home)
            self._wait(entity, waiting, changes)
        elif waiting.home is None:
            # Claimed by a replay while nothing waited: should that be dead, nobody else would wake it.
            self._wait(entity, msgspec.structs.replace(waiting, home=event.slice.partition), changes)
        entity.held[event.version] = event.fingerprint
        changes.entities[entity.key] = entity
        changes.hold(event, Outcome.PARKED if waiting.why in _STOPPED else Outcome.HELD)

    def follows(self, entity: Entity, last: int, event: Event) -> bool:
        """Whether `event` will be let through once `last`, a version that is, has taken effect."""
        if entity.waiting is not None:
            return False
        if self._strict:
            return event.version == last + 1
        return event.version > last and self.guard.decide(entity, event) is APPLY

    def sets_going(self, entity: Entity, event: Event) -> bool:
        """Whether events wait in the store for just this one, and can be decided in the same batch."""
        if not self._strict or entity.waiting is None or not entity.waiting.open:
            return False
        return bool(entity.held) and event.version == entity.version + 1

    def set_going(self, entity: Entity, event: Event) -> None:
        """What waits is decided with `event`, which came to us: so it is for us to wake whatever is left of it."""
        if entity.waiting is not None:
            entity.waiting = msgspec.structs.replace(entity.waiting, home=event.slice.partition)

    def wake(self, entity: Entity, changes: Changes, now: float) -> bool:
        """The time an entity waited for has come. Returns whether its held events are to be decided again."""
        waiting = entity.waiting
        if waiting is None or waiting.due_at > now:
            return False
        if waiting.why is Wait.REPLAY:
            self.resume(entity, changes, now)
            return entity.waiting is not None and entity.waiting.due_at == AT_ONCE
        if waiting.why is Wait.RETRY:
            # Opened for one attempt; should it fail, `failed` sees how many there were.
            entity.waiting = msgspec.structs.replace(waiting, why=Wait.GAP)
            return True
        if waiting.why is Wait.GAP:
            if not self._strict or self._may_go_on(entity):
                # Not as long as it says, which may be somebody's claim: whatever is left afterwards begins anew.
                entity.waiting = msgspec.structs.replace(waiting, due_at=AT_ONCE)
                return True
            missing = entity.version + 1
            reason = f"version {missing} did not come within {self.limits.gap_s:g} s"
            parked = Waiting(Wait.PARKED, missing, now, reason=reason, missing=True, home=waiting.home)
            self._wait(entity, parked, changes)
        return False

    def resume(self, entity: Entity, changes: Changes, now: float) -> None:
        """What stopped the entity is over: it goes on with what waited, or waits for the version that is missing."""
        waiting = entity.waiting
        if waiting is None or not entity.held:
            self._wait(entity, None, changes)
            return
        if self._may_go_on(entity):
            again = msgspec.structs.replace(waiting, why=Wait.GAP, due_at=AT_ONCE, missing=False)
        else:
            missing, due_at = entity.version + 1, now + self.limits.gap_s
            again = Waiting(Wait.GAP, missing, now, due_at=due_at, home=waiting.home)
        self._wait(entity, again, changes)

    def malformed(self, found: Malformed, changes: Changes, now: float) -> None:
        """No event could be read: the delivery is kept as it is. It stops no key: under strict order the key waits for
        the version by itself, and no other order needs it.
        """
        if self.room is not None and (why := self.room.for_letter(found.key, changes)) is not None:
            raise NoRoom(found, why)
        changes.letters.append(
            Letter(
                reason=Reason.MALFORMED,
                detail=found.reason,
                record=found.record,
                key=found.key,
                version=None,
                event_id=None,
                first_at=now,
                last_at=now,
                code_version=self.code_version,
            )
        )
        changes.delivered(Outcome.DEAD_LETTERED)

    def look_ahead(self, entity: Entity, changes: Changes, now: float, after: Event | None = None) -> None:
        """After one or more decisions: what waits in the store may be due now, or wait for another version.

        Who set it going wakes it: its home is then where `after`, the event just received, came from.
        """
        waiting = entity.waiting
        if waiting is None or not waiting.open:
            return
        home = waiting.home
        if self._may_go_on(entity):
            since, due_at = waiting.since, AT_ONCE
            if after is not None and after.receiver is None:
                home = after.slice.partition
        elif entity.version + 1 != waiting.version or waiting.attempts or waiting.due_at == AT_ONCE:
            since, due_at = now, now + self.limits.gap_s
        else:
            return
        self._wait(entity, Waiting(Wait.GAP, entity.version + 1, since, due_at=due_at, home=home), changes)

    def _may_go_on(self, entity: Entity) -> bool:
        """Whether something that waits in the store can be decided now.

        Under strict order that is the next version, or the last one: delivered again while it was a dead letter.
        """
        held = entity.held
        return bool(held) and (not self._strict or entity.version + 1 in held or entity.version in held)

    def _wait(self, entity: Entity, waiting: Waiting | None, changes: Changes) -> None:
        entity.waiting = waiting
        changes.waits[entity.key] = waiting
        changes.entities[entity.key] = entity

    def _second_claim(self, known: int, event: Event, changes: Changes, now: float) -> None:
        """Another delivery of a version that waits already: the same event again, or two that exclude each other."""
        outcome = Outcome.DUPLICATE if known == event.fingerprint else Outcome.CONFLICT
        self._refuse(event, outcome, changes, now)

    def _room_to_wait(self, entity: Entity, event: Event, changes: Changes) -> None:
        """Raises `NoRoom` when a delivery cannot wait. What waits already has its room."""
        if self.room is not None and event.receiver is None:
            why = self.room.for_held(entity, changes)
            if why is not None:
                raise NoRoom(event, why)

    def _room_for_letter(self, event: Event, changes: Changes) -> str | None:
        """Raises `NoRoom` when a delivery cannot become a dead letter. Of an event that waits already, says why."""
        why = None if self.room is None else self.room.for_letter(event.key, changes)
        if why is not None and event.receiver is None:
            raise NoRoom(event, why)
        return why

    def _refuse(self, event: Event, outcome: Outcome, changes: Changes, now: float) -> None:
        if outcome in {Outcome.CONFLICT, Outcome.LATE}:
            self._room_for_letter(event, changes)
        if outcome is Outcome.CONFLICT:
            detail = f"version {event.version} was claimed before by another event id than {event.id!r}"
            self._dead_letter(event, Reason.CONFLICT, detail, changes, now)
        elif outcome is Outcome.LATE:
            detail = f"version {event.version} came after an operator skipped it"
            self._dead_letter(event, Reason.LATE, detail, changes, now)
        changes.settled(event, outcome)

    def _left(self, entity: Entity, event: Event, changes: Changes) -> None:
        """`event` waited and waits no longer, without having taken effect."""
        entity.held.pop(event.version, None)
        changes.entities[entity.key] = entity
        if not entity.held and entity.waiting is not None and entity.waiting.open:
            self._wait(entity, None, changes)

    def _dead_letter(
        self,
        event: Event,
        reason: Reason,
        detail: str,
        changes: Changes,
        now: float,
        attempts: int = 0,
        since: float | None = None,
        error: BaseException | None = None,
    ) -> None:
        changes.letters.append(
            Letter(
                reason=reason,
                detail=detail,
                record=event.record,
                key=event.key,
                version=event.version,
                event_id=event.id,
                attempts=attempts,
                first_at=now if since is None else since,
                last_at=now,
                tally=None if event.receiver is None else event.receiver[0],
                error=None if error is None else self.explain(error),
                code_version=self.code_version,
            )
        )


def by_key(events: Sequence[Event]) -> dict[str, list[Event]]:
    """The events of each key, in the order they came."""
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.key, []).append(event)
    return found


def _note_strays(entities: Mapping[str, Entity], aside: Mapping[str, Sequence[Event]], changes: Changes) -> None:
    """How far ahead of their turn events arrived, before they are sorted: afterwards nobody can tell."""
    for key, events in aside.items():
        entity = entities[key]
        if entity.waiting is not None:
            continue
        due, early = entity.version + 1, set[int]()
        for event in events:
            if event.version > due:
                early.add(event.version)
                changes.strayed(event.version - due)
            elif event.version == due:
                due += 1
                while due in early:
                    due += 1
