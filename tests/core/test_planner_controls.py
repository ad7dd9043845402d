"""The checks of `test_planner` can see: each mechanism, switched off or done wrong, leads them to a wrong state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, settings

from inorder.core.changes import Changes
from inorder.core.effect import Effect
from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.guard import Decision, Guard
from inorder.core.order import Order, Outcome
from inorder.core.planner import Planner
from inorder.core.rows import EntityRow
from inorder.core.waiting import Wait
from tests.core.case import Case, cases
from tests.core.invariants import Violation
from tests.core.memory_store import MemoryStore
from tests.core.world import Appending, World


class Unguarded(Guard):
    """Lets everything through."""

    def decide(self, entity: Entity, event: Event) -> Decision:
        return Decision.APPLY


class Monotonic(Guard):
    """Takes "newer than the last" for "the next"."""

    def decide(self, entity: Entity, event: Event) -> Decision:
        found = super().decide(entity, event)
        return Decision.APPLY if found is Decision.HOLD else found


class Forgetful(Guard):
    """Forgets that a version took effect out of sequence."""

    def advance(self, entity: Entity, version: int, fingerprint: int) -> None:
        super().advance(entity, version, fingerprint)
        entity.ranges.take_from(version)


class DropsEarly(Planner):
    """Skips what is early."""

    def hold(self, entity: Entity, event: Event, changes: Changes, now: float) -> None:
        changes.settled(event, Outcome.STALE)


class DecidesTwice(Planner):
    """Decides each batch twice."""

    def decide(
        self, entities: dict[str, Entity], events: list[Event], effect: Effect, changes: Changes, now: float
    ) -> None:
        for _ in range(2):
            super().decide(entities, events, effect, changes, now)


class AppliesTwice(Planner):
    """Lets each event take effect twice."""

    def _attempt(self, entity: Entity, event: Event, effect: Effect, changes: Changes, now: float) -> None:
        effect.apply(entity, event)
        super()._attempt(entity, event, effect, changes, now)


class NeverLooksAhead(Planner):
    """Leaves what waits where it is."""

    def look_ahead(self, entity: Entity, changes: Changes, now: float, after: Event | None = None) -> None:
        pass


class TakesTheCopy(Planner):
    """Lets a redelivery take effect beside the event that waits already."""

    def admit(
        self,
        entity: Entity,
        event: Event,
        changes: Changes,
        now: float,
        early: dict[int, Event] | None = None,
        noted: bool = False,
    ) -> bool:
        held, entity.held = entity.held, {}
        try:
            return super().admit(entity, event, changes, now, early, noted)
        finally:
            entity.held = held | entity.held


class SkipsTheGap(Planner):
    """Goes on past a version that does not come."""

    def wake(self, entity: Entity, changes: Changes, now: float) -> bool:
        if entity.waiting and entity.waiting.why is Wait.GAP and entity.held:
            entity.version = min(entity.held) - 1
        return super().wake(entity, changes, now)


class GoesOnPastALetter(Planner):
    """Counts an event that was given up on as done."""

    def failed(self, entity: Entity, event: Event, error: BaseException, changes: Changes, now: float) -> None:
        super().failed(entity, event, error, changes, now)
        if entity.waiting and entity.waiting.why is Wait.PARKED:
            self.guard.advance(entity, event.version, 0)
            self._wait(entity, None, changes)


class LosesLetters(Planner):
    """Gives up on an event without keeping it."""

    def failed(self, entity: Entity, event: Event, error: BaseException, changes: Changes, now: float) -> None:
        super().failed(entity, event, error, changes, now)
        changes.letters.clear()


class NeverUndoes(Appending):
    """Keeps what a failed fold has done to the state."""

    def undo(self, entity: Entity) -> None:
        pass


class UndoesTooMuch(Appending):
    """Goes back to the stored state, and forgets what took effect since."""

    def undo(self, entity: Entity) -> None:
        self.loaded(entity)


class LastWriterWins(MemoryStore):
    """Writes without a look at the revision."""

    def write(self, rows: Sequence[EntityRow], changes: Changes) -> None:
        newest = {key: row.expected + 1 for key, row in self.entities.items()}
        super().write([_expecting(row, newest.get(row.key, 0)) for row in rows], changes)


class KeepsReleased(MemoryStore):
    """Never takes an event that waited out of the store."""

    def write(self, rows: Sequence[EntityRow], changes: Changes) -> None:
        changes.released.clear()
        super().write(rows, changes)


def _expecting(row: EntityRow, revision: int) -> EntityRow:
    return EntityRow(row.key, revision, row.version, row.ranges, row.recent, row.state, row.waits)


@pytest.mark.parametrize(
    ("order", "workers", "wrong"),
    [
        pytest.param(Order.STRICT, 1, {"guard": Unguarded}, id="no guard, strict"),
        pytest.param(Order.LATEST, 1, {"guard": Unguarded}, id="no guard, latest"),
        pytest.param(Order.COMMUTATIVE, 1, {"guard": Unguarded}, id="no guard, commutative"),
        pytest.param(Order.STRICT, 1, {"guard": Monotonic}, id="newer is taken for next"),
        pytest.param(Order.COMMUTATIVE, 1, {"guard": Forgetful}, id="no ranges"),
        pytest.param(Order.STRICT, 1, {"planner": DropsEarly}, id="nothing is held"),
        pytest.param(Order.STRICT, 1, {"planner": DecidesTwice}, id="decided twice"),
        pytest.param(Order.STRICT, 1, {"planner": AppliesTwice}, id="applied twice"),
        pytest.param(Order.STRICT, 1, {"planner": NeverLooksAhead}, id="nobody looks ahead"),
        pytest.param(Order.STRICT, 1, {"planner": TakesTheCopy}, id="a copy of what waits takes effect"),
        pytest.param(Order.STRICT, 1, {"planner": SkipsTheGap}, id="past the gap"),
        pytest.param(Order.STRICT, 1, {"planner": GoesOnPastALetter}, id="past a letter"),
        pytest.param(Order.STRICT, 1, {"planner": LosesLetters}, id="no letter"),
        pytest.param(Order.STRICT, 1, {"effect": NeverUndoes}, id="no undo"),
        pytest.param(Order.STRICT, 1, {"effect": UndoesTooMuch}, id="too much undo"),
        pytest.param(Order.STRICT, 2, {"store": LastWriterWins}, id="no compare-and-set"),
        pytest.param(Order.STRICT, 1, {"store": KeepsReleased}, id="held for ever"),
    ],
)
def test_a_wrong_state_is_seen(order: Order, workers: int, wrong: dict[str, Any]) -> None:
    def is_seen(case: Case) -> bool:
        try:
            World(case, **wrong).run()
        except Violation:
            return True
        return False

    find(cases(order, workers), is_seen, settings=_SEARCH)


_SEARCH = settings(
    max_examples=3_000,
    phases=[Phase.generate],
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
