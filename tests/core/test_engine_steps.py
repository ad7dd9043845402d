"""The engine step by step: when it pauses and resumes, what it commits and notes, what a lost partition takes along."""

from __future__ import annotations

import pytest

from inorder.core.engine import Commit, Engine, Pause, Resume, Settle, Unit
from inorder.core.event import Partition, Record, Slice
from inorder.core.limits import Limits
from inorder.core.offset_map import encode

HOME, OTHER = Partition("topic", 0), Partition("topic", 1)
LIMITS = Limits(in_flight_events=10, in_flight_bytes=100)


def received(engine: Engine, offset: int, events: int = 1, size: int = 0, home: Partition = HOME) -> Unit:
    unit = engine.received(Slice.of(home, [Record(home, offset + n, None, None) for n in range(events)]), size)
    assert unit is not None
    return unit


def test_what_is_under_way_of_a_queue_ends_one_by_one() -> None:
    engine = Engine(LIMITS)
    engine.assigned({HOME: 1}, queue=True)
    first, second, third = (received(engine, offset, size=20) for offset in (0, 1, 2))
    assert (engine.events, engine.bytes) == (3, 60)
    engine.lapsed(first)
    engine.settled(third)
    assert (engine.events, engine.bytes) == (1, 20)
    assert (engine.settlements(), engine.settlements(), engine.commits(ahead=True)) == ([Settle((3,))], [], [])
    engine.assigned({HOME: 2}, queue=True)
    received(engine, 3, size=30)
    engine.lapsed(second)
    engine.settled(second)
    assert (engine.events, engine.bytes, engine.settlements()) == (1, 30, [])


@pytest.mark.parametrize(
    ("units", "resumes"),
    [([(5, 50), (5, 50)], True), ([(5, 49), (5, 51)], False), ([(4, 90), (6, 10)], False), ([(6, 60), (4, 40)], True)],
)
def test_it_resumes_at_half_of_both_limits(units: list[tuple[int, int]], resumes: bool) -> None:
    engine = Engine(LIMITS)
    engine.assigned({HOME: 1, OTHER: 1})
    first, _ = (received(engine, 10 * n, events, size) for n, (events, size) in enumerate(units))
    assert engine.room() == [Pause((HOME, OTHER))]
    assert engine.assigned({OTHER: 2}) == [Pause((OTHER,))], "what comes while it is full is paused too"
    engine.settled(first)
    assert engine.room() == ([Resume((HOME, OTHER))] if resumes else [])
    assert engine.room() == []


def test_what_stands_still_is_paused_and_resumed_by_itself() -> None:
    engine = Engine(LIMITS)
    engine.assigned({HOME: 1, OTHER: 1})
    assert engine.stall([]) == []
    assert engine.stall([HOME, Partition("topic", 9)]) == [Pause((HOME,))]
    assert (engine.stall([HOME]), engine.stalled) == ([], True)
    assert engine.stall([OTHER]) == [Pause((OTHER,)), Resume((HOME,))]
    received(engine, 0, 10)
    assert engine.room() == [Pause((HOME, OTHER))]
    assert (engine.stall([]), engine.stalled) == ([], False), "the worker is full all the same"


def test_a_note_says_what_is_settled_beyond_a_commit() -> None:
    engine = Engine(LIMITS, notes=True)
    engine.assigned({HOME: 1})
    _, second = received(engine, 0), received(engine, 1)
    engine.settled(second)
    assert engine.commits() == []
    assert engine.commits(ahead=True) == [Commit(HOME, 0, encode(0, [(1, 2)]))]
    assert engine.commits(ahead=True) == []


def test_what_was_done_before_is_no_news_while_what_lies_below_it_is_not() -> None:
    engine = Engine(LIMITS, notes=True)
    engine.assigned({HOME: 1}, noted={HOME: (0, encode(0, [(1, 2)])), OTHER: (0, encode(0, [(1, 2)]))})
    pieces = engine.fresh(Slice.of(HOME, [Record(HOME, offset, None, None) for offset in (0, 1)]))
    (unit,) = [engine.received(piece, 0) for piece in pieces]
    assert unit is not None
    assert engine.commits() == []
    assert engine.commits(ahead=True) == [Commit(HOME, 0, encode(0, [(1, 2)]))]
    engine.settled(unit)
    assert engine.commits() == [Commit(HOME, 2)]
    engine.assigned({OTHER: 1})
    whole = Slice.of(OTHER, [Record(OTHER, offset, None, None) for offset in (0, 1)])
    assert list(engine.fresh(whole)) == [whole], "it was not ours when that was noted"


def test_a_partition_that_went_takes_all_that_is_known_of_it_along() -> None:
    engine = Engine(LIMITS, notes=True)
    engine.assigned({HOME: 1}, noted={HOME: (0, encode(0, [(5, 6)]))})
    unit = received(engine, 0, 2, 20)
    engine.stall([HOME])
    engine.settled(unit)
    engine.revoked([HOME, OTHER])
    assert (engine.fences, engine.events, engine.bytes, engine.stalled) == ({}, 0, 0, False)
    assert engine.commits(ahead=True) == []
    assert engine.received(Slice.of(HOME, [Record(HOME, 0, None, None)]), 0) is None
    engine.assigned({HOME: 2})
    engine.settled(unit)
    assert (engine.events, engine.commits(ahead=True)) == (0, [])
    whole = Slice.of(HOME, [Record(HOME, offset, None, None) for offset in (5, 6)])
    assert list(engine.fresh(whole)) == [whole]


def test_what_stands_still_is_not_counted_against_the_limits() -> None:
    engine = Engine(LIMITS)
    engine.assigned({HOME: 1, OTHER: 1})
    engine.stall([HOME])
    received(engine, 0, 9, 90)
    received(engine, 0, 2, 20, OTHER)
    assert not engine.full
    received(engine, 2, 1, 80, OTHER)
    assert engine.full


def test_nothing_that_comes_while_the_worker_is_full_is_nothing_to_pause() -> None:
    engine = Engine(LIMITS)
    engine.assigned({HOME: 1})
    received(engine, 0, 10)
    assert engine.room() == [Pause((HOME,))]
    assert engine.room() == [], "it is paused already"
    assert engine.assigned({}) == []


def test_what_was_settled_ahead_goes_with_its_partition() -> None:
    engine = Engine(LIMITS, notes=True)
    engine.assigned({HOME: 1})
    received(engine, 0)
    engine.settled(received(engine, 1))
    engine.revoked([HOME])
    assert engine.commits(ahead=True) == []


def test_a_slice_of_which_nothing_is_left_moves_the_frontier() -> None:
    engine = Engine(LIMITS, notes=True)
    engine.assigned({HOME: 1}, noted={HOME: (0, encode(0, [(1, 3)]))})
    engine.settled(received(engine, 0))
    assert engine.commits() == [Commit(HOME, 1)]
    rest = Slice.of(HOME, [Record(HOME, offset, None, None) for offset in (1, 2)])
    assert list(engine.fresh(rest)) == []
    assert engine.commits() == [Commit(HOME, 3)]
