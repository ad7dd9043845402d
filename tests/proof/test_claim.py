"""Lanes are for speed; the guard is for truth: without seriality of keys the state converges, without the guard not."""

from __future__ import annotations

import msgspec
import pytest

from inorder.core.guard import Guard
from inorder.core.lanes import Lanes
from inorder.core.order import Order
from inorder.proof.lane_world import ShuffledLanes, drawn, play
from inorder.proof.mutants import NoGuard
from inorder.proof.parts import Parts

SEEDS = range(25)


def found(seed: int, order: Order, lanes: type[Lanes], guard: type[Guard] = Guard) -> set[str]:
    """The anomalies of a course on these lanes."""
    course = msgspec.structs.replace(drawn(seed, events=32), order=order)
    return {one.anomaly for one in play(course, Parts(lanes=lanes, guard=guard)).findings}


ORDERS = pytest.mark.parametrize("order", [Order.STRICT, Order.LATEST, Order.COMMUTATIVE])


@ORDERS
def test_in_lanes_nothing_of_a_key_overlaps_and_the_state_is_right(order: Order) -> None:
    assert [found(seed, order, Lanes) for seed in SEEDS] == [set() for _ in SEEDS]


@ORDERS
def test_with_lanes_shuffled_keys_overlap_and_the_state_is_right_all_the_same(order: Order) -> None:
    seen = [found(seed, order, ShuffledLanes) for seed in SEEDS]
    assert set.union(*seen) == {"S10"}, "the one thing that lanes are for"
    assert seen.count({"S10"}) > len(SEEDS) // 2


@ORDERS
def test_without_the_guard_the_state_is_wrong_however_serial_the_lanes(order: Order) -> None:
    for lanes in (Lanes, ShuffledLanes):
        wrong = [found(seed, order, lanes, NoGuard) for seed in SEEDS]
        assert all("S1" in one for one in wrong), "copies took effect again"
        if order is not Order.COMMUTATIVE:
            assert all("S20" in one for one in wrong), "and the state is wrong"
