"""How an entity waits: for what, since when, until when."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from inorder.core.event import Partition

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
