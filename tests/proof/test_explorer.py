"""The search: every schedule of a scope, a smallest one that fails, and no fault that it does not see through."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.guard import Decision, Guard
from inorder.declaration import Declaration, declaration_of
from inorder.proof.explorer import Explored, explore, play
from inorder.proof.memory import MemoryStore, MemoryTransaction
from inorder.proof.oracle import LedgerOracle
from inorder.proof.scope import Act, Fate, Kind, Scope
from inorder.proof.system import Message
from inorder.proof.world import World
from inorder.worker.assemble import planner_for
from tests.proof.consumers import Entry, listing, newest, total


def messages(scope: Scope) -> dict[tuple[str, int], Message]:
    places = [(key, version) for key in "abc"[: scope.keys] for version in range(1, scope.versions + 1)]
    return {
        (key, version): Message(
            key, version, f"{key}{version}", msgspec.json.encode(Entry(f"{key}{version}", key, version))
        )
        for key, version in places
    }


def world(scope: Scope, consumer: Any = listing, guard: type[Guard] = Guard) -> World:
    declared: Declaration = declaration_of(consumer)
    planner = planner_for(declared)
    planner.guard = guard(declared.order, declared.baseline)
    oracle = LedgerOracle() if consumer is listing else None
    return World(declared, messages(scope), scope, MemoryStore("x"), oracle, planner)


def search(scope: Scope, consumer: Any = listing, guard: type[Guard] = Guard) -> Explored:
    return explore(world(scope, consumer, guard))


@pytest.mark.parametrize(
    ("scope", "states"),
    [
        (Scope(), 4),
        (Scope(versions=3), 9),
        (Scope(keys=2, versions=2), 13),
        (Scope(keys=2, versions=2, duplicates=1, crashes=1, retries=1), None),
        (Scope(versions=3, duplicates=1, zombies=1), None),
        (Scope(versions=3, failures=1, replays=1, crashes=1), None),
    ],
    ids=str,
)
def test_a_scope_is_exhausted_and_nothing_is_wrong(scope: Scope, states: int | None) -> None:
    found = search(scope)
    assert found.finding is None, found.finding
    assert found.exhausted
    assert states is None or found.states == states
    covered = {fault for fault, _ in found.covered}
    assert covered >= {name for name, _ in scope.faults} - {"zombies"}
    assert "zombies" not in covered, "nothing comes of what a former owner decides"


class Forgetful(Guard):
    """Takes what it knows already for new."""

    def decide(self, entity: Entity, event: Event) -> Decision:
        found = super().decide(entity, event)
        return Decision.APPLY if found is Decision.DUPLICATE else found


class Hasty(Guard):
    """Does not wait for what is missing."""

    def decide(self, entity: Entity, event: Event) -> Decision:
        found = super().decide(entity, event)
        return Decision.APPLY if found is Decision.HOLD else found


class Careless(Guard):
    """Takes what came late for a duplicate."""

    def decide(self, entity: Entity, event: Event) -> Decision:
        found = super().decide(entity, event)
        return Decision.DUPLICATE if found is Decision.HOLD else found


def test_a_guard_that_forgets_is_found_by_two_deliveries_of_one_event() -> None:
    found = search(Scope(duplicates=1), total, Forgetful)
    assert found.finding is not None
    assert found.finding.anomaly == "S1"
    assert found.schedule == (Act(Kind.DELIVER, ("a", 1)), Act(Kind.DELIVER, ("a", 1)))


def test_a_guard_that_does_not_wait_is_found_by_one_event() -> None:
    found = search(Scope(versions=3, keys=2), guard=Hasty)
    assert found.finding is not None
    assert found.finding.anomaly == "S3"
    assert found.schedule == (Act(Kind.DELIVER, ("a", 2)),)


def test_a_guard_that_loses_events_is_found() -> None:
    found = search(Scope(), guard=Careless)
    assert found.finding is not None
    assert found.finding.anomaly == "S7"


def test_without_the_fence_a_zombie_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryTransaction, "check_fences", lambda self, fences: None)
    found = search(Scope(zombies=1))
    assert found.finding is not None
    assert found.finding.anomaly == "S9"
    assert found.schedule == (Act(Kind.DELIVER, ("a", 1), Fate.STALL), Act(Kind.WAKE))


def test_offsets_committed_before_the_transaction_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from inorder.proof.system import System

    real = System.decide

    def too_soon(self: System, number: int) -> None:
        member = self.members[number]
        for unit in member.job.units:
            member.engine.settled(unit)
        self.commit(number)
        real(self, number)

    monkeypatch.setattr(System, "decide", too_soon)
    found = search(Scope())
    assert found.finding is not None
    assert found.finding.anomaly == "S7"


def test_a_schedule_is_played_again_to_the_same_trace() -> None:
    scope = Scope(versions=3, failures=1, replays=1)
    schedule = (
        Act(Kind.DELIVER, ("a", 2)),
        Act(Kind.DELIVER, ("a", 1), Fate.FAIL),
        Act(Kind.REPLAY, ("a", 1)),
        Act(Kind.DRAIN, ("a", 0)),
    )
    first, second = play(world(scope), schedule), play(world(scope), schedule)
    assert first == second
    assert [(step.version, step.via) for step in first if step.op == "applied"] == [(1, "replay"), (2, "drain")]


@pytest.mark.parametrize("consumer", [newest, total])
def test_other_orders_are_searched_too(consumer: Any) -> None:
    found = search(Scope(versions=3, duplicates=1, crashes=1, retries=1), consumer)
    assert (found.finding, found.exhausted) == (None, True)
