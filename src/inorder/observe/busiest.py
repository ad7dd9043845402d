"""Which keys have had the most effects lately. Bounded, and exact until the bound is reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

WINDOW_S = 60.0
"""Counts are of the last one to two windows."""
MOST_KEYS = 20_000
"""Keys counted in one window; past it, those with the fewest effects are dropped."""


class Busiest:
    """Two windows of counts by key: the one that is being filled and the one before."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._since = now()
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._effects = [0, 0]

    def add(self, found: Iterable[tuple[str, int]]) -> None:
        """Keys, and how many effects each had."""
        self._turn()
        young = self._young
        for key, n in found:
            young[key] = young.get(key, 0) + n
            self._effects[0] += n
        if len(young) > MOST_KEYS:
            kept = sorted(young.items(), key=lambda each: -each[1])[: MOST_KEYS // 2]
            self._young = dict(kept)

    def top(self, most: int) -> tuple[list[tuple[str, int]], int]:
        """The busiest keys with their counts, and the number of effects on all keys."""
        self._turn()
        both = dict(self._old)
        for key, n in list(self._young.items()):
            both[key] = both.get(key, 0) + n
        return sorted(both.items(), key=lambda each: (-each[1], each[0]))[:most], sum(self._effects)

    def _turn(self) -> None:
        now = self._now()
        if now - self._since > 2 * WINDOW_S:
            self._old, self._young, self._effects = {}, {}, [0, 0]
            self._since = now
        elif now - self._since > WINDOW_S:
            self._old, self._young, self._effects = self._young, {}, [0, self._effects[0]]
            self._since += WINDOW_S
