"""What an exhaustive search ranges over: how many keys, versions and faults, and the actions that are made of them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

import msgspec

Place = tuple[str, int]
"""A key and a version."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """All schedules of so many keys and versions, in any order, with at most so many faults of each kind."""

    keys: int = 1
    versions: int = 2
    duplicates: int = 0
    """Events that the broker keeps twice."""
    crashes: int = 0
    """Workers, or replays, that die: before their transaction, or after it and before the offsets are committed."""
    zombies: int = 0
    """Partitions that move while their worker stands still with an event in its hands, which it then goes on with."""
    failures: int = 0
    """Events that the handler fails for, until they are mended: they become dead letters."""
    retries: int = 0
    """Events that the handler fails for once."""
    refusals: int = 0
    """Transactions that are refused once because somebody else was faster, and redone with the same events."""
    replays: int = 0
    """Dead letters that an operator puts through."""
    one_arrival: bool = False
    """Whether the events are accepted in one order only, the last versions first and the keys by turns."""

    @property
    def size(self) -> int:
        """Events and faults together."""
        return self.keys * self.versions + sum(n for _, n in self.faults)

    @property
    def faults(self) -> list[tuple[str, int]]:
        """The faults that there are, with their number."""
        named = ("duplicates", "crashes", "zombies", "failures", "retries", "refusals", "replays")
        return [(name, getattr(self, name)) for name in named if getattr(self, name)]

    def arrival(self, places: Iterable[Place]) -> list[Place]:
        """The order in which events are accepted, where there is only one."""
        return sorted(places, key=lambda place: (-place[1], place[0]))

    def __str__(self) -> str:
        one = {"crashes": "crash", "retries": "retry"}
        faults = [f"{n} {one.get(name, name[:-1]) if n == 1 else name}" for name, n in self.faults]
        events = f"{self.keys} key{'' if self.keys == 1 else 's'} x {self.versions} version{'s' * (self.versions != 1)}"
        return ", ".join([events, *faults, *(["one order of arrival"] if self.one_arrival else [])])


class Kind(StrEnum):
    """What the world does next."""

    # A search looks acts up by the thousand, and an enum's own hash is a call of Python's.
    __hash__ = str.__hash__

    DELIVER = "deliver"
    """The broker accepts an event, and the owner of the partition gets it."""
    AGAIN = "again"
    """The owner gets the next record that was delivered before and not committed."""
    LOOK = "look"
    """The owner decides what is due."""
    WAIT = "wait"
    """Time passes, until something is due, and the owner decides that."""
    WAKE = "wake"
    """The worker that stood still goes on with what it has in its hands."""
    REPLAY = "replay"
    """An operator puts a dead letter through, its cause mended."""
    DRAIN = "drain"
    """The replay puts through what waits behind."""
    ABANDON = "abandon"
    """The replay dies."""


class Fate(StrEnum):
    """How a delivery goes."""

    __hash__ = str.__hash__

    DONE = "done"
    CRASH_BEFORE = "the worker dies before its transaction is committed"
    CRASH_AFTER = "the worker dies before the offset is committed"
    STALL = "the worker stands still, and the partition moves"
    FAIL = "the handler fails"
    STUMBLE = "the handler fails once"
    REFUSED = "its transaction is refused, and redone"


COSTS = {
    Fate.CRASH_BEFORE: "crashes",
    Fate.CRASH_AFTER: "crashes",
    Fate.STALL: "zombies",
    Fate.FAIL: "failures",
    Fate.STUMBLE: "retries",
    Fate.REFUSED: "refusals",
}
"""Which of a scope's faults a fate is."""


class Act(NamedTuple):
    """One action of a schedule."""

    kind: Kind
    place: Place | None = None
    fate: Fate = Fate.DONE

    def __str__(self) -> str:
        event = f" {self.place[0]} v{self.place[1]}" if self.place else ""
        return f"{self.kind}{event}{'' if self.fate is Fate.DONE else f' ({self.fate})'}"


def costs_of(act: Act, accepted: bool) -> list[str]:
    """Which of a scope's faults an act is. `accepted`: whether its event was accepted before."""
    costs = [COSTS[act.fate]] if act.fate in COSTS else []
    if act.kind is Kind.DELIVER and accepted:
        costs.append("duplicates")
    elif act.kind is Kind.REPLAY:
        costs.append("replays")
    elif act.kind is Kind.ABANDON:
        costs.append("crashes")
    return costs


Schedule = tuple[Act, ...]
