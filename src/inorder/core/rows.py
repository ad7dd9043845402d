"""What is written of entities, held events and dead letters: plain rows, and what is counted beside them."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from inorder.core.event import Record
from inorder.core.order import Outcome


class Reason(StrEnum):
    """Why an event was given up on."""

    MALFORMED = "malformed"
    FAILED = "failed"
    CONFLICT = "conflict"
    LATE = "late"


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter: an event that was given up on, whole, and why. Times are seconds since the epoch."""

    reason: Reason
    detail: str
    record: Record
    key: str | None
    version: int | None
    event_id: str | None
    error: str | None = None
    attempts: int = 0
    first_at: float
    last_at: float
    tally: int | None = None
    """The tally that its delivery was counted in, where that is not the writer's own."""
    code_version: str | None = None
    """Which code gave up on it."""


class EntityRow(msgspec.Struct, frozen=True, array_like=True):
    """One entity as it is to be stored, if the store still has revision `expected` of it (0: no row)."""

    key: str
    expected: int
    version: int
    ranges: bytes
    recent: bytes
    state: bytes | None
    waits: bool


class HeldRow(msgspec.Struct, frozen=True):
    """One event that waits in the store, as received. `receiver` is the tally its delivery was counted in."""

    key: str
    version: int
    event_id: str
    fingerprint: int
    outcome: Outcome
    receiver: int
    record: Record


class Effects(NamedTuple):
    """What took effect on one entity within one transaction: the last version before it, and the versions, as they did.

    Noted beside the effects themselves, so that their order can be judged without the guard.
    """

    key: str
    before: int
    versions: list[int]


class Counter(StrEnum):
    """What is counted beside the outcomes."""

    RECEIVED = "received"
    EARLY = "early"
    """Events that were held at first, whatever became of them."""
    RELEASED = "released"
    """Held events that took effect in this run, whoever received them."""
    RETRIES = "retries"
    REPLAYED = "replayed"
    FENCED = "fenced"
