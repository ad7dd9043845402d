"""A worker's sign of life in the store, for `inorder status`. Nothing is decided by it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from inorder.core.event import Partition
from inorder.errors import InorderError
from inorder.ports import Clock, Store

BEAT_EVERY_S = 5.0
"""How often it is written."""

LAST_TRIES, LAST_PAUSE_S = 20, 0.05
"""The last one is worth a second's trying: whoever is not told of an end takes the worker for one that was killed."""


class Pulse:
    """Writes now and then that a worker lives, which partitions it has and how fast it goes."""

    def __init__(self, store: Store, tally: int, clock: Clock) -> None:
        self._store = store
        self._tally = tally
        self._clock = clock
        self._beat_at = clock.now()
        self._partitions: set[Partition] = set()
        self.events = 0
        """Received since the last beat."""

    def beat(self, partitions: Iterable[Partition]) -> None:
        """Write it, if it is time to, or if the partitions are others than before."""
        now, has = self._clock.now(), set(partitions)
        since_s = now - self._beat_at
        if since_s < BEAT_EVERY_S and has == self._partitions:
            return
        pace = self.events / since_s if since_s > 0 else 0.0
        try:
            if not self._store.beat(self._tally, sorted(has), pace):
                return
        except InorderError:
            pass  # whoever must write says so
        self._beat_at, self._partitions, self.events = now, has, 0

    def end(self) -> None:
        """The worker ends in good order."""
        with suppress(InorderError):
            for _ in range(LAST_TRIES):
                if self._store.beat(self._tally, None, 0.0):
                    break
                self._clock.sleep(LAST_PAUSE_S)
