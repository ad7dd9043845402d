"""The frontier of one partition: the offset below which everything received is settled, and what is beyond it."""

from __future__ import annotations

from collections import deque

_SLACK = 64


class Frontier:
    """Turns completions in any order into the one offset that may be committed.

    It knows only offsets that were received, in the order they came, so offsets that the broker never delivers
    (compacted away, transaction markers, past retention) cannot stall it: whatever lies between two units is done.
    It remembers what is under way, never what is done, so one unit that stands still under millions costs no memory.
    """

    __slots__ = ("_end", "_open", "_order", "position")

    def __init__(self) -> None:
        self._open: dict[int, int] = {}
        self._order: deque[int] = deque()
        self._end = 0
        self.position: int | None = None
        """What may be committed; None until something is received."""

    def __len__(self) -> int:
        """How many units are under way."""
        return len(self._open)

    def received(self, offset: int, next_offset: int) -> None:
        """A unit was received: one record, or a run of them, from `offset` to just before `next_offset`."""
        if next_offset <= self._end:
            return  # it came before, and is under way or done
        start = max(offset, self._end)
        if not self._open:
            self.position = start
        self._open[next_offset] = start
        self._order.append(next_offset)
        self._end = next_offset

    def passed(self, next_offset: int) -> bool:
        """Nothing below `next_offset` is left but what was received. Returns whether the frontier moved."""
        self._end = max(self._end, next_offset)
        return not self._open and self._move(self._end)

    def settled(self, next_offset: int) -> bool:
        """The unit that ends before `next_offset` is settled. Returns whether the frontier moved."""
        opened, order = self._open, self._order
        if opened.pop(next_offset, None) is None:
            return False
        if order[0] != next_offset:
            if len(order) > 2 * len(opened) + _SLACK:
                self._order = deque(opened)
            return False
        while order and order[0] not in opened:
            order.popleft()
        return self._move(opened[order[0]] if order else self._end)

    def _move(self, position: int) -> bool:
        moved, self.position = self.position != position, position
        return moved

    def beyond(self) -> list[tuple[int, int]]:
        """The runs of offsets that are settled beyond the frontier: first, and the one after the last."""
        runs: list[tuple[int, int]] = []
        at = self.position
        if at is None:
            return runs
        for end, start in self._open.items():
            if start > at:
                runs.append((at, start))
            at = end
        if self._end > at:
            runs.append((at, self._end))
        return runs
