"""Events that wait are what they were received as, whatever the consumer is declared as when they come back."""

from __future__ import annotations

from typing import Any

import pytest

from inorder.deadletters import operating
from inorder.sources.embedded import EmbeddedSource
from tests.deadletters.replays import Fault, ReplayBench, results
from tests.deadletters.test_operating import BY
from tests.worker.bench import TOPIC, entries
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


def test_an_event_that_can_be_read_now_and_fails_is_a_letter_of_its_key_and_version(bench: ReplayBench) -> None:
    bench.produce(*entries("a", 1))
    bench.work(bench.declare(key=lambda record: ""))
    assert bench.dead() == [(None, None, "malformed")]
    bench.produce(*entries("a", 2))
    consumer = bench.declare(Fault(("a", 1)))
    again = EmbeddedSource(bench.path.parent / "broker.db", TOPIC, "from the beginning", session_timeout_s=2.0)
    bench.work(consumer, again)
    assert bench.parked() == ["a"]
    assert bench.dead() == [("a", 1, "failed")]
    assert operating.skip_letter(bench.look, bench.letters()[0].id, BY).tombstone
    bench.work(consumer)
    assert (bench.effects(), bench.parked()) == ({"a": [2]}, [])
