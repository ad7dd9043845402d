"""The frontier of one partition: the offset below which everything received is settled."""

from __future__ import annotations

from collections import deque


class Frontier:
    """Turns completions in any order into the one offset that may be committed.

    It knows only offsets that were received, in the order they came, so offsets that the broker never delivers
    (compacted away, transaction markers, past retention) cannot stall it.
    """

    __slots__ = ("_done", "_open", "position")

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._done: set[int] = set()
        self.position: int | None = None
        """What may be committed; None until something is."""

    def __len__(self) -> int:
        """How many units are received and not yet below the frontier."""
        return len(self._open)

    @property
    def ahead(self) -> int:
        """How many units are settled beyond the frontier."""
        return len(self._done)

    def received(self, next_offset: int) -> None:
        """A unit (one record, or a run of them) that ends just before `next_offset` was received."""
        self._open.append(next_offset)

    def settled(self, next_offset: int) -> bool:
        """The unit that ends before `next_offset` is settled. Returns whether the frontier moved."""
        opened = self._open
        if not opened or opened[0] != next_offset:
            self._done.add(next_offset)
            return False
        opened.popleft()
        done = self._done
        while opened and opened[0] in done:
            next_offset = opened.popleft()
            done.remove(next_offset)
        self.position = next_offset
        return True
