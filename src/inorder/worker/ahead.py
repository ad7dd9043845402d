"""What one transaction is made of, and the next one, decided while the one before it is being written."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from inorder.core.changes import Changes
from inorder.core.effect import Abort
from inorder.core.entity import Entity
from inorder.core.event import Partition
from inorder.core.rows import EntityRow, HeldRow
from inorder.core.waiting import Waiting
from inorder.worker.job import Job, Turn

log = logging.getLogger("inorder.worker")

Follow = Callable[[], Turn | None]
"""Asks what is to be done after the turn at hand."""


def nobody_follows() -> None:
    """Nothing is known of what comes next."""


class Helper(Protocol):
    """Where a batch is decided ahead: a thread of its own."""

    def submit(self, task: Callable[[], None]) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


class TooEarly(Exception):
    """What is asked of the store is about to be changed."""


class Batch:
    """One transaction: what was read for it, what is decided, and what it writes."""

    def __init__(self, job: Job, due: Collection[str], changes: Changes, now: float) -> None:
        self.keys = {event.key for event in job.events}.union(due)
        self.changes = changes
        self.now = now
        self.events = job.events
        self.malformed = job.malformed
        self.entities: dict[str, Entity] = {}
        """Those of the keys, and perhaps others."""
        self.early: dict[str, Waiting | None] = {}
        """How keys wait that were looked at before they were due."""
        self.fences: dict[Partition, int] = {}
        self.rows: Sequence[EntityRow] = []
        self.decided = False
        self.deciding_s = self.writing_at = 0.0

    def leaves_alone(self, keys: Collection[str]) -> list[str]:
        """Those of the keys of which the store has the same before and after this is written."""
        return [key for key in keys if key not in self.changes.entities]

    def held_after(self, rows: Iterable[HeldRow], keys: AbstractSet[str]) -> list[HeldRow]:
        """What waits of these keys once this is written, lowest versions first: `rows` wait before that, or after."""
        held = {(row.key, row.version): row for row in rows if (row.key, row.version) not in self.changes.released}
        held |= {place: row for place, row in self.changes.held.items() if place[0] in keys}
        return [held[place] for place in sorted(held)]


class Ahead:
    """A batch that is decided before the one it follows is written, on the assumption that it will be."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.batch: Batch | None = None
        """From when it is read."""
        self.wanted = False
        """Whether somebody waits for it: then nothing more is done than must be."""
        # Not an event: whoever waits may be told to end, and the lock within an event would stay taken.
        self._over = threading.Lock()
        self._over.acquire()

    def decide(self, decide: Callable[[], None]) -> None:
        """Decide it, in whatever thread. What fails is decided once more when its turn has come, and fails then."""
        try:
            decide()
        except (Exception, Abort) as error:
            log.debug("not decided ahead: %s", error)
        finally:
            self._over.release()

    def decided(self) -> Batch | None:
        """Wait until this is over. Returns the batch if it is decided."""
        self.wanted = True
        with self._over:
            return self.batch if self.batch is not None and self.batch.decided else None
