"""Keys side by side: the same states, and the same anomalies by schedules as short, as the search of the whole."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from inorder.core.guard import Guard
from inorder.proof.explorer import explore, play
from inorder.proof.payloads import Case
from inorder.proof.product import Product
from inorder.proof.scope import Scope
from inorder.proof.system import Message
from inorder.proof.world import World
from tests.proof.consumers import Entry, listing, total
from tests.proof.test_explorer import Careless, Forgetful, Hasty, messages, world


def product(scope: Scope, consumer: Any = listing, guard: type[Guard] = Guard) -> Product:
    def world_of(part: Case) -> World:
        made = world(scope, consumer, guard)
        made.messages = part
        return made

    return Product(messages(scope), scope, world_of)


@pytest.mark.parametrize(
    "scope",
    [
        Scope(keys=2, versions=2),
        Scope(keys=3, versions=1, crashes=1),
        Scope(keys=2, versions=2, duplicates=1, crashes=1),
        Scope(keys=2, versions=2, zombies=1),
        Scope(keys=2, versions=2, retries=1),
        Scope(keys=2, versions=2, refusals=1),
        Scope(keys=2, versions=2, zombies=1, failures=1, one_arrival=True),
    ],
    ids=str,
)
def test_it_comes_to_the_same_states(scope: Scope) -> None:
    lanes, whole = product(scope).explore(), explore(world(scope))
    assert lanes.exhausted
    assert whole.exhausted
    assert lanes.finding is whole.finding is None
    assert (lanes.states, lanes.actions) == (whole.states, whole.actions)


def test_with_a_replay_it_comes_to_no_more_states() -> None:
    """A key need not remember for another key's replay what it could have read again."""
    scope = Scope(keys=2, versions=2, failures=1, replays=1)
    lanes, whole = product(scope).explore(), explore(world(scope))
    assert (lanes.exhausted, lanes.finding) == (whole.exhausted, whole.finding) == (True, None)
    assert 0.9 * whole.states < lanes.states <= whole.states
    assert {fault for fault, _ in lanes.covered} == {fault for fault, _ in whole.covered}


@pytest.mark.parametrize(("guard", "consumer"), [(Hasty, listing), (Careless, listing), (Forgetful, total)])
def test_it_finds_what_the_search_of_the_whole_finds(guard: type[Guard], consumer: Any) -> None:
    scope = Scope(keys=2, versions=2, duplicates=1)
    lanes, whole = product(scope, consumer, guard).explore(), explore(world(scope, consumer, guard))
    assert lanes.finding is not None
    assert whole.finding is not None
    assert lanes.finding.anomaly == whole.finding.anomaly
    assert lanes.schedule is not None
    assert whole.schedule is not None
    assert len(lanes.schedule) == len(whole.schedule)
    played = world(scope, consumer, guard)
    play(played, lanes.schedule)
    assert [finding.anomaly for finding in played.findings] == [lanes.finding.anomaly]


def test_keys_with_the_same_payloads_share_a_lane() -> None:
    scope = Scope(keys=2, versions=1)
    one, other = product(scope).lanes
    assert one is other
    case = messages(scope)
    case["b", 1] = Message("b", 1, "b1", msgspec.json.encode(Entry("b1", "b", 1, amount=2)))
    first, second = Product(case, scope, lambda part: world(scope)).lanes
    assert first is not second
