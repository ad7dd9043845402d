"""What inorder knows of one entity: its versions, its state, and whether it waits."""

from __future__ import annotations

from array import array
from enum import StrEnum
from typing import Any

import msgspec

from inorder.core.event import Event, Partition
from inorder.core.ranges import Ranges

NEVER = float("inf")
AT_ONCE = 0.0
"""As a due time: the events that wait may be decided again now."""


class Wait(StrEnum):
    """Why an entity's events wait."""

    GAP = "gap"
    """A predecessor is missing. Its arrival starts the entity again."""
    RETRY = "retry"
    """An event failed and is tried again at `due_at`."""
    PARKED = "parked"
    """An event was given up on, or a gap outlasted its limit. An operator decides. With a due time: until then one
    replay has claimed it."""
    REPLAY = "replay"
    """A replay applies what waits. At `due_at` it counts as dead, and the events go on without it."""


class Waiting(msgspec.Struct, frozen=True):
    """How an entity waits. Times are seconds since the epoch."""

    why: Wait
    version: int
    """The version that is missing, failing, or given up on."""
    since: float
    due_at: float = NEVER
    """When something is to be done about it without a new event."""
    attempts: int = 0
    reason: str = ""
    missing: bool = False
    """Parked because `version` never came: its arrival still starts the entity again."""
    home: Partition | None = None
    """Where the event came from that made the entity wait; whoever owns that partition looks after it."""

    @property
    def open(self) -> bool:
        """True when an event that the guard lets through may take effect."""
        return self.why is Wait.GAP or self.missing

    @property
    def urgent(self) -> bool:
        """True when an event is there to be tried at `due_at`, so that the stream is not at rest before that."""
        return self.why in {Wait.RETRY, Wait.REPLAY} or self.due_at == AT_ONCE


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
