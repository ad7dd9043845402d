"""Every metric, declared once: name, kind, labels and their values, buckets, and what it means.

No label is ever an entity's key, an event's id or an offset: which keys are busiest is asked of `/keys`. Disorder on
ARRIVAL is absorbed, and tells of producers and brokers; disorder of EFFECTS must never be, and tells of inorder itself.
Nothing here counts or exports anything.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from inorder.core.order import Outcome
from inorder.core.rows import Reason
from inorder.core.waiting import Wait


class Kind(StrEnum):
    """How a metric behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """One line of the table. Each metric has the label `stream` as well."""

    name: str
    kind: Kind
    help: str
    label: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    """All values of the one label, where they are known: these series exist from the start, at 0."""
    buckets: tuple[float, ...] = ()
    unit: str = ""
    largest: bool = False
    """Of several workers, the largest value counts, and not the sum."""


_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_DISTANCES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1_000.0, 10_000.0)
_EVENTS = (1.0, 10.0, 100.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0)
_OUTCOMES = tuple(map(str, Outcome))
_WAITS = tuple(map(str, Wait))
_REASONS = tuple(map(str, Reason))
_COUNTER, _GAUGE, _HISTOGRAM = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

# What becomes of events.
RECEIVED = Metric("inorder_received_events_total", _COUNTER, "Deliveries that were decided and committed.")
EVENTS = Metric(
    "inorder_events_total",
    _COUNTER,
    "Decisions on events. One that waited is counted when it is held, and again as what became of it.",
    ("outcome",),
    _OUTCOMES,
)
RELEASED = Metric("inorder_released_events_total", _COUNTER, "Events that waited in the store and took effect.")
RETRIES = Metric("inorder_retries_total", _COUNTER, "Failed attempts that are to be repeated.")
DEAD_LETTERS = Metric("inorder_dead_letters_total", _COUNTER, "Dead letters written.", ("reason",), _REASONS)

# Disorder on arrival: absorbed.
ARRIVAL_DISORDER = Metric(
    "inorder_arrival_disorder_total",
    _COUNTER,
    "Events that did not arrive in their turn. early: predecessors were missing. The others: of a version that was "
    "there, skipped or no longer needed.",
    ("kind",),
    ("early", "duplicate", "stale", "conflict", "late"),
)
DISTANCE = Metric(
    "inorder_version_distance",
    _HISTOGRAM,
    "How many versions ahead of the one that was due, or behind it, events arrived that did not come in their turn.",
    ("direction",),
    ("ahead", "behind"),
    _DISTANCES,
)

# Disorder of effects: must be zero.
EFFECT_CHECKS = Metric(
    "inorder_effect_order_checks_total", _COUNTER, "Effects whose order was checked after their commit."
)
EFFECT_VIOLATIONS = Metric(
    "inorder_effect_order_violations_total",
    _COUNTER,
    "Effects that were committed out of order: gap (a version was left out), repeat (once more), backward (after a "
    "later one). Not zero: the state is wrong.",
    ("kind",),
    ("gap", "repeat", "backward"),
)

# Who was refused.
FENCED = Metric(
    "inorder_fenced_writes_total",
    _COUNTER,
    "Partitions in transactions that were refused because the partition has a newer owner.",
)
OUTDATED = Metric(
    "inorder_outdated_writes_total",
    _COUNTER,
    "Transactions that were refused because somebody else had changed an entity since it was read.",
)

