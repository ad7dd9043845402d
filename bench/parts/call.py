"""Handlers without `tx`: many at once, their completions durable, beside what their own delay allows."""

from __future__ import annotations

from typing import NamedTuple

from bench import limits
from bench.measure import Arm, Bench
from bench.parts.common import WAITS, columns, row
from bench.results import Figure, Part, Sample, Samples, Spread, Table, rates, ratio
from bench.topics import Topic

STORE = "postgres"
MACHINE = "what timers, threads and the event loop cost here"
AT_BOUND = 0.9
"""A share of the bound from which on it is the bound that limits."""
NOOP_GOAL = 22_000
"""What a Java engine reached with a handler that does nothing, without making anything durable, on two cores."""


class Cell(NamedTuple):
    """One consumer at one concurrency. `share` is the part of the bound that it is to reach."""

    consumer: str
    what: str
    delay_s: float
    concurrency: int
    events: int
    share: float = 0.0
    zipf: float = 0.0
    batch: int = 1
    quick: bool = False

    @property
    def label(self) -> str:
        """Its name in tables."""
        keys = f", zipf {self.zipf:g}" if self.zipf else ""
        return f"{self.what}{keys}, {self.concurrency} at once"

    @property
    def bounded(self) -> bool:
        """Whether its delay alone says how fast it can be."""
        return self.delay_s > 0 and self.batch == 1


CELLS = [
    Cell("noop", "no-op", 0, 16, 100_000, quick=True),
    Cell("noop", "no-op", 0, 100, 100_000),
    Cell("noop", "no-op", 0, 500, 100_000),
    Cell("sleep_1", "async 1 ms", 0.001, 16, 30_000),
    Cell("sleep_1", "async 1 ms", 0.001, 100, 60_000),
    Cell("sleep_1", "async 1 ms", 0.001, 500, 60_000),
    Cell("sleep_10", "async 10 ms", 0.01, 16, 5_000),
    Cell("sleep_10", "async 10 ms", 0.01, 100, 60_000, share=0.95, quick=True),
    Cell("sleep_10", "async 10 ms", 0.01, 500, 200_000, share=0.8, quick=True),
    Cell("sync_10", "sync 10 ms", 0.01, 16, 5_000, share=0.95),
    Cell("sync_10", "sync 10 ms", 0.01, 100, 20_000, share=0.85, quick=True),
    Cell("noop", "no-op", 0, 100, 20_000, zipf=1.0),
    Cell("sleep_10", "async 10 ms", 0.01, 100, 5_000, share=0.9, zipf=1.0, quick=True),
    Cell("sleep_10_by_key", "async 10 ms, batch=100", 0.01, 100, 20_000, zipf=1.0, batch=100, quick=True),
]
BATCHED, UNBATCHED = CELLS[-1], CELLS[-2]
BATCH_GOAL = 10.0


def run(bench: Bench) -> Part:
    """Every cell on a topic of its own size, so that each takes seconds: its beginning and end hardly count then."""
    cells = {cell.label: cell for cell in CELLS if cell.quick or not bench.quick}
    arms = []
    for label, cell in cells.items():
        events = cell.events // bench.pick(2, 1)
        topic = bench.topic(events=events, keys=1_000, zipf=cell.zipf)
        options = {"consumer": cell.consumer, "concurrency": cell.concurrency}
        arms.append(Arm(label=label, program="inorder", topic=topic, store=STORE, options=options))
        if cell.bounded and not cell.zipf:
            arms.append(Arm(label=alone(cell), program="alone", topic=topic, options=options))
    found = bench.compare(arms)
    topics = {arm.label: arm.topic for arm in arms}
    shares = {label: share_of_bound(found[label], cell, topics[label]) for label, cell in cells.items()}
    rows = []
    for label, cell in cells.items():
        beside = found.get(alone(cell))
        of_alone = ratio(found[label], beside).shown(".2f") if beside else ""
        rows.append(_row(cell, found[label], shares[label], topics[label], of_alone))
        if beside:
            share = share_of_bound(beside, cell, topics[label])
            rows.append(row(alone(cell), beside, MACHINE, _shown(share), ""))
    note = (
        "Completions durable in PostgreSQL; 1,000 entities. The bound is n / max(n·d / c, busiest·d): n events of d "
        "seconds, c at once, the busiest entity's one after the other. Alone: the same handler, as many calls at once, "
        "without broker, store or order."
    )
    title = "handler without tx, effects elsewhere"
    table = Table(title=title, columns=columns("of the bound", "of the handler alone"), rows=rows, note=note)
    return bench.part("call", [table], _figures(found, cells, shares), found)


def alone(cell: Cell) -> str:
    """The arm of a cell's handler by itself."""
    return f"{cell.label}, alone"


def bound(cell: Cell, topic: Topic) -> float:
    """Deliveries a second that the delays alone allow; 0 where there are none."""
    longest = max(topic.deliveries / cell.concurrency, topic.truth.busiest) * cell.delay_s
    return topic.deliveries / longest if longest else 0.0


def share_of_bound(samples: Samples, cell: Cell, topic: Topic) -> Spread | None:
    """How near to the bound it came. None where there is none, or it is not the same with `batch=`."""
    most = bound(cell, topic)
    return Spread.of(sample.rate / most for sample in samples) if cell.bounded else None


def _row(cell: Cell, samples: Samples, share: Spread | None, topic: Topic, of_alone: str) -> list[str]:
    limit = limits.of(samples, WAITS[STORE])
    if share is not None and share.median >= AT_BOUND:
        busiest = topic.truth.busiest * cell.concurrency > topic.deliveries
        limit = "the busiest entity, one after the other" if busiest else "the delay itself"
    return row(cell.label, samples, limit, _shown(share), of_alone)


def _shown(share: Spread | None) -> str:
    return "" if share is None else share.shown(".2f")


def _figures(found: dict[str, list[Sample]], cells: dict[str, Cell], shares: dict[str, Spread | None]) -> list[Figure]:
    figures = [
        Figure(what=f"{label}, of the bound", goal=cell.share, found=share)
        for label, cell in cells.items()
        if cell.share and (share := shares[label]) is not None
    ]
    figures += [
        Figure(what=label, goal=NOOP_GOAL, found=rates(found[label]), unit="/s")
        for label, cell in cells.items()
        if cell.consumer == "noop" and not cell.zipf
    ]
    if BATCHED.label in found:
        gain = ratio(found[BATCHED.label], found[UNBATCHED.label])
        figures.append(Figure(what="zipf 1.0, 10 ms, with batch= against without", goal=BATCH_GOAL, found=gain))
    return figures
