"""What the parts share: the names of stores, and rows of tables about throughput."""

from __future__ import annotations

from bench import limits
from bench.results import Samples, rates, ratio

STORES = {"postgres": "PostgreSQL", "sqlite": "SQLite"}
WAITS = {"postgres": "the database: each commit is synced to disk", "sqlite": "the disk's sync at each commit"}


def columns(*more: str) -> list[str]:
    """The columns of a table whose rows are made by `row`."""
    return ["arm", "deliveries/s", *more, "client's µs each", limits.COLUMN, "limited by"]


def row(label: str, samples: Samples, limit: str, *more: str) -> list[str]:
    """One arm: its rate, whatever else is to be said, who kept the processors busy, and what limits it."""
    return [label, rates(samples).shown(), *more, limits.client_us(samples), limits.shown(samples), limit]


def stored(label: str, samples: Samples, store: str, *more: str) -> list[str]:
    """The same for an arm that waits for a store, if not for a processor."""
    return row(label, samples, limits.of(samples, WAITS.get(store, "the broker")), *more)


def times(above: Samples, below: Samples) -> str:
    """How many times as fast, as it stands in a table."""
    found = ratio(above, below)
    return found.shown(",.0f" if found.median >= 10 else ".2f")  # noqa: PLR2004
