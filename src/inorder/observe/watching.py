"""Turns what a worker tells its observer into the numbers of `metrics`. Decides nothing, and keeps no event."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

import msgspec

from inorder.core.changes import Changes
from inorder.core.engine import Unit
from inorder.core.event import Partition, Slice
from inorder.core.order import Order, Outcome
from inorder.core.rows import Counter, Effects
from inorder.observe import metrics
from inorder.observe.busiest import Busiest
from inorder.observe.effect_order import violations
from inorder.observe.meter import Meter, Snapshot

log = logging.getLogger("inorder.worker")

MOST_KEYS = 50
"""Busiest keys told of in a snapshot."""

_DISORDER = (Outcome.DUPLICATE, Outcome.STALE, Outcome.CONFLICT, Outcome.LATE)
_OUTCOMES = {str(outcome) for outcome in Outcome}
_OTHERS = {
    str(Counter.RECEIVED): metrics.RECEIVED,
    str(Counter.RELEASED): metrics.RELEASED,
    str(Counter.RETRIES): metrics.RETRIES,
}


class _UnderWay(msgspec.Struct, frozen=True):
    """A slice that is not settled: when it came, and when its first record was written, as seconds."""

    piece: int
    arrived: float
    written_at: float


class Watching:
    """See `inorder.ports.Observer`: the observer of one worker."""

    watches = True

    def __init__(self, order: Order) -> None:
        self._order = order
        self._meter = Meter()
        self._busiest = Busiest()
        self._lock = threading.Lock()
        self._asked = threading.Lock()
        """Held by whoever is being answered: gauges are set anew for each answer."""
        self._under_way: dict[Unit, _UnderWay] = {}
        self._arrived: dict[int, float] = {}
        self._in_flight = 0
        self._partitions: set[Partition] = set()
        self._paused: dict[str, set[int]] = {cause: set() for cause in metrics.PAUSED.values}
        """Who waits."""
        self._polled_at = time.monotonic()
        self._told = False

    def polled(self) -> None:
        """The poll loop turns."""
        self._polled_at = time.monotonic()

    def received(self, unit: Unit, piece: Slice) -> None:
        """A slice has arrived."""
        written_ms = piece.record(0).timestamp_ms if len(piece) else None
        written_at = time.time() if written_ms is None else written_ms / 1000
        with self._lock:
            self._under_way[unit] = under_way = _UnderWay(id(piece), time.monotonic(), written_at)
            self._arrived[under_way.piece] = under_way.arrived
            self._in_flight += unit.events

    def settled(self, unit: Unit) -> None:
        """All of a slice is settled."""
        with self._lock:
            under_way = self._under_way.get(unit)
            self._forget(unit)
        if under_way is not None:
            self._meter.observe(metrics.END_TO_END_S, max(0.0, time.time() - under_way.written_at))

    def lapsed(self, unit: Unit) -> None:
        """The lease of a slice has ended before its turn came; it comes again."""
        with self._lock:
            self._forget(unit)

    def owned(self, partitions: Iterable[Partition], came: int = 0, went: int = 0, lost: int = 0) -> None:
        """The partitions that this worker has, after a rebalance."""
        with self._lock:
            self._partitions = set(partitions)
            for unit in [unit for unit in self._under_way if unit.partition not in self._partitions]:
                self._forget(unit)
        for event, n in (("assigned", came), ("revoked", went), ("lost", lost)):
            self._meter.add(metrics.REBALANCES, n, event)

    def _forget(self, unit: Unit) -> None:
        under_way = self._under_way.pop(unit, None)
        if under_way is not None:
            self._arrived.pop(under_way.piece, None)
            self._in_flight -= unit.events

    def called(self, piece: Slice, began: float, ended: float, failed: bool) -> None:
        """See `inorder.ports.Observer.called`. What waited in the store is not told of as having waited in a lane."""
        arrived = self._arrived.get(id(piece))
        if arrived is not None:
            self._meter.observe(metrics.LANE_WAIT_S, began - arrived)
        self._meter.observe(metrics.HANDLER_S, ended - began, "raised" if failed else "returned")

    def committed(self, changes: Changes, deciding_s: float | None = None, storing_s: float = 0.0) -> None:
        """A transaction is through: count what it wrote, and judge its effects."""
        meter, decisions = self._meter, 0
        for (_, name), n in changes.counts.items():
            if name in _OTHERS:
                meter.add(_OTHERS[name], n)
            elif name in _OUTCOMES and n > 0:  # below 0: an event that waited is counted as something else now
                decisions += n
                meter.add(metrics.EVENTS, n, name)
                if name in _DISORDER:
                    meter.add(metrics.ARRIVAL_DISORDER, n, name)
        for distance, n in changes.distances.items():
            if distance > 0:
                meter.add(metrics.ARRIVAL_DISORDER, n, "early")
            meter.observe(metrics.DISTANCE, abs(distance), "ahead" if distance > 0 else "behind", n=n)
        for letter in changes.letters:
            meter.add(metrics.DEAD_LETTERS, 1, letter.reason.value)
        if decisions:
            meter.observe(metrics.BATCH_EVENTS, decisions)
        if deciding_s is not None:
            meter.observe(metrics.DECIDE_S, deciding_s)
        meter.observe(metrics.STORE_S, storing_s)
        if changes.effects:
            self._judge(changes.effects)

    def _judge(self, effects: list[Effects]) -> None:
        """Were these effects in order? Nothing else in inorder would say so if they were not."""
        order, checked = self._order, 0
        for each in effects:
            checked += len(each.versions)
            for kind in violations(order, each):
                self._meter.add(metrics.EFFECT_VIOLATIONS, 1, kind)
                if not self._told:
                    self._told = True
                    log.error("key %s: effects out of order: %s after version %d", each.key, each.versions, each.before)
        self._meter.add(metrics.EFFECT_CHECKS, checked)
        with self._lock:
            self._busiest.add((each.key, len(each.versions)) for each in effects)

    def outdated(self) -> None:
        """A transaction was refused because somebody else had changed an entity since it was read."""
        self._meter.add(metrics.OUTDATED)

    def fenced(self, partitions: int) -> None:
        """A transaction was refused because so many of its partitions have a newer owner."""
        self._meter.add(metrics.FENCED, partitions)

    def paused(self, cause: str, why: str | None, who: int = 0) -> None:
        """The `store`, or what the `handler` needs, is down; None: it is back."""
        if why is None:
            self._paused[cause].discard(who)
        else:
            self._paused[cause].add(who)

    def snapshot(self) -> Snapshot:
        """All numbers now."""
        with self._asked:
            return self._snapshot()

    def _snapshot(self) -> Snapshot:
        meter, now = self._meter, time.time()
        with self._lock:
            busiest, effects = self._busiest.top(MOST_KEYS)
            oldest = dict.fromkeys(self._partitions, now)
            for unit, under_way in self._under_way.items():
                oldest[unit.partition] = min(oldest.get(unit.partition, now), under_way.written_at)
            in_flight = self._in_flight
        meter.clear(metrics.OLDEST_UNSETTLED_S)
        for partition, written_at in oldest.items():
            meter.set(metrics.OLDEST_UNSETTLED_S, now - written_at, partition.topic, str(partition.number))
        meter.set(metrics.IN_FLIGHT, in_flight)
        meter.set(metrics.PARTITIONS, len(oldest))
        for cause, who in self._paused.items():
            meter.set(metrics.PAUSED, float(bool(who)), cause)
        return msgspec.structs.replace(
            meter.snapshot(), busiest=busiest, effects=effects, polled_s=time.monotonic() - self._polled_at
        )
