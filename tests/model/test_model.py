"""The protocol is right, the core does what it says, and each part of it is needed, in both alike."""

from __future__ import annotations

import pytest

from tests.core.test_planner_controls import DropsEarly, KeepsReleased, LastWriterWins, Unguarded
from tests.model.__main__ import COMPARED, EXPLORED
from tests.model.core_side import CoreWorld, Parts
from tests.model.explore import explore
from tests.model.lockstep import compare
from tests.model.protocol import Key, Protocol, Scope, State, Without

ALL = {"commit", "crash", "deliver", "drain", "expire", "mismatch", "refused", "replay", "settle", "takeover", "wake"}


@pytest.mark.parametrize("scope", EXPLORED[:-1], ids=str)
def test_nothing_wrong_can_be_reached(scope: Scope) -> None:
    found = explore(Protocol(scope))
    assert found.finished
    assert (found.wrong, found.way) == (None, [])


def test_the_core_comes_to_the_same_states_step_by_step() -> None:
    seen: set[str] = set()
    for scope in COMPARED[:3]:
        compared = compare(scope)
        assert (compared.difference, compared.way) == (None, [])
        seen |= compared.seen
    assert seen == ALL, "every kind of step was taken"


@pytest.mark.parametrize(
    ("without", "parts"),
    [
        pytest.param(Without(guard=True), Parts(guard=Unguarded), id="guard"),
        pytest.param(Without(held=True), Parts(planner=DropsEarly), id="held events"),
        pytest.param(Without(fence=True, revision=True), Parts(store=LastWriterWins, fences=False), id="fences"),
    ],
)
def test_without_a_part_the_same_schedule_leads_both_to_a_wrong_state(without: Without, parts: Parts) -> None:
    scope = Scope(keys=1, versions=2, twice=1, zombies=1)
    machine = Protocol(scope, without)
    found = explore(machine)
    assert found.wrong
    world = CoreWorld(scope, parts)
    settled: set[tuple[int, int]] = set()
    for action in found.way:
        world.take(action)
        if action.what == "settle":
            settled.add((action.key, action.version))
    keys: tuple[Key, ...] = world.seen()[0]
    state = State(keys, frozenset(settled), (None, None, None))
    assert machine.wrong(state) == found.wrong


def test_without_parking_events_take_effect_past_a_letter() -> None:
    found = explore(Protocol(Scope(1, 2, poison=(0, 1)), Without(parking=True)))
    assert found.wrong == "key 0: went on past the letter 1"


def test_settled_before_the_commit_an_event_is_lost_in_a_crash() -> None:
    found = explore(Protocol(Scope(1, 1, crashes=1), Without(settling_after=True)))
    assert found.wrong == "key 0: [1] settled, and nowhere"


def test_the_revision_alone_refuses_a_zombie() -> None:
    scope = Scope(2, 2, zombies=1)
    assert explore(Protocol(scope, Without(fence=True))).wrong is None


@pytest.mark.parametrize(
    "parts",
    [
        Parts(guard=Unguarded),
        Parts(planner=DropsEarly),
        Parts(store=LastWriterWins),
        Parts(store=KeepsReleased),
        Parts(parks=False),
        Parts(fences=False),
    ],
    ids=str,
)
def test_a_core_that_does_otherwise_is_told_from_the_protocol(parts: Parts) -> None:
    assert compare(Scope(1, 3, twice=1, zombies=1, poison=(0, 2)), parts).difference is not None
