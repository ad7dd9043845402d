"""Ranges are a set of versions, kept small."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from inorder.core.ranges import Ranges
from tests.core.profiles import examples

numbers = st.lists(st.integers(1, 30), max_size=40)


def ranges_of(members: list[int]) -> Ranges:
    ranges = Ranges()
    for member in members:
        ranges.add(member)
    return ranges


@given(numbers)
@examples(200)
def test_it_has_the_members_of_a_set(members: list[int]) -> None:
    ranges, plain = ranges_of(members), set(members)
    assert {number for number in range(32) if number in ranges} == plain
    assert bool(ranges) == bool(plain)
    assert [ranges.count_above(number) for number in range(32)] == [
        sum(member > number for member in plain) for number in range(32)
    ]


@given(numbers)
@examples(200)
def test_its_ranges_are_sorted_and_never_touch(members: list[int]) -> None:
    pairs = ranges_of(members).pairs()
    assert all(first <= last for first, last in pairs)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(pairs))
    assert ranges_of(members) == Ranges(pairs) == ranges_of(sorted(members, reverse=True))


@given(numbers, st.integers(1, 31))
@examples(200)
def test_taking_from_a_number_removes_the_unbroken_run_that_starts_there(members: list[int], start: int) -> None:
    plain = set(members)
    ranges = ranges_of(members)
    run: set[int] = set()
    if start - 1 not in plain:
        while start + len(run) in plain:
            run.add(start + len(run))
    assert ranges.take_from(start) == start + len(run) - 1
    assert {number for number in range(32) if number in ranges} == plain - run


def test_a_dense_history_is_one_range_however_long() -> None:
    assert ranges_of(list(range(1, 10_001))).pairs() == [(1, 10_000)]
