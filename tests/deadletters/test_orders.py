"""Replay under every order: `latest` and `commutative` may do without parking, and a letter may be needed no more."""

from __future__ import annotations

import pytest

from tests.deadletters.conftest import kinds
from tests.deadletters.replays import Fault, ReplayBench, results
from tests.worker.bench import entries

RUN = [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("order", ["latest", "commutative"])
def test_a_parked_key_waits_under_every_order_unless_told_otherwise(bench: ReplayBench, order: str) -> None:
    fault = Fault(("a", 3))
    bench.produce(*entries("a", *RUN))
    consumer = bench.declare(fault, order=order)
    bench.work(consumer)
    assert bench.effects() == {"a": [1, 2]}
    assert bench.waiting("a") == [4, 5, 6]
    fault.mend()
    summary = bench.replay(consumer)
    assert bench.effects() == {"a": RUN}
    assert (summary.sums.applied, summary.drained.applied) == (1, 3)


def test_without_parking_a_failed_snapshot_stops_nothing_and_is_not_needed_any_more(bench: ReplayBench) -> None:
    fault = Fault(("a", 3))
    bench.produce(*entries("a", *RUN))
    consumer = bench.declare(fault, order="latest", park=False)
    bench.work(consumer)
    assert bench.effects() == {"a": [1, 2, 4, 5, 6]}
    assert bench.parked() == []
    fault.mend()
    summary = bench.replay(consumer)
    assert bench.effects() == {"a": [1, 2, 4, 5, 6]}, "an older snapshot never comes back"
    assert results(summary) == [("a", 3, "stale")]
    assert (summary.sums.applied, summary.sums.skipped) == (0, 1), "not reported as a success"
    row = bench.letters()[0]
    assert row.status == "resolved"
    assert "stale by plan" in (row.note or "")
    assert bench.outcomes() == {"applied": 5, "stale": 1}


def test_without_parking_the_newest_snapshot_is_still_needed(bench: ReplayBench) -> None:
    fault = Fault(("a", 6))
    bench.produce(*entries("a", *RUN))
    consumer = bench.declare(fault, order="latest", park=False)
    bench.work(consumer)
    fault.mend()
    assert results(bench.replay(consumer)) == [("a", 6, "applied")]
    assert bench.effects() == {"a": RUN}


def test_without_parking_commutative_letters_are_applied_whenever_they_are_mended(bench: ReplayBench) -> None:
    fault = Fault(("a", 2), ("a", 5))
    bench.produce(*entries("a", *RUN))
    consumer = bench.declare(fault, order="commutative", park=False)
    bench.work(consumer)
    assert bench.effects() == {"a": [1, 3, 4, 6]}
    fault.mend(("a", 5))
    assert results(bench.replay(consumer)) == [("a", 2, "failed"), ("a", 5, "applied")]
    fault.mend()
    assert results(bench.replay(consumer)) == [("a", 2, "applied")]
    assert bench.effects() == {"a": [1, 3, 4, 6, 5, 2]}
    assert bench.look.load(["a"])["a"].version == 6


@pytest.mark.parametrize("order", ["latest", "commutative"])
def test_several_letters_of_one_key_go_in_the_order_of_their_versions(bench: ReplayBench, order: str) -> None:
    fault = Fault(("a", 4), ("a", 5), ("a", 6))
    bench.produce(*entries("a", 1, 2, 3, 6, 5, 4))
    consumer = bench.declare(fault, order=order, park=False)
    bench.work(consumer)
    fault.mend()
    assert results(bench.replay(consumer)) == [("a", 4, "applied"), ("a", 5, "applied"), ("a", 6, "applied")]
    assert bench.effects() == {"a": [1, 2, 3, 4, 5, 6]}


@kinds("fold")
def test_letters_older_than_the_state_are_duplicates_or_conflicts(bench: ReplayBench) -> None:
    """A letter whose event took effect by another way, and one whose version another event has."""
    fault = Fault(("a", 2))
    bench.produce(*entries("a", 1, 2, 3))
    consumer = bench.declare(fault)
    bench.work(consumer)
    fault.mend()
    assert bench.replay(consumer).sums.applied == 1
    other = entries("a", 2)[0]
    other.id = "another"
    bench.produce(other)
    bench.work(consumer)
    assert bench.dead()[-1] == ("a", 2, "failed")
    summary = bench.replay(consumer)
    assert results(summary) == [("a", 2, "conflict")]
    assert (summary.sums.failed, bench.letters()[-1].status) == (1, "open")
    assert bench.effects() == {"a": [1, 2, 3]}
