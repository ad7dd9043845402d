"""What becomes of letters in a replay. The sums add up: selected = applied + duplicate + skipped + failed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from inorder.core.order import Outcome
from inorder.core.replaying import Verdict
from inorder.core.rows import Reason


class Result(StrEnum):
    """What became of one letter of a replay."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    STALE = "stale"
    RESOLVED = "resolved"
    FAILED = "failed"
    UNREADABLE = "unreadable"
    GAP = "gap"
    BEHIND = "behind"
    CONFLICT = "conflict"
    LATE = "late"
    BUSY = "busy"

    @property
    def final(self) -> bool:
        """Whether there is nothing left to do about the letter: it is not tried again by the same plan."""
        return self in {Result.APPLIED, Result.DUPLICATE, Result.STALE, Result.RESOLVED}


MEANING = {
    Result.APPLIED: "took effect",
    Result.DUPLICATE: "had taken effect already",
    Result.STALE: "no longer needed: newer events have made it superfluous; it was not applied",
    Result.RESOLVED: "somebody else has dealt with it",
    Result.FAILED: "the handler failed again; the key stays parked",
    Result.UNREADABLE: "no event can be read from it",
    Result.GAP: "events before it are missing",
    Result.BEHIND: "an earlier letter of its key failed",
    Result.CONFLICT: "another event has its version",
    Result.LATE: "an operator skipped its version",
    Result.BUSY: "its key is just being retried, or another replay has it",
}

FORECAST = {
    Result.APPLIED: "would take effect",
    Result.DUPLICATE: "have taken effect already",
    Result.STALE: "no longer needed: newer events have made them superfluous; they would not be applied",
    Result.RESOLVED: "dealt with in the meantime",
    Result.FAILED: "would fail again; their keys would stay parked",
    Result.UNREADABLE: "no event can be read from them",
    Result.GAP: "still behind a gap: events before them are missing",
    Result.BEHIND: "behind a letter of their key that would fail",
    Result.CONFLICT: "another event has their version",
    Result.LATE: "an operator skipped their version",
    Result.BUSY: "their key is just being retried, or replayed by somebody else",
}

_SUM = {
    Result.APPLIED: "applied",
    Result.DUPLICATE: "duplicate",
    Result.STALE: "skipped",
    Result.RESOLVED: "skipped",
}

OF_VERDICT = {
    Verdict.APPLY: Result.APPLIED,
    Verdict.DUPLICATE: Result.DUPLICATE,
    Verdict.STALE: Result.STALE,
    Verdict.GAP: Result.GAP,
    Verdict.CONFLICT: Result.CONFLICT,
    Verdict.LATE: Result.LATE,
    Verdict.BUSY: Result.BUSY,
}

COUNTED_AS = {
    Reason.MALFORMED: Outcome.DEAD_LETTERED,
    Reason.FAILED: Outcome.DEAD_LETTERED,
    Reason.CONFLICT: Outcome.CONFLICT,
    Reason.LATE: Outcome.LATE,
}
"""Which outcome the delivery of a letter was counted as when it was given up on."""


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """The letters of a plan by what became of them. `selected` is the sum of the others at all times."""

    selected: int
    applied: int
    duplicate: int
    skipped: int
    """No longer needed, or dealt with by somebody else: not applied by this plan, and nothing is lost."""
    failed: int
    """Still dead letters, for the reason that `results` tells."""
    pending: int
    """Not tried yet."""
    results: dict[str, int]


def sums(counts: Mapping[str | None, int]) -> Sums:
    """From how many letters came to each result (None: not tried)."""
    totals: dict[str, int] = {"applied": 0, "duplicate": 0, "skipped": 0, "failed": 0, "pending": 0}
    for result, count in counts.items():
        name = "pending" if result is None else _SUM.get(Result(result), "failed")
        totals[name] += count
    results = {str(result): count for result, count in sorted(counts.items(), key=str) if result is not None}
    return Sums(selected=sum(counts.values()), results=results, **totals)


class Drained(msgspec.Struct, kw_only=True):
    """What became of the events that waited behind replayed letters."""

    applied: int = 0
    duplicate: int = 0
    stale: int = 0
    conflict: int = 0
    late: int = 0
    dead_lettered: int = 0

    def add(self, counts: Mapping[str, int]) -> None:
        """Add the outcomes of one transaction."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + counts.get(name, 0))


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay did: the closing document of `inorder dlq replay --json`."""

    plan: int
    stream: str
    sums: Sums
    drained: Drained
    stopped: str | None
    """Why it ended before all letters were tried."""
    elapsed_s: float
    letters: list[dict[str, Any]]
    """Each letter that was tried in this run, with what became of it."""
