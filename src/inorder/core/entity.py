"""What inorder knows of one entity: its versions, its state, and whether it waits."""

from __future__ import annotations

from array import array
from collections.abc import Container
from typing import Any

from inorder.core.event import Event, Partition
from inorder.core.ranges import Ranges
from inorder.core.waiting import Waiting


class Entity:
    """One entity as the store has it, and as the events decided since have made it.

    `revision` counts the writes of its row. Whoever writes names the revision it read, so a writer that decided
    on old knowledge (a worker that lost its partition, a replay beside live events) is refused, whatever it wanted
    to write.
    """

    __slots__ = (
        "applied",
        "held",
        "key",
        "ranges",
        "recent",
        "revision",
        "state",
        "stored_state",
        "stored_version",
        "version",
        "waiting",
    )

    def __init__(
        self,
        key: str,
        version: int = 0,
        revision: int = 0,
        ranges: Ranges | None = None,
        recent: array[int] | None = None,
        stored_state: bytes | None = None,
        waiting: Waiting | None = None,
        held: dict[int, int] | None = None,
    ) -> None:
        self.key = key
        self.version = version
        self.stored_version = version
        """The version as the store has it, or will once what is on its way is committed."""
        self.revision = revision
        """0: the store has no row of it yet."""
        self.ranges = ranges if ranges is not None else Ranges()
        self.recent = recent if recent is not None else array("I")
        self.state: Any = None
        self.stored_state = stored_state
        """The state as the store has it, or will once what is on its way is committed."""
        self.applied: list[Event] = []
        """What took effect since `stored_state`."""
        self.waiting = waiting
        self.held = held if held is not None else {}
        """Version to fingerprint of the events that wait in the store."""

    def due(self, now: float) -> bool:
        """Whether something is to be done about what the entity waits for."""
        return self.waiting is not None and self.waiting.due_at <= now

    def at_home(self, partitions: Container[Partition]) -> bool:
        """Whether it is for the owner of these partitions to wake the entity when it is due."""
        return self.waiting is None or self.waiting.home is None or self.waiting.home in partitions
