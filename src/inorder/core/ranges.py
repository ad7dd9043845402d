"""Sets of versions kept as ranges. Dense versions make them a handful, however long the history."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable


class Ranges:
    """A set of positive integers as disjoint, sorted, inclusive ranges that never touch each other."""

    __slots__ = ("_ends", "starts")

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self.starts: list[int] = []
        self._ends: list[int] = []
        for start, end in pairs:
            self.starts.append(start)
            self._ends.append(end)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self.starts, number) - 1
        return at >= 0 and number <= self._ends[at]

    def __bool__(self) -> bool:
        return bool(self.starts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self.pairs() == other.pairs()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Ranges({self.pairs()})"

    def pairs(self) -> list[tuple[int, int]]:
        """The ranges as (first, last) pairs, lowest first."""
        return list(zip(self.starts, self._ends, strict=True))

    def add(self, number: int) -> None:
        """Put one number in; a number that is in already changes nothing."""
        at = bisect_right(self.starts, number)
        if at and number <= self._ends[at - 1]:
            return
        joins_left = at > 0 and self._ends[at - 1] == number - 1
        joins_right = at < len(self.starts) and self.starts[at] == number + 1
        if joins_left and joins_right:
            self._ends[at - 1] = self._ends.pop(at)
            del self.starts[at]
        elif joins_left:
            self._ends[at - 1] = number
        elif joins_right:
            self.starts[at] = number
        else:
            self.starts.insert(at, number)
            self._ends.insert(at, number)

    def take_from(self, number: int) -> int:
        """Remove the range that starts at `number`, and return its last member; `number - 1` if there is none."""
        at = bisect_right(self.starts, number) - 1
        if at < 0 or self.starts[at] != number:
            return number - 1
        del self.starts[at]
        return self._ends.pop(at)

    def count_above(self, number: int) -> int:
        """How many members are greater than `number`."""
        at = bisect_right(self.starts, number)
        total = sum(self._ends[i] - self.starts[i] + 1 for i in range(at, len(self.starts)))
        if at:
            total += max(0, self._ends[at - 1] - number)
        return total
