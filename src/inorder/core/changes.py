"""What one transaction will write: the sum of the decisions since the last one."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

import msgspec

from inorder.core.entity import Entity, Waiting
from inorder.core.event import Event, Record
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


class Changes:
    """Collects what the next transaction writes. Counts go to `tally`, the number of this worker's own row of counts.

    An event that waited keeps the tally of the worker that received it, so each tally says what became of exactly
    the deliveries it received, and `received` is the sum of its outcomes at all times.
    """

    __slots__ = (
        "counts",
        "distances",
        "effects",
        "entities",
        "grown",
        "held",
        "letters",
        "released",
        "tally",
        "waits",
        "witness",
    )

    def __init__(
        self, tally: int, witness: Callable[[Event, Outcome], None] | None = None, observed: bool = False
    ) -> None:
        self.tally = tally
        self.effects: list[Effects] | None = [] if observed else None
        """What `rows` found to have taken effect, where somebody wants to know."""
        self.distances: dict[int, int] = {}
        """How many events came how far ahead of the version that was due, or (below 0) behind it."""
        self.witness = witness
        """Told of every event's outcome as it is decided: for logs, traces and the order's own check."""
        self.entities: dict[str, Entity] = {}
        self.grown = 0
        """By how many bytes the states have grown, once `rows` has encoded them."""
        self.held: dict[tuple[str, int], HeldRow] = {}
        self.released: set[tuple[str, int]] = set()
        self.letters: list[Letter] = []
        self.waits: dict[str, Waiting | None] = {}
        self.counts: dict[tuple[int, str], int] = {}

    def __bool__(self) -> bool:
        return bool(self.counts or self.entities)

    def count(self, name: str, n: int = 1, tally: int | None = None) -> None:
        """Add `n` to a count, of this worker's tally unless another is named."""
        at = (self.tally if tally is None else tally, name)
        self.counts[at] = self.counts.get(at, 0) + n

    def delivered(self, outcome: Outcome, n: int = 1) -> None:
        """`n` deliveries came to `outcome`."""
        self.count(Counter.RECEIVED, n)
        self.count(outcome, n)

    def strayed(self, distance: int) -> None:
        """An event came `distance` versions ahead of the one that was due, or (below 0) behind it."""
        self.distances[distance] = self.distances.get(distance, 0) + 1

    def settled(self, event: Event, outcome: Outcome) -> None:
        """`event` came to a final outcome: a delivery is counted, an event that waited gives up its place."""
        if self.witness is not None:
            self.witness(event, outcome)
        if event.receiver is None:
            self.delivered(outcome)
            return
        tally, waited_as = event.receiver
        self.count(waited_as, -1, tally)
        self.count(outcome, 1, tally)
        if outcome is Outcome.APPLIED:
            self.count(Counter.RELEASED)
        self.give_up_place(event.key, event.version)

    def hold(self, event: Event, outcome: Outcome) -> None:
        """`event` is to wait in the store, where it does not wait already."""
        if self.witness is not None:
            self.witness(event, outcome)
        self.delivered(outcome)
        self.count(Counter.EARLY)
        self.held[event.key, event.version] = HeldRow(
            event.key, event.version, event.id, event.fingerprint, outcome, self.tally, event.record
        )

    def give_up_place(self, key: str, version: int) -> None:
        """The event waiting at this version waits no longer."""
        if self.held.pop((key, version), None) is None:
            self.released.add((key, version))

    def rows(self, encode: Callable[[Entity], bytes | None], remembered: int) -> list[EntityRow]:
        """The entities to write, in key order (so that writers never deadlock), as written from here on.

        Of each, the last `remembered` event ids are kept.
        """
        rows: list[EntityRow] = []
        entities, grown = self.entities, 0
        for key in sorted(entities):
            entity = entities[key]
            state, known, recent = encode(entity), entity.stored_state, entity.recent
            if state is not None:
                grown += len(state)
            if known is not None:
                grown -= len(known)
            entity.stored_state = state
            if len(recent) > remembered:
                del recent[: len(recent) - remembered]
            # The list inside is asked, not the ranges: a truth value computed in Python would cost more than all else.
            ranges = msgspec.json.encode(entity.ranges.pairs()) if entity.ranges.starts else b""
            expected = entity.revision
            waits = entity.waiting is not None
            rows.append(EntityRow(key, expected, entity.version, ranges, recent.tobytes(), state, waits))
            if self.effects is not None and entity.applied:
                self.effects.append(Effects(key, entity.stored_version, [event.version for event in entity.applied]))
            entity.revision = expected + 1
            entity.stored_version = entity.version
            entity.applied.clear()
        self.grown += grown
        return rows
