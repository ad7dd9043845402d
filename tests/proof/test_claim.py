"""Lanes are for speed; the guard is for truth: without seriality of keys the state converges, without the guard not."""

from __future__ import annotations

from random import Random

import pytest

from inorder.core.guard import Guard
from inorder.core.lanes import Lanes
from inorder.core.order import Order
from inorder.proof.lane_world import LaneWorld, ShuffledLanes
from inorder.proof.memory import MemoryStore
from inorder.proof.mutants import NoGuard
from inorder.proof.oracle import Judge, Judgement
from inorder.proof.parts import Parts
from inorder.proof.subjects import SubjectOracle, subject
from inorder.proof.swarm import planner_of
from inorder.proof.system import rules_of
from inorder.proof.trace import Op, Step

RECORDED = (Op.ACCEPTED, Op.STARTED, Op.ENDED, Op.APPLIED, Op.STATE, Op.HELD, Op.RELEASED, Op.LETTER, Op.SKIPPED)
SEEDS = range(25)


def disordered(seed: int, keys: int = 4, versions: int = 6) -> list[bytes]:
    """Every event of every key, one in three twice, in any order."""
    random = Random(seed)
    places = [(f"k{key}", version) for key in range(keys) for version in range(1, versions + 1)]
    places += random.sample(places, len(places) // 3)
    random.shuffle(places)
    return [b'{"key":"%b","version":%d,"id":"%b-%d"}' % (k.encode(), v, k.encode(), v) for k, v in places]


def judged(seed: int, order: Order, lanes: type[Lanes], guard: type[Guard] = Guard) -> Judgement:
    """What a run of lanes comes to."""
    declared = subject(order)
    judge = Judge(rules_of(declared, (*RECORDED, Op.FOUND, Op.REST)), SubjectOracle(order))
    made = lanes()
    if isinstance(made, ShuffledLanes):
        made.random = Random(seed)
    planner = planner_of(Parts(guard=guard), order, True)

    def emit(step: Step) -> None:
        judge.see(step)

    LaneWorld(declared, planner, MemoryStore("lanes"), emit, made, seed).play(disordered(seed))
    return judge.judgement()


def found(seed: int, order: Order, lanes: type[Lanes], guard: type[Guard] = Guard) -> set[str]:
    return {one.anomaly for one in judged(seed, order, lanes, guard).findings}


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
