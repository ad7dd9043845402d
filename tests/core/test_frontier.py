"""The frontier is the end of the unbroken run of settled units; what is settled beyond it is told as runs."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from inorder.core.frontier import Frontier
from tests.core.profiles import examples

Course = list[tuple[int, int, list[int]]]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.lists(st.integers(0, 30), max_size=3)), max_size=30))
@examples(300)
def test_it_is_the_settled_prefix_of_what_was_received_whatever_the_order(course: Course) -> None:
    """Offsets have gaps. After each unit received, some of those under way are settled, in any order."""
    frontier = Frontier()
    units: list[tuple[int, int]] = []
    settled: set[int] = set()
    end = 100
    for gap, length, choices in [*course, (1, 1, [0] * 1_000)]:
        first, end = end + gap, end + gap + length
        frontier.received(first, end)
        units.append((first, end))
        check(frontier, units, settled)
        for choice in choices:
            under_way = [until for _, until in units if until not in settled]
            if not under_way:
                break
            one = under_way[choice % len(under_way)]
            settled.add(one)
            before = frontier.position
            assert frontier.settled(one) == (frontier.position != before)
            assert not frontier.settled(one), "a second time is nothing"
            check(frontier, units, settled)
    assert (len(frontier), frontier.position, frontier.beyond()) == (0, end, [])


def check(frontier: Frontier, units: list[tuple[int, int]], settled: set[int]) -> None:
    """Below the position nothing is under way, and of what is beyond it the runs name all that is not."""
    first, end = units[0][0], units[-1][1]
    under_way = {offset for start, until in units if until not in settled for offset in range(start, until)}
    position = min(under_way, default=end)
    assert frontier.position == position
    assert len(frontier) == len([until for _, until in units if until not in settled])
    told = [offset for start, until in frontier.beyond() for offset in range(start, until)]
    assert told == [offset for offset in range(first, end) if offset > position and offset not in under_way]


def test_one_unit_that_stands_still_under_many_takes_no_memory() -> None:
    frontier = Frontier()
    frontier.received(0, 1)
    for offset in range(1, 200_000):
        frontier.received(offset, offset + 1)
        frontier.settled(offset + 1)
    assert sum(map(sys.getsizeof, (frontier._open, frontier._order))) < 10_000
    assert frontier.beyond() == [(1, 200_000)]
    assert frontier.settled(1)
    assert frontier.position == 200_000


def test_a_unit_that_comes_again_changes_nothing() -> None:
    frontier = Frontier()
    frontier.received(0, 5)
    frontier.received(5, 9)
    frontier.received(3, 7)
    frontier.received(5, 9)
    assert len(frontier) == 2
    assert not frontier.settled(7)
    assert frontier.settled(5)
    assert frontier.position == 5
    assert frontier.beyond() == []
    assert frontier.settled(9)
    assert frontier.position == 9


def test_what_is_passed_moves_the_frontier_once() -> None:
    frontier = Frontier()
    frontier.received(0, 5)
    assert frontier.settled(5)
    assert frontier.passed(9)
    assert not frontier.passed(9)
    assert frontier.position == 9


def test_before_anything_is_received_there_is_nothing_to_tell() -> None:
    assert (Frontier().position, Frontier().beyond()) == (None, [])
