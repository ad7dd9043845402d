"""A missing predecessor: later events wait for it, up to a limit. Past that the key is parked; nothing is skipped."""

from __future__ import annotations

import time

import inorder
from inorder.core.waiting import Wait
from tests.worker.bench import PATIENCE_S, Bench, entries, until

LIMITS = inorder.Limits(gap_s=0.1)


def test_a_gap_that_outlasts_its_limit_parks_the_key_and_skips_nothing(bench: Bench) -> None:
    bench.produce(*entries("a", 1, 3, 4), *entries("b", 1, 2))
    bench.start(bench.declare(limits=LIMITS))
    until("it is parked", lambda: bench.parked() == ["a"])
    bench.produce(*entries("a", 5), *entries("b", 3))
    until("the others go on", lambda: bench.effects()["b"] == [1, 2, 3])
    until("all is settled", bench.committed)
    assert bench.effects()["a"] == [1]
    assert bench.waiting("a") == [3, 4, 5]
    ((_, waiting),) = bench.look.parked()
    assert (waiting.why, waiting.version, waiting.missing) == (Wait.PARKED, 2, True)
    assert waiting.reason == "version 2 did not come within 0.1 s"
    assert bench.dead() == [], "nothing was given up on: it only waits"


def test_the_missing_event_starts_a_parked_key_again(bench: Bench) -> None:
    bench.produce(*entries("a", 2, 3, 5))
    working = bench.start(bench.declare(limits=LIMITS))
    until("it is parked", lambda: bench.parked() == ["a"])
    bench.produce(*entries("a", 1))
    until("it took effect, with what waited behind it", lambda: bench.effects().get("a") == [1, 2, 3])
    until("its next gap is too long too", lambda: bench.parked() == ["a"])
    bench.produce(*entries("a", 4))
    until("so it goes on", lambda: bench.effects()["a"] == [1, 2, 3, 4, 5])
    until("all is settled", bench.committed)
    assert working.stop()
    assert bench.parked() == []
    assert bench.outcomes() == {"applied": 5}


def test_a_gap_that_fills_in_time_parks_nothing(bench: Bench) -> None:
    bench.produce(*entries("a", 2))
    working = bench.start(bench.declare(limits=inorder.Limits(gap_s=PATIENCE_S)))
    until("it waits", lambda: bench.waiting("a") == [2])
    bench.produce(*entries("a", 1))
    until("it went on", lambda: bench.effects().get("a") == [1, 2])
    assert working.stop()
    assert bench.parked() == []


def test_a_gap_whose_time_runs_out_between_two_runs_is_seen_by_the_next(bench: Bench) -> None:
    limits = inorder.Limits(gap_s=1.0)
    bench.produce(*entries("a", 2))
    bench.work(bench.declare(limits=limits))
    assert bench.parked() == []
    time.sleep(limits.gap_s)
    bench.start(bench.declare(limits=limits))
    until("it is parked", lambda: bench.parked() == ["a"])
    assert bench.waiting("a") == [2]


def test_waiting_for_a_gap_does_not_keep_a_stream_from_being_idle(bench: Bench) -> None:
    bench.produce(*entries("a", 2))
    bench.work(bench.declare())
    assert bench.waiting("a") == [2]


def test_more_events_wait_than_are_read_back_at_once(bench: Bench) -> None:
    bench.produce(*entries("a", *range(2, 1300)))
    bench.work(bench.declare())
    assert bench.effects() == {}
    bench.produce(*entries("a", 1))
    bench.work(bench.declare())
    assert bench.effects() == {"a": list(range(1, 1300))}
    assert bench.look.held_count() == 0
