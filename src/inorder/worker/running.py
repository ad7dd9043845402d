"""What is known of a handler that is being called."""

from __future__ import annotations

import asyncio
import threading

from inorder.core.entity import Entity
from inorder.core.event import Event, Partition


class Run:
    """One call of the handler: consecutive events of one key.

    `partition` is the one whose owner makes it, under `fence`: where the events came from, or for one that waited the
    home of its key. `since` is when it was decided on, then when its thread began with it. `busiest`: its key has more
    to do than its share, see `inorder.core.lanes`.
    """

    __slots__ = (
        "attempt",
        "busiest",
        "entity",
        "epoch",
        "error",
        "events",
        "fence",
        "partition",
        "since",
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
        since: float,
        busiest: bool = False,
    ) -> None:
        self.entity = entity
        self.events = events
        self.epoch = epoch
        self.attempt = attempt
        self.partition = partition
        self.fence = fence
        self.since = since
        self.busiest = busiest
        self.task: asyncio.Task[None] | None = None
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None
