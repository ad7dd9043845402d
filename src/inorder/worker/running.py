"""What is known of a handler that is being called."""

from __future__ import annotations

import asyncio
import threading

from inorder.core.entity import Entity
from inorder.core.event import Event, Partition
from inorder.core.waiting import NEVER

OLD_S = 0.5
"""A call that waited longer than this for its thread is not made, but decided on again: the process may have been
stopped meanwhile, and the event be somebody else's. Its fence and claim were looked at so long before, at most."""


class Run:
    """One call of the handler: consecutive events of one key.

    `partition` is the one whose owner makes it, under `fence`: where the events came from, or for one that waited the
    home of its key. `busiest`: its key has more to do than its share, see `inorder.core.lanes`. Times are those of the
    monotonic clock.
    """

    __slots__ = (
        "attempt",
        "began_at",
        "busiest",
        "decided_at",
        "ended_at",
        "ending",
        "entity",
        "epoch",
        "error",
        "events",
        "fence",
        "partition",
        "task",
        "thread",
    )

    def __init__(
        self,
        entity: Entity,
        events: list[Event],
        epoch: int,
        attempt: int,
        partition: Partition,
        fence: int,
        decided_at: float,
        busiest: bool = False,
    ) -> None:
        self.entity = entity
        self.events = events
        self.epoch = epoch
        self.attempt = attempt
        self.partition = partition
        self.fence = fence
        self.decided_at = decided_at
        self.busiest = busiest
        self.began_at = self.ended_at = NEVER
        """When the handler was called, and when it was through, where a thread called it."""
        self.error: BaseException | None = None
        self.task: asyncio.Task[None] | None = None
        self.thread: threading.Thread | None = None
        self.ending = threading.Lock()
        """Taken once, by whoever is first: the thread that is through with it, or the loop that gives up on it."""

    @property
    def made(self) -> bool:
        """Whether the handler was called."""
        return self.began_at < NEVER

    def holds(self, now: float) -> bool:
        """Whether it may still be made. From any thread."""
        if now - self.decided_at > OLD_S:
            return False
        for event in self.events:
            lease = event.slice.lease
            if lease is not None and not lease.holds():
                return False
        return True
