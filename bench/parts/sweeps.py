"""Sweeps: one property of the stream at a time, the fold beside the bare limit on the same topic. Full runs only."""

from __future__ import annotations

from typing import Any, NamedTuple

from bench.measure import Arm, Bench
from bench.parts.common import columns, stored, times
from bench.results import Figure, Part, Sample, Spread, Table, ratio

STORE = "postgres"
LARGE_CACHE = 4 * 2**30
KEYS_GOAL = 1.5


class Point(NamedTuple):
    """One value of what is swept."""

    label: str
    work: dict[str, Any]
    options: dict[str, Any] = {}  # noqa: RUF012 (never changed)


EVENTS = 200_000
SWEEPS = {
    "keys": [
        Point("1,000 keys", {"keys": 1_000}),
        Point("10,000 keys", {"keys": 10_000}),
        Point("100,000 keys", {"keys": 100_000, "events": 400_000}),
        Point("1,000,000 keys, in the cache", {"keys": 1_000_000, "events": 2_000_000}, {"cache_bytes": LARGE_CACHE}),
        Point("1,000,000 keys, default cache", {"keys": 1_000_000, "events": 2_000_000}),
    ],
    "skew": [Point(f"zipf {zipf:g}", {"zipf": zipf}) for zipf in (0.0, 0.6, 0.9, 1.2)],
    "disorder": [
        Point(f"{share:.0%} late, by up to {reach:,}", {"disorder": share, "reach": reach})
        for share, reach in (
            (0.0, 500),
            (0.05, 500),
            (0.2, 500),
            (0.5, 500),
            (0.05, 20_000),
            (0.2, 20_000),
            (0.5, 20_000),
        )
    ],
    "duplicates": [Point(f"{share:.0%} twice", {"duplicates": share}) for share in (0.0, 0.1, 0.5)],
    "payload": [
        Point("100 B", {"payload_bytes": 100}),
        Point("1 KiB", {"payload_bytes": 1_024, "events": 100_000}),
        Point("10 KiB", {"payload_bytes": 10_240, "events": 30_000}),
    ],
}
NOTES = {
    "keys": "A batch of 10,000 touches at most as many rows as there are keys: with 1,000 keys a row takes ten events, "
    "with a million each event is a row of its own, mostly a new one. Without room for all in the cache, each batch "
    "also reads the rows it needs.",
    "disorder": "The share of the events that come after their own successor, and by how many deliveries at most. "
    "Up to 500, nearly all of it is mended within a batch; up to 20,000, much of it waits in the store.",
}


def run(bench: Bench) -> Part:
    """One table for each property."""
    tables: list[Table] = []
    figures: list[Figure] = []
    every: dict[str, list[Sample]] = {}
    for name, points in SWEEPS.items():
        bench.console.print(f" [bold]{name}[/bold]")
        found = bench.compare([arm for point in points for arm in _arms(bench, point)])
        first = found[f"inorder, {points[0].label}"]
        rows: list[list[str]] = []
        for point in points:
            bare, ours = found[f"bare, {point.label}"], found[f"inorder, {point.label}"]
            rows.append(stored(f"bare upsert, {point.label}", bare, STORE, "", ""))
            rows.append(stored(f"inorder fold, {point.label}", ours, STORE, times(ours, bare), times(first, ours)))
        title = f"sweep: {name} (fold, strict, PostgreSQL, 10,000 a batch)"
        heads = columns("of the bare limit", "cost against the first")
        tables.append(Table(title=title, columns=heads, rows=rows, note=NOTES.get(name, "")))
        if name == "keys":
            figures += _cost_of_keys(found, points[0].label, points[3].label)
        every |= found
    return bench.part("sweeps", tables, figures, every)


def _cost_of_keys(found: dict[str, list[Sample]], few: str, many: str) -> list[Figure]:
    """What an event costs with many keys against few; and the same of its share in the bare upsert's cost.

    A batch of many keys writes more rows, whoever writes it: only the second tells of the library.
    """
    what = "cost of an event, 1,000,000 keys in the cache against 1,000"
    cost = ratio(found[f"inorder, {few}"], found[f"inorder, {many}"])
    shares = [
        [ours.rate / bare.rate for ours, bare in zip(found[f"inorder, {label}"], found[f"bare, {label}"], strict=True)]
        for label in (few, many)
    ]
    of_bare = Spread.of(one / other for one, other in zip(*shares, strict=True))
    return [
        Figure(what=what, goal=KEYS_GOAL, found=cost, at_most=True),
        Figure(what=f"{what}, in the bare upsert's costs there", goal=KEYS_GOAL, found=of_bare, at_most=True),
    ]


def _arms(bench: Bench, point: Point) -> list[Arm]:
    topic = bench.topic(**{"events": EVENTS, **point.work})
    return [
        Arm(label=f"bare, {point.label}", program=f"bare-{STORE}", topic=topic, store=STORE),
        Arm(label=f"inorder, {point.label}", program="inorder", topic=topic, store=STORE, options=point.options),
    ]
