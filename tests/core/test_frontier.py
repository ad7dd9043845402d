"""The frontier is the end of the unbroken run of settled units, counted from the first one received."""

from __future__ import annotations

from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from inorder.core.frontier import Frontier
from tests.core.profiles import examples


@given(st.lists(st.tuples(st.integers(1, 5), st.lists(st.integers(0, 30), max_size=3)), max_size=30))
@examples(300)
def test_it_is_the_settled_prefix_of_what_was_received_whatever_the_order(
    course: list[tuple[int, list[int]]],
) -> None:
    """Offsets have gaps. After each unit received, some of those under way are settled, in any order."""
    frontier = Frontier()
    received: list[int] = []
    settled: set[int] = set()
    position: int | None = None
    offset = 0
    for gap, choices in [*course, (1, [0] * 1_000)]:
        offset += gap
        frontier.received(offset)
        received.append(offset)
        for choice in choices:
            under_way = [one for one in received if one not in settled]
            if not under_way:
                break
            one = under_way[choice % len(under_way)]
            settled.add(one)
            moved = frontier.settled(one)
            prefix = list(takewhile(settled.__contains__, received))
            before, position = position, prefix[-1] if prefix else None
            assert frontier.position == position
            assert moved == (before != position)
            assert before is None or (position is not None and position >= before)
            assert len(frontier) == len(received) - len(prefix)
            assert frontier.ahead == len(settled) - len(prefix)
    assert (len(frontier), frontier.ahead, frontier.position) == (0, 0, offset)
