"""Handlers with `tx`: one statement an event, beside a transaction for each; and several connections to a store that is
further away.
"""

from __future__ import annotations

from bench import limits
from bench.measure import Arm, Bench
from bench.parts.common import STORES, columns, row, stored, times
from bench.results import Figure, Part, Sample, Table, ratio

GOAL = {"postgres": 5.0}
ARMS = {
    "inorder": "inorder, handler with tx",
    "naive": "one by one: a guarded statement",
    "naive-two": "one by one: the guard and a statement",
    "unguarded": "500 a transaction, no guard",
}

AWAY_S = 0.0005
FAR = "handler with tx, PostgreSQL 1 ms away (there and back)"
LOOKS = "look_and_post"
HANDLERS = {"post_postgres": "one statement", LOOKS: "a look, then a statement"}
CONNECTIONS = (1, 4, 16)
WAIT = "the way to the database and back"


def run(bench: Bench) -> Part:
    """The same statement everywhere: add to a balance."""
    topic = bench.topic(events=bench.pick(20_000, 100_000), keys=bench.pick(1_000, 10_000))
    few = bench.pick(2_000, 10_000)
    arms = [
        Arm(
            label=_label(name, store),
            program="inorder" if name == "inorder" else f"{name}-{store}",
            topic=topic,
            store=store,
            options={"consumer": f"post_{store}"} if name == "inorder" else {},
            # Arms that take a while for each event take the first of them.
            events=None if name == "inorder" else topic.deliveries if name == "unguarded" else few,
        )
        for store in STORES
        for name in ARMS
        if not bench.quick or name in {"inorder", "naive"}
    ]
    found = bench.compare(arms)
    figures = [
        Figure(
            what=f"handler with tx, {STORES[store]}, against one event a transaction",
            goal=goal,
            found=ratio(found[_label("inorder", store)], found[_label("naive", store)]),
        )
        for store, goal in GOAL.items()
    ]
    far, far_samples = _far(bench)
    note = f"{topic.deliveries:,} deliveries of {topic.work.keys:,} entities; one by one: the first {few:,}."
    table = Table(
        title="handler with tx, one statement an event",
        columns=columns("times one by one", "times guard and statement"),
        rows=[_row(found, name, store) for store in STORES for name in ARMS if _label(name, store) in found],
        note=note,
    )
    return bench.part("tx", [table, far], figures, found | far_samples)


def _far(bench: Bench) -> tuple[Table, dict[str, list[Sample]]]:
    """What several connections gain, where each answer takes a while."""
    topic = bench.topic(events=bench.pick(2_000, 10_000), keys=1_000)
    arms = [
        Arm(
            label=f"{what}, {count} connection{'s' if count > 1 else ''}",
            program="inorder",
            topic=topic,
            store="postgres",
            away_s=AWAY_S,
            options={"consumer": consumer, "connections": count},
        )
        for consumer, what in HANDLERS.items()
        for count in CONNECTIONS
        if not bench.quick or (consumer == LOOKS and count in CONNECTIONS[::2])
    ]
    found = bench.compare(arms)
    rows = [row(label, samples, limits.of(samples, WAIT)) for label, samples in found.items()]
    note = f"{topic.deliveries:,} deliveries of {topic.work.keys:,} entities; no guard takes an answer of its own."
    return Table(title=FAR, columns=columns(), rows=rows, note=note), found


def _label(name: str, store: str) -> str:
    return f"{ARMS[name]}, {STORES[store]}"


def _row(found: dict[str, list[Sample]], name: str, store: str) -> list[str]:
    label = _label(name, store)
    compared = ["", ""]
    if name == "inorder":
        others = [_label(other, store) for other in ("naive", "naive-two")]
        compared = [times(found[label], found[other]) if other in found else "" for other in others]
    return stored(label, found[label], store, *compared)
