"""Seeded courses over the real poll loop, planner, batches and replay: nothing wrong, nothing stuck, and the same each
time. What goes wrong where a part is broken is found, and made small.
"""

from __future__ import annotations

from typing import Any

import pytest

from inorder.core.order import Outcome
from inorder.core.rows import Counter
from inorder.proof.course import FAULTS, Act, Course, Do, Failing, drawn
from inorder.proof.mutants import DropsEarly, GoesOnPastALetter, NewerIsNext, NoGuard, SettlesFirst
from inorder.proof.parts import Parts
from inorder.proof.shrinking import sequences, shrink
from inorder.proof.swarm import play, same_again, swarm
from inorder.proof.trace import Op
from inorder.worker.worker import Loop

ACTS = {"crash", "move", "seize", "stall", "down", "cut", "pass", "replay", "die", "skip", "healing"}
OUTCOMES = {*Outcome, Counter.RETRIES, Counter.REPLAYED, Counter.RELEASED}


def test_no_seed_shows_an_anomaly_and_after_every_fault_every_outcome_was_seen() -> None:
    small, large = swarm(range(400), events=20), swarm(range(8, 18), events=600)
    for found in (small, large):
        assert found.failed is None, (found.seed, found.failed)
    missing = {(fault, outcome) for fault in ACTS for outcome in OUTCOMES} - small.seen.keys() - large.seen.keys()
    assert not missing
    assert set(FAULTS) >= ACTS - {"healing"}


def test_the_same_seed_makes_the_same_trace() -> None:
    assert all(same_again(seed) for seed in range(10))
    assert same_again(3, events=300)
    assert play(drawn(1)).hash != play(drawn(2)).hash


def test_a_course_is_played_again_from_its_token() -> None:
    course = drawn(7)
    assert Course.of(course.token()) == course
    assert play(Course.of(course.token())).hash == play(course).hash


def test_a_worker_that_stands_still_in_its_transaction_is_fenced() -> None:
    acts = (
        Act(Do.SEND, 0, "a", 1),
        Act(Do.WORK, 0),
        Act(Do.SEND, 0, "a", 2),
        Act(Do.STALL, 0, version=3),
        Act(Do.WORK, 0),
        Act(Do.SEIZE, 1),
        Act(Do.WORK, 1),
        Act(Do.WORK, 1),
    )
    played = play(Course(acts=acts), keep=True)
    applied = [(step.worker, step.version) for step in played.trace if step.op is Op.APPLIED]
    assert applied == [("worker 1", 1), ("worker 2", 2)]
    assert played.findings == []


class NeverAsksItsGroup(Loop):
    """Takes it for another group's doing when it is refused a partition that its own group leaves it."""

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._group = None


def test_a_worker_that_takes_its_fences_when_another_has_long_taken_over() -> None:
    acts = (
        Act(Do.SEND, 0, "a", 1),
        Act(Do.STALL, 0, version=2),
        Act(Do.TURN, 0),
        Act(Do.SEIZE, 1),
        Act(Do.WORK, 1),
        Act(Do.SEND, 0, "a", 2),
        Act(Do.WORK, 1),
        Act(Do.PASS, 10),
        *[Act(Do.WORK, 1)] * 2,
    )
    played = play(Course(acts=acts), keep=True)
    applied = [(step.worker, step.version, step.epoch) for step in played.trace if step.op is Op.APPLIED]
    assert applied == [("worker 2", 1, 1), ("worker 2", 2, 3)]
    assert played.findings == []
    broken = Parts(loop=NeverAsksItsGroup)
    assert [one.anomaly for one in play(Course(acts=acts), broken).findings] == ["S21"]
    found = swarm(range(400), events=20, parts=broken)
    assert found.failed is not None, "seeds come to it by themselves"


@pytest.mark.parametrize(
    ("parts", "anomaly", "events"),
    [
        pytest.param(Parts(guard=NoGuard), "S1", 2, id="no guard: an event and its copy"),
        pytest.param(Parts(guard=NewerIsNext), "S3", 1, id="newer is taken for next: one event that is not the first"),
        pytest.param(Parts(planner=DropsEarly), "S4", 2, id="nothing is held: two events the wrong way round"),
        pytest.param(Parts(planner=GoesOnPastALetter), "S12", 2, id="past a letter: it, and the one after it"),
        pytest.param(Parts(loop=SettlesFirst), "S7", 1, id="settled first: what a full batch shows, and one event can"),
    ],
)
def test_a_failing_course_of_hundreds_of_events_is_made_small(parts: Parts, anomaly: str, events: int) -> None:
    failed = next(
        played
        for played in (play(drawn(seed, 500), parts) for seed in range(60))
        if any(one.anomaly == anomaly for one in played.findings)
    )
    assert failed.course.events >= 500

    def fails(course: Course) -> bool:
        return any(one.anomaly == anomaly for one in play(course, parts).findings)

    shrunk = shrink(failed.course, fails, seconds=60)
    assert fails(shrunk.course)
    assert shrunk.course.events <= 2 * events, shrunk.course
    assert shrunk.minimal


def test_of_courses_that_are_the_same_one_is_tried() -> None:
    send, wait, work, stall = Act(Do.SEND, 0, "a", 1), Act(Do.PASS, 5), Act(Do.WORK), Act(Do.STALL, 0, version=1)
    assert set(sequences([send, wait], 2)) == {(send, send), (send, wait), (wait, wait)}
    assert set(sequences([wait, send], 2)) == {(send, send), (wait, send), (wait, wait)}
    assert len(list(sequences([send, work], 3))) == 2**3, "who works in between makes a difference"
    assert len(list(sequences([send, wait, stall], 3))) == 3**3, "what stands in a worker's standstill does too"


def test_an_event_that_fails_once_takes_effect_all_the_same() -> None:
    course = Course(acts=(Act(Do.SEND, 0, "a", 1), Act(Do.WORK)), failing=(Failing("a", 1, "transient", 1),))
    played = play(course)
    assert played.findings == []
    assert played.seen["healing", "applied"] == 1
