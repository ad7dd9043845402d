"""What a replay may do with a dead letter, and how a key that was parked starts again.

The guard decides a letter like any other event. What differs is the waiting of its key: a parked key is stopped for
everybody but the replay, and stays stopped (`Wait.REPLAY`) until the replay has put through what waits behind it, so
that live events go on queueing up behind. Should the replay die, the key goes on without it when its time is over.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.guard import Decision
from inorder.core.order import Order, Outcome
from inorder.core.planner import Planner
from inorder.core.rows import Counter
from inorder.core.waiting import AT_ONCE, NEVER, Wait, Waiting


class Verdict(StrEnum):
    """What a replay may do with a letter now."""

    APPLY = "apply"
    DUPLICATE = "duplicate"
    """It has taken effect already."""
    STALE = "stale"
    """Newer events have made it superfluous: it is no longer needed."""
    GAP = "gap"
    """Events before it are missing."""
    CONFLICT = "conflict"
    """Another event has its version."""
    LATE = "late"
    """An operator skipped its version."""
    BUSY = "busy"
    """Its key is just being retried, or another replay has it."""


_DECIDED = {
    Decision.HOLD: Verdict.GAP,
    Decision.DUPLICATE: Verdict.DUPLICATE,
    Decision.STALE: Verdict.STALE,
    Decision.CONFLICT: Verdict.CONFLICT,
    Decision.LATE: Verdict.LATE,
}


class Replaying:
    """The rules of replay for one stream. Claims of keys last `lease_s` and are renewed by whoever holds them."""

    def __init__(self, planner: Planner, lease_s: float) -> None:
        self.planner = planner
        self.lease_s = lease_s
        self._strict = planner.guard.order is Order.STRICT

    def judge(self, entity: Entity, event: Event, now: float, claim: float | None = None) -> Verdict:
        """What may be done with the event of a letter. `claim` is what `claim` returned, if the key is ours."""
        decided = _DECIDED.get(self.planner.guard.decide(entity, event))
        if decided is not None:
            return decided
        waiting = entity.waiting
        if waiting is None or waiting.open or not self._taken(waiting, now, claim):
            return Verdict.APPLY
        return Verdict.BUSY

    def claim(self, entity: Entity, version: int, changes: Changes, now: float) -> float:
        """Keep everybody else away from a key while a handler runs outside of a transaction.

        Returns the end of the claim, which names it: no two claims of a key end at the same time.
        """
        until = self._until(entity, now)
        waiting = entity.waiting
        if waiting is None:
            waiting = Waiting(Wait.REPLAY, version, now)
        elif waiting.why is not Wait.PARKED or waiting.missing:
            waiting = msgspec.structs.replace(waiting, why=Wait.REPLAY, missing=False)
        self._wait(entity, msgspec.structs.replace(waiting, due_at=until), changes)
        return until

    def unclaim(self, entity: Entity, changes: Changes, now: float) -> None:
        """Let go of a key whose letter could not be applied. It waits as it did before."""
        waiting = entity.waiting
        if waiting is None:
            return
        if waiting.why is Wait.PARKED:
            self._wait(entity, msgspec.structs.replace(waiting, due_at=NEVER), changes)
        else:
            self.release(entity, changes, now)

    def applied(self, entity: Entity, event: Event, changes: Changes, now: float) -> float | None:
        """The event of a letter took effect. Returns the end of the claim under which what waits is to be drained."""
        self.planner.guard.advance(entity, event.version, event.fingerprint)
        entity.applied.append(event)
        changes.entities[entity.key] = entity
        return self._start_again(entity, event.version, changes, now)

    def skipped(self, entity: Entity, version: int, changes: Changes, now: float) -> None:
        """An operator says that this version will never be applied. The key goes on."""
        self.planner.guard.skip(entity, version)
        changes.entities[entity.key] = entity
        self._start_again(entity, version, changes, now)
        self.release(entity, changes, now)

    def open(self, entity: Entity, now: float, claim: float | None) -> bool:
        """Whether what waits for this key may be drained now; if so, it is open to whoever holds this entity."""
        waiting = entity.waiting
        if waiting is None or not entity.held:
            return False
        if waiting.why is Wait.REPLAY and (waiting.due_at == claim or waiting.due_at <= now):
            entity.waiting = msgspec.structs.replace(waiting, why=Wait.GAP, due_at=AT_ONCE)
            return True
        return waiting.why is Wait.GAP and waiting.due_at == AT_ONCE

    def close(self, entity: Entity, changes: Changes, now: float) -> tuple[float, float] | None:
        """After some of what waits was drained: keep the key stopped for the rest, if there is any.

        Returns the end of the claim, and when to go on (`AT_ONCE`, or the time of a retry).
        """
        waiting = entity.waiting
        if waiting is None or not waiting.urgent:
            return None
        until = max(self._until(entity, now), waiting.due_at + self.lease_s)
        self._wait(entity, msgspec.structs.replace(waiting, why=Wait.REPLAY, due_at=until), changes)
        return until, waiting.due_at

    def release(self, entity: Entity, changes: Changes, now: float) -> None:
        """Leave what still waits for this key to the workers."""
        if entity.waiting is not None and entity.waiting.why is Wait.REPLAY:
            self.planner.resume(entity, changes, now)

    def count(self, tally: int, was: Outcome, verdict: Verdict, changes: Changes) -> None:
        """The delivery of a letter comes to another outcome than the one it was counted as."""
        becomes = {
            Verdict.APPLY: str(Counter.REPLAYED),
            Verdict.DUPLICATE: str(Outcome.DUPLICATE),
            Verdict.STALE: str(Outcome.STALE),
        }
        if verdict in becomes:
            changes.count(was, -1, tally)
            changes.count(becomes[verdict], 1, tally)

    def _taken(self, waiting: Waiting, now: float, claim: float | None) -> bool:
        """Whether somebody else is at work on a key that is not open."""
        if waiting.due_at == claim:
            return False
        if waiting.why is Wait.RETRY:
            return True
        return waiting.due_at != NEVER and waiting.due_at > now

    def _start_again(self, entity: Entity, version: int, changes: Changes, now: float) -> float | None:
        waiting = entity.waiting
        if waiting is None:
            return None
        if self._parked_by_another(entity, waiting):
            self._wait(entity, msgspec.structs.replace(waiting, due_at=NEVER), changes)
            return None
        if not entity.held or (self._strict and entity.version + 1 not in entity.held):
            self.planner.resume(entity, changes, now)
            return None
        until = self._until(entity, now)
        self._wait(entity, Waiting(Wait.REPLAY, version, now, until, home=waiting.home), changes)
        return until

    def _parked_by_another(self, entity: Entity, waiting: Waiting) -> bool:
        """Under an order other than strict, a letter may be applied while another one keeps the key parked."""
        if waiting.why is not Wait.PARKED or waiting.missing:
            return False
        return waiting.version > entity.version and waiting.version not in entity.ranges

    def _until(self, entity: Entity, now: float) -> float:
        """The end of a new claim: later than that of any claim before it."""
        before = entity.waiting.due_at if entity.waiting is not None else 0.0
        return max(now + self.lease_s, before + 0.001 if before != NEVER else 0.0)

    def _wait(self, entity: Entity, waiting: Waiting | None, changes: Changes) -> None:
        entity.waiting = waiting
        changes.waits[entity.key] = waiting
        changes.entities[entity.key] = entity
