"""What one transaction will write: the sum of the decisions since the last one."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.order import Outcome
from inorder.core.rows import Counter, Effects, EntityRow, HeldRow, Letter
from inorder.core.waiting import Waiting


class Changes:
    """Collects what the next transaction writes. Counts go to `tally`, the number of this worker's own row of counts.

    An event that waited keeps the tally of the worker that received it, so each tally says what became of exactly
    the deliveries it received, and `received` is the sum of its outcomes at all times.
    """

    __slots__ = (
        "_counts",
        "_delivered",
        "distances",
        "effects",
        "entities",
        "grown",
        "held",
        "letters",
        "preceding",
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
        self._counts: dict[tuple[int, str], int] = {}
        self._delivered: dict[Outcome, int] = {}
        self.preceding: Changes | None = None
        """What is being written while this is decided: it takes room too."""

    def __bool__(self) -> bool:
        return bool(self._counts or self._delivered or self.entities)

    @property
    def counts(self) -> dict[tuple[int, str], int]:
        """What to add to each count, by tally and name."""
        counts = self._counts.copy()
        for outcome, n in self._delivered.items():
            for name in (Counter.RECEIVED, outcome):
                counts[self.tally, name] = counts.get((self.tally, name), 0) + n
        return counts

    def count(self, name: str, n: int = 1, tally: int | None = None) -> None:
        """Add `n` to a count, of this worker's tally unless another is named."""
        at = (self.tally if tally is None else tally, name)
        self._counts[at] = self._counts.get(at, 0) + n

    def delivered(self, outcome: Outcome, n: int = 1) -> None:
        """`n` deliveries came to `outcome`: each is received, too."""
        self._delivered[outcome] = self._delivered.get(outcome, 0) + n

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
