"""When keys are to be looked at without a new event: a retry that comes due, a gap that may outlast its limit."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from inorder.core.waiting import NEVER, Waiting

SPARE = 1_000
"""Times that have been replaced and may stay in the heap, beside as many as there are that have not."""


class Timers:
    """Due times by key. A later word on a key replaces an earlier one."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._urgent: set[str] = set()

    @property
    def urgent(self) -> bool:
        """Whether an event waits for its retry, or to be decided again."""
        return bool(self._urgent)

    def copy(self) -> Timers:
        """The same due times."""
        twin = Timers()
        twin._due, twin._heap, twin._urgent = dict(self._due), list(self._heap), set(self._urgent)
        return twin

    def all(self) -> dict[str, float]:
        """When each key is to be looked at."""
        return self._due

    def note(self, waits: Mapping[str, Waiting | None]) -> None:
        """How these keys wait from now on."""
        for key, waiting in waits.items():
            self._urgent.discard(key)
            if waiting is None or waiting.due_at == NEVER:
                self._due.pop(key, None)
                continue
            if waiting.urgent:
                self._urgent.add(key)
            self._due[key] = waiting.due_at
            heapq.heappush(self._heap, (waiting.due_at, key))
        if len(self._heap) > 2 * len(self._due) + SPARE:
            # Most gaps fill long before their limit: until then each would keep its place, and its key in memory.
            self._heap = [(due_at, key) for key, due_at in self._due.items()]
            heapq.heapify(self._heap)

    def take(self, now: float, most: int = 1000) -> list[str]:
        """The keys that are due, which are forgotten with this."""
        keys: list[str] = []
        while self._heap and self._heap[0][0] <= now and len(keys) < most:
            due_at, key = heapq.heappop(self._heap)
            if self._due.get(key) == due_at:
                del self._due[key]
                self._urgent.discard(key)
                keys.append(key)
        return keys

    def next(self) -> float:
        """The time of the next one; NEVER if there is none."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else NEVER
