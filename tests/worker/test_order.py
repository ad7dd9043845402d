"""Every entity's events take effect in order, exactly once, however they arrive."""

from __future__ import annotations

import random

from tests.worker.bench import Bench, entries
from tests.worker.consumers import Entry


def test_events_in_order_take_effect_in_order(bench: Bench) -> None:
    for key in "abcdefgh":
        bench.produce(*entries(key, *range(1, 21)))
    bench.work(bench.declare())
    assert bench.effects() == {key: list(range(1, 21)) for key in "abcdefgh"}
    assert bench.outcomes() == {"applied": 160}
    assert bench.committed()


def test_events_out_of_order_take_effect_in_order(bench: Bench) -> None:
    bench.produce(*entries("a", 3, 1, 2, 6, 5, 4), *entries("b", 4, 3, 2, 1))
    bench.work(bench.declare())
    assert bench.effects() == {"a": [1, 2, 3, 4, 5, 6], "b": [1, 2, 3, 4]}
    assert bench.outcomes() == {"applied": 10}


def test_an_early_event_waits_in_the_store_from_one_run_to_the_next(bench: Bench) -> None:
    bench.produce(*entries("a", 1, 3, 4))
    bench.work(bench.declare())
    assert bench.effects() == {"a": [1]}
    assert bench.waiting("a") == [3, 4]
    assert bench.outcomes() == {"applied": 1, "held": 2}
    bench.produce(*entries("a", 2))
    bench.work(bench.declare())
    assert bench.effects() == {"a": [1, 2, 3, 4]}
    assert bench.waiting("a") == []
    assert bench.outcomes() == {"applied": 4}
    assert bench.count("released") == 2


def test_an_event_that_comes_again_takes_effect_once(bench: Bench) -> None:
    bench.produce(*entries("a", 1, 1, 2, 1, 2, 3, 5, 5, 4, 5, 3))
    bench.work(bench.declare())
    assert bench.effects() == {"a": [1, 2, 3, 4, 5]}
    assert bench.outcomes() == {"applied": 5, "duplicate": 6}


def test_a_stream_that_is_read_again_from_its_start_changes_nothing(bench: Bench) -> None:
    given = [entry for key in "abc" for entry in entries(key, 2, 1, 3)]
    for _ in range(3):
        bench.produce(*given)
        bench.work(bench.declare())
    assert bench.effects() == {key: [1, 2, 3] for key in "abc"}
    assert bench.outcomes() == {"applied": 9, "duplicate": 18}


def test_the_events_of_a_key_may_come_from_several_partitions(bench: Bench) -> None:
    for entry in entries("a", *range(1, 41)):
        bench.produce(entry, partition=entry.version % 4)
    bench.work(bench.declare())
    assert bench.effects() == {"a": list(range(1, 41))}


def test_two_events_that_claim_one_version_are_a_conflict(bench: Bench) -> None:
    bench.produce(*entries("a", 1, 2), Entry("a", 2, "another"), *entries("a", 3), *entries("b", 1))
    bench.work(bench.declare())
    assert bench.effects() == {"a": [1, 2, 3], "b": [1]}
    assert bench.dead() == [("a", 2, "conflict")]
    assert bench.outcomes() == {"applied": 4, "conflict": 1}
    assert bench.parked() == []


def test_under_latest_order_only_newer_versions_take_effect(bench: Bench) -> None:
    for entry in entries("a", 2, 5, 3, 5, 9):
        bench.produce(entry)
        bench.work(bench.declare(order="latest"))
    assert bench.effects() == {"a": [2, 5, 9]}
    assert bench.outcomes() == {"applied": 3, "stale": 1, "duplicate": 1}


def test_under_commutative_order_each_version_takes_effect_once_as_it_comes(bench: Bench) -> None:
    for entry in entries("a", 3, 1, 3, 4, 1, 2):
        bench.produce(entry)
        bench.work(bench.declare(order="commutative"))
    assert bench.effects() == {"a": [3, 1, 4, 2]}
    assert bench.outcomes() == {"applied": 4, "duplicate": 2}


def test_a_long_shuffled_stream_with_repetitions_ends_in_the_right_state(bench: Bench) -> None:
    rng = random.Random(7)
    given = [entry for key in "abcdefghij" for entry in entries(key, *range(1, 31))]
    given += rng.sample(given, 100)
    rng.shuffle(given)
    for start in range(0, len(given), 100):
        bench.produce(*given[start : start + 100], partition=start // 100)
        bench.work(bench.declare())
    assert bench.effects() == {key: list(range(1, 31)) for key in "abcdefghij"}
    assert bench.outcomes() == {"applied": 300, "duplicate": 100}
    assert bench.look.held_count() == 0
