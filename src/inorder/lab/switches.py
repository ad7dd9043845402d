"""Each mechanism of inorder, taken away: for experiments that ask what it is there for.

They wrap or replace what the library brings, from here. The library has no switch for any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, cast

import msgspec

from inorder.core.changes import Changes
from inorder.core.effect import Effect
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition
from inorder.core.guard import Decision, Guard
from inorder.core.lanes import Lanes
from inorder.core.order import Order, Outcome
from inorder.core.planner import Planner, by_key
from inorder.core.rows import EntityRow
from inorder.declaration import Declaration
from inorder.ports import Store, Transaction
from inorder.worker.assemble import planner_for


class Mechanism(StrEnum):
    """What can be taken away."""

    KEY = "partition key"
    """An entity's events go to one partition, and so to one worker."""
    LANE = "lane"
    """A worker handles an entity's events one at a time, as they came."""
    IDEMPOTENCE = "idempotence"
    """What has taken effect does not take effect again."""
    GUARD = "version guard"
    """An event takes effect only if its version is the next one (or, under `latest`, a later one)."""
    HOLD = "hold"
    """What is early is kept in the store until its turn."""
    FENCE = "fence"
    """A worker that has lost its partition is refused, by the store and by services that are told the fence."""
    REVISION = "revision"
    """A row that somebody else has changed since it was read is not written over."""
    PRODUCER = "producer idempotence"
    """The broker takes a producer's batches once and in their order, whatever was sent again."""


class Repeats(Guard):
    """Lets through what has taken effect already."""

    def decide(self, entity: Entity, event: Event) -> Decision:
        found = super().decide(entity, event)
        return Decision.APPLY if found is Decision.DUPLICATE else found


class Drops(Planner):
    """Skips what is early, instead of keeping it."""

    def hold(self, entity: Entity, event: Event, changes: Changes, now: float) -> None:
        changes.settled(event, Outcome.STALE)


class Thorough(Planner):
    """Asks the guard about every event; the common case of strict order needs no guard, and so would not miss it."""

    def _in_sequence(
        self, entities: Mapping[str, Entity], events: Sequence[Event], effect: Effect, changes: Changes, now: float
    ) -> dict[str, list[Event]]:
        return by_key(events)


class Crossing(Lanes):
    """Starts an event of a key while another one runs."""

    __slots__ = ()

    def add(self, event: Event) -> None:
        super().add(event)
        if event.key not in self._ready:
            self._ready.append(event.key)

    def start(self, most: int = 1) -> list[Event]:
        events = super().start(most)
        if events and events[0].key in self._queues:
            self._ready.append(events[0].key)
        return events

    def finish(self, key: str) -> None:
        self._busy.discard(key)
        if key in self._queues and key not in self._ready:
            self._ready.append(key)


def planner_without(declared: Declaration, gone: frozenset[Mechanism]) -> Planner:
    """The planner of a declared consumer, without some of it."""
    planner = planner_for(declared)
    order, baseline = declared.order, declared.baseline
    if Mechanism.GUARD in gone:
        # What is left is "not twice": any version that has not taken effect, in any order.
        order = Order.COMMUTATIVE
    guard = (Repeats if Mechanism.IDEMPOTENCE in gone else Guard)(order, baseline)
    kind: type[Planner] = Drops if Mechanism.HOLD in gone else Planner
    if Mechanism.IDEMPOTENCE in gone:
        kind = type("Thorough" + kind.__name__, (Thorough, kind), {})
    found = kind(guard, planner.retry, planner.limits, planner.parks, planner.classify)
    found.explain, found.code_version = planner.explain, planner.code_version
    return found


class Loose:
    """A store without fences, or without revisions."""

    def __init__(self, inner: Store, gone: frozenset[Mechanism]) -> None:
        self._inner = inner
        self._gone = gone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def acquire(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Fences that never grow, where there are to be none."""
        found = self._inner.acquire(partitions)
        return dict.fromkeys(found, 1) if Mechanism.FENCE in self._gone else found

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """As the store's, but for what is gone."""
        with self._inner.transaction() as inner:
            yield cast("Transaction", _LooseTransaction(inner, self._gone))


class _LooseTransaction:
    def __init__(self, inner: Transaction, gone: frozenset[Mechanism]) -> None:
        self._inner = inner
        self._gone = gone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int]) -> None:
        """Write, whoever else was there first."""
        if Mechanism.FENCE in self._gone:
            fences = {}
        if Mechanism.REVISION in self._gone:
            found = dict(self._inner.execute("SELECT key, revision FROM inorder_entities").fetchall())
            rows = [msgspec.structs.replace(row, expected=found.get(row.key, 0)) for row in rows]
        self._inner.write(rows, changes, fences)
