"""How the partitions of a group are spread."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from inorder.sources.embedded_assignment import assign

MEMBERS = st.lists(st.integers(1, 20), unique=True, min_size=1, max_size=8).map(sorted)
PARTITIONS = st.integers(0, 30).map(range)
CURRENT = st.dictionaries(st.integers(0, 30), st.none() | st.integers(1, 20))


@given(PARTITIONS, MEMBERS, CURRENT)
def test_every_partition_has_a_member_and_loads_differ_by_one_at_most(
    partitions: range, members: list[int], current: dict[int, int | None]
) -> None:
    result = assign(partitions, members, current)
    assert sorted(result) == list(partitions)
    loads = Counter(result.values())
    assert set(loads) <= set(members)
    counts = [loads[member] for member in members]
    assert max(counts) - min(counts) <= 1


@given(PARTITIONS, MEMBERS, CURRENT)
def test_nothing_moves_twice(partitions: range, members: list[int], current: dict[int, int | None]) -> None:
    result = assign(partitions, members, current)
    assert assign(partitions, members, result) == result


@given(PARTITIONS, MEMBERS, CURRENT)
def test_only_what_evenness_needs_is_moved(
    partitions: range, members: list[int], current: dict[int, int | None]
) -> None:
    result = assign(partitions, members, current)
    owned = Counter(current.get(partition) for partition in partitions)
    kept = sum(result[partition] == current.get(partition) for partition in partitions)
    least, extra = divmod(len(partitions), len(members))
    loads = sorted((owned[member] for member in members), reverse=True)
    assert kept == sum(min(load, least + (place < extra)) for place, load in enumerate(loads))


def test_without_members_nobody_has_anything() -> None:
    assert assign(range(2), [], {0: 7}) == {0: None, 1: None}