# The way through a worker.
BATCH_EVENTS = Metric("inorder_batch_events", _HISTOGRAM, "Decisions in one transaction.", buckets=_EVENTS)
DECIDE_S = Metric(
    "inorder_batch_seconds",
    _HISTOGRAM,
    "Decisions and handlers of one batch, without its commit.",
    buckets=_SECONDS,
    unit="s",
)
STORE_S = Metric("inorder_store_seconds", _HISTOGRAM, "Writing and committing one batch.", buckets=_SECONDS, unit="s")
HANDLER_S = Metric(
    "inorder_handler_seconds",
    _HISTOGRAM,
    "One call of a handler without tx.",
    ("ended",),
    ("returned", "raised"),
    _SECONDS,
    "s",
)
LANE_WAIT_S = Metric(
    "inorder_lane_wait_seconds",
    _HISTOGRAM,
    "From the poll that brought an event until its handler without tx is called.",
    buckets=_SECONDS,
    unit="s",
)
END_TO_END_S = Metric(
    "inorder_end_to_end_seconds",
    _HISTOGRAM,
    "From a record's timestamp until it is settled: the first record of each poll and partition.",
    buckets=_SECONDS,
    unit="s",
)
IN_FLIGHT = Metric("inorder_in_flight_events", _GAUGE, "Events received and not settled.")
OLDEST_UNSETTLED_S = Metric(
    "inorder_oldest_unsettled_seconds",
    _GAUGE,
    "Age of the oldest record of a partition that a worker has and has not settled.",
    ("topic", "partition"),
    unit="s",
    largest=True,
)
PARTITIONS = Metric("inorder_partitions", _GAUGE, "Partitions that workers have.")
REBALANCES = Metric(
    "inorder_rebalanced_partitions_total",
    _COUNTER,
    "Partitions that came, were revoked in good order, or were lost.",
    ("event",),
    ("assigned", "revoked", "lost"),
)
PAUSED = Metric(
    "inorder_paused_workers",
    _GAUGE,
    "Workers that wait because the store, or what a handler needs, is down.",
    ("cause",),
    ("store", "handler"),
)
BUSIEST_SHARE = Metric(
    "inorder_busiest_key_share",
    _GAUGE,
    "Which part of the effects of the last one to two minutes was on the one busiest key, 0 to 1. Its name: /keys.",
)
WORKERS = Metric("inorder_workers", _GAUGE, "Worker processes that run and poll.")
RESTARTS = Metric("inorder_worker_restarts_total", _COUNTER, "Worker processes that died and were replaced.")

# What the store holds: the same from every process of the stream, so that over several the largest counts.
STORE_UP = Metric("inorder_store_up", _GAUGE, "1: the store answers. 0: it does not.")
HELD = Metric("inorder_held_events", _GAUGE, "Events that wait in the store.", largest=True)
WAITING_KEYS = Metric(
    "inorder_waiting_keys",
    _GAUGE,
    "Keys that wait: for a missing version, for a retry, for an operator, for a replay.",
    ("why",),
    _WAITS,
    largest=True,
)
OLDEST_WAIT_S = Metric(
    "inorder_oldest_wait_seconds",
    _GAUGE,
    "How long the key that has waited longest has waited; 0: none does.",
    ("why",),
    _WAITS,
    unit="s",
    largest=True,
)
OPEN_LETTERS = Metric(
    "inorder_open_dead_letters", _GAUGE, "Dead letters that nobody has dealt with.", ("reason",), _REASONS, largest=True
)
OLDEST_LETTER_S = Metric(
    "inorder_oldest_dead_letter_seconds", _GAUGE, "Age of the oldest open dead letter.", unit="s", largest=True
)
REPLAYED = Metric("inorder_replayed_events_total", _COUNTER, "Dead letters that took effect when they were replayed.")
REPLAY = Metric(
    "inorder_replay_letters",
    _GAUGE,
    "Letters of the newest replay plan. left: not tried yet.",
    ("result",),
    ("applied", "duplicate", "skipped", "failed", "left"),
    largest=True,
)
LAG = Metric(
    "inorder_lag_events",
    _GAUGE,
    "Records of a partition that the group has not committed.",
    ("topic", "partition"),
    largest=True,
)

TABLE: tuple[Metric, ...] = tuple(one for one in list(globals().values()) if isinstance(one, Metric))
"""In the order of this file."""
BY_NAME = {metric.name: metric for metric in TABLE}
