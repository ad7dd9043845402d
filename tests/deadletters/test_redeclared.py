"""Events that wait are what they were received as, whatever the consumer is declared as when they come back."""

from __future__ import annotations

from typing import Any

import pytest

from inorder.deadletters import operating
from tests.deadletters.replays import ReplayBench, results
from tests.deadletters.test_operating import BY
from tests.worker.bench import entries
from tests.worker.consumers import nothing

NEW: list[Any] = [
    pytest.param({"key": lambda record: "other"}, "key: 'other' now", id="key"),
    pytest.param({"version": lambda record: record.offset + 100}, "but the event was received with 3", id="version"),
]


@pytest.mark.parametrize(("new", "why"), NEW)
def test_a_held_event_that_is_read_as_another_one_now_is_a_letter_and_loses_nothing(
    bench: ReplayBench, new: dict[str, Any], why: str
) -> None:
    bench.produce(*entries("a", 1, 3, 4))
    bench.work(bench.declare())
    operating.skip_version(bench.look, "a", 2, BY)
    bench.work(bench.declare(nothing, **new))
    assert bench.dead() == [("a", 3, "failed")]
    assert why in bench.letters()[0].letter.detail
    assert (bench.effects(), bench.parked(), bench.waiting("a")) == ({"a": [1]}, ["a"], [4])
    as_it_was = bench.declare()
    assert results(bench.replay(as_it_was)) == [("a", 3, "applied")]
    assert bench.effects() == {"a": [1, 3, 4]}


def test_a_held_event_keeps_the_id_it_was_received_with(bench: ReplayBench) -> None:
    bench.produce(*entries("a", 1, 3))
    bench.work(bench.declare())
    bench.produce(*entries("a", 2))
    bench.work(bench.declare(nothing, id=None))
    assert bench.effects() == {"a": [1, 2, 3]}
    bench.produce(*entries("a", 3))
    bench.work(bench.declare())
    assert bench.outcomes() == {"applied": 3, "duplicate": 1}, "known by the id it had"
