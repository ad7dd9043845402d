"""The orders a consumer can declare, and what can become of an event."""

from __future__ import annotations

from enum import StrEnum


class Order(StrEnum):
    """What a consumer asks of the guard. See the table in `guard`."""

    STRICT = "strict"
    LATEST = "latest"
    COMMUTATIVE = "commutative"
    UNGUARDED = "unguarded"


class Outcome(StrEnum):
    """What became of one delivery. Every delivery gets exactly one."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    STALE = "stale"
    HELD = "held"
    PARKED = "parked"
    CONFLICT = "conflict"
    LATE = "late"
    DEAD_LETTERED = "dead_lettered"
