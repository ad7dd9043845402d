"""Folds: the library beside the bare limit of the database at the same batch size, and beside one by one."""

from __future__ import annotations

from bench.measure import Arm, Bench
from bench.parts.common import STORES, columns, stored, times
from bench.results import Figure, Part, Sample, Table, ratio
from bench.topics import Topic

BATCHES = (1_000, 10_000)
DISORDER = {"disorder": 0.2, "duplicates": 0.1}
FAR = 20_000
"""Deliveries within which an event comes after its successor, if that is to be beyond a batch."""
ORDERLY_GOAL = {"postgres": 0.70, "sqlite": 0.60}
DISORDERED_GOAL = {"postgres": 0.55}
NAIVE_GOAL = 60

Found = dict[str, list[Sample]]


def run(bench: Bench) -> Part:
    """Orderly input, then the same events with 20 % of them late and 10 % twice."""
    # The first tenth of a second or so is the first sight of each key: it is to count for what it is.
    size = {"events": bench.pick(100_000, 600_000)}
    orderly, near = bench.topic(**size), bench.topic(**size, **DISORDER)
    found = bench.compare([*_limits(orderly), *_pairs(bench, orderly, "orderly"), *_naive(bench, orderly)])
    found |= bench.compare(_pairs(bench, near, "near"))
    tables = [_orderly(found, orderly), _disordered(found, near, "near")]
    if not bench.quick:
        far = bench.topic(**size, **DISORDER, reach=FAR)
        found |= bench.compare(_pairs(bench, far, "far"))
        tables.append(_disordered(found, far, "far"))
    return bench.part("fold", tables, _figures(found), found)


def _limits(topic: Topic) -> list[Arm]:
    return [
        Arm(label="consume only", program="consume", topic=topic),
        Arm(label="consume and decode", program="decode", topic=topic),
    ]


def _naive(bench: Bench, topic: Topic) -> list[Arm]:
    events = bench.pick(2_000, 10_000)
    return [
        Arm(label=_label("naive", store, 1), program=f"naive-{store}", topic=topic, store=store, events=events)
        for store in STORES
    ]


def _pairs(bench: Bench, topic: Topic, order: str) -> list[Arm]:
    """The bare limit and the library, for each store and batch size. A quick run leaves some out."""
    return [
        Arm(
            label=_label(program, store, batch, order),
            program=f"bare-{store}" if program == "bare" else "inorder",
            topic=topic,
            store=store,
            options={"batch": batch},
        )
        for store in STORES
        for batch in BATCHES
        for program in ("bare", "inorder")
        if not bench.quick or (batch == BATCHES[-1] and (order == "orderly" or store == "postgres"))
    ]


def _label(program: str, store: str, batch: int, order: str = "orderly") -> str:
    suffix = "" if order == "orderly" else f", disorder {order}"
    return f"{program}, {STORES[store]}, {batch:,} a batch{suffix}"


def _orderly(found: Found, topic: Topic) -> Table:
    rows = [stored(label, found[label], "", "", "") for label in ("consume only", "consume and decode")]
    for store, name in STORES.items():
        naive = found[_label("naive", store, 1)]
        for batch in BATCHES:
            rows += _pair(found, store, batch, "orderly", naive)
        rows.append(stored(f"one by one, {name}", naive, store, "", ""))
    return Table(
        title="fold, strict, orderly input",
        columns=columns("of the bare limit", "times one by one"),
        rows=rows,
        note=f"{topic.deliveries:,} deliveries of {topic.work.keys:,} entities. One by one: the first of them, each "
        "with a guarded statement that is a transaction.",
    )


def _disordered(found: Found, topic: Topic, order: str) -> Table:
    rows = []
    for store in STORES:
        for batch in BATCHES:
            rows += _pair(found, store, batch, order)
    truth = topic.truth
    late, repeated = truth.late / truth.events, truth.repeated / truth.events
    return Table(
        title=f"fold, strict, 20 % disorder ({order}) and 10 % duplicates",
        columns=columns("of the bare limit", "wrong states"),
        rows=rows,
        note=f"{topic.deliveries:,} deliveries of {truth.events:,} events: {late:.1%} came up to {topic.work.reach:,} "
        f"deliveries after their own successor, {repeated:.1%} came twice; {_held(found, order):.1%} were held in the "
        "store for a while. The bare upsert has no guard: it is as fast as ever, and wrong.",
    )


def _held(found: Found, order: str) -> float:
    """The share of the deliveries that had to wait in the store, for what had not come in the same batch."""
    samples = found[_label("inorder", "postgres", BATCHES[-1], order)]
    return max(float(sample.details["counts"].get("early", 0)) / sample.events for sample in samples)


def _pair(found: Found, store: str, batch: int, order: str, naive: list[Sample] | None = None) -> list[list[str]]:
    """The rows of the bare limit and of the library, if they were run."""
    bare, ours = (_label(program, store, batch, order) for program in ("bare", "inorder"))
    if ours not in found:
        return []
    name = f"{STORES[store]}, {batch:,} a batch"
    rows = []
    for arm, title in ((bare, "bare upsert"), (ours, "inorder fold")):
        share = times(found[arm], found[bare]) if arm == ours else ""
        last = f"{found[arm][0].wrong:,}" if naive is None else times(found[arm], naive)
        rows.append(stored(f"{title}, {name}", found[arm], store, share, last))
    return rows


def _figures(found: Found) -> list[Figure]:
    figures = []
    for order, goals in (("orderly", ORDERLY_GOAL), ("near", DISORDERED_GOAL), ("far", DISORDERED_GOAL)):
        for store, goal in goals.items():
            for batch in BATCHES:
                bare, ours = (_label(program, store, batch, order) for program in ("bare", "inorder"))
                if ours in found:
                    title = order if order == "orderly" else f"20 % disorder ({order}), 10 % duplicates"
                    what = f"fold, {STORES[store]}, {title}, {batch:,} a batch, of the bare limit"
                    figures.append(Figure(what=what, goal=goal, found=ratio(found[ours], found[bare])))
    ours, naive = _label("inorder", "postgres", BATCHES[-1]), _label("naive", "postgres", 1)
    what = "fold, PostgreSQL, orderly, against one event a transaction"
    return [*figures, Figure(what=what, goal=NAIVE_GOAL, found=ratio(found[ours], found[naive]))]
