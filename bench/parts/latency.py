"""Latency: one lone event now and then, from just before it is sent to its durable effect."""

from __future__ import annotations

import time
from typing import NamedTuple

import msgspec

from bench.arms.task import Report, Task
from bench.consumers import Lone
from bench.measure import Bench, rotated
from bench.process import Process
from bench.results import Figure, Part, Sample, Samples, Spread, Table
from inorder.wiring import open_sink

EVERY_S = 0.05
IDLE_S = 2.0
KEYS = 100
PARTITIONS = 8
WARM_UP = 10
MEDIAN_GOAL_MS = 20.0
HIGH_GOAL_MS = 50.0
HIGH = 0.99


class Cell(NamedTuple):
    """From where to where."""

    program: str
    broker: str
    store: str

    @property
    def label(self) -> str:
        """Its name in tables."""
        names = {"postgres": "PostgreSQL", "sqlite": "SQLite", "kafka": "Kafka", "embedded": "embedded broker"}
        who = "inorder" if self.program == "lone-inorder" else "one by one"
        return f"{who}, {names[self.broker]} to {names[self.store]}"


CELLS = [
    Cell("lone-inorder", "kafka", "postgres"),
    Cell("lone-inorder", "kafka", "sqlite"),
    Cell("lone-inorder", "embedded", "sqlite"),
    Cell("lone-naive-postgres", "kafka", "postgres"),
    Cell("lone-naive-sqlite", "kafka", "sqlite"),
]
QUICK = (CELLS[0], CELLS[2])


def run(bench: Bench) -> Part:
    """Every cell once a round, while this process sends."""
    cells = [cell for cell in CELLS if not bench.quick or cell in QUICK]
    found: dict[str, list[Sample]] = {cell.label: [] for cell in cells}
    for number in range(bench.rounds):
        for cell in rotated(cells, number):
            found[cell.label].append(_once(bench, cell, number))
    rows = [_row(cell, found[cell.label]) for cell in cells]
    table = Table(
        title="latency of a lone event",
        columns=["from, to", "median ms", "99th percentile ms", "limited by"],
        rows=rows,
        note=f"One event every {1000 * EVERY_S:.0f} ms, from just before it is sent to when its effect is durable; "
        f"{found[cells[0].label][0].events - WARM_UP} a run.",
    )
    figures = [figure for cell in cells if cell.program == "lone-inorder" for figure in _figures(cell, found)]
    return bench.part("latency", [table], figures, found)


def _once(bench: Bench, cell: Cell, number: int) -> Sample:
    events = WARM_UP + bench.pick(40, 200)
    with bench.store(cell.store) as store:
        url, partitions = _topic(bench, cell)
        task = Task(source=url, events=events, store=store, consumer="lone", gated=True, idle_s=IDLE_S)
        with Process(cell.program, task) as process:
            while process.owned < partitions:
                process.listen()
            process.open_gate()
            _send(url, events)
            report = process.report()
    return _sample(bench, cell, number, report)


def _topic(bench: Bench, cell: Cell) -> tuple[str, int]:
    """An empty topic, and how many partitions it has."""
    name = f"lone-{time.monotonic_ns()}"
    if cell.broker == "kafka":
        bench.kafka.create_topic(name, PARTITIONS)
        return f"kafka://{bench.kafka.bootstrap}/{name}", PARTITIONS
    url = f"embedded://{bench.scratch}/{name}.db/lone"
    open_sink(url, PARTITIONS).close()
    return url, PARTITIONS


def _send(url: str, events: int) -> None:
    sink = open_sink(url)
    began = time.monotonic()
    for number in range(events):
        time.sleep(max(0.0, began + number * EVERY_S - time.monotonic()))
        entity = f"account-{number % KEYS:07d}"
        sent_ns = time.time_ns()
        entry = Lone(str(number), entity, number // KEYS + 1, 1, sent_ns)
        sink.send([(entity.encode(), msgspec.json.encode(entry))])
        sink.flush()
    sink.close()


def _sample(bench: Bench, cell: Cell, number: int, report: Report) -> Sample:
    found = sorted(report.details["latency_ms"][WARM_UP:])
    median, high = (found[int(share * len(found))] for share in (0.5, HIGH))
    bench.tell(number, cell.label, f"{median:>12.1f} ms, {high:.1f} ms")
    return Sample(
        arm=cell.label,
        round=number,
        events=report.events,
        seconds=round(report.seconds, 4),
        details={"median_ms": median, "high_ms": high},
    )


def _of(samples: Samples, name: str) -> Spread:
    return Spread.of(sample.details[name] for sample in samples)


def _row(cell: Cell, samples: Samples) -> list[str]:
    limit = {
        "kafka": "sending, the broker's hand-over, and one commit synced to disk",
        "embedded": "two syncs of the disk (the broker's, the store's), and how often the source looks",
    }[cell.broker]
    return [cell.label, _of(samples, "median_ms").shown(".1f"), _of(samples, "high_ms").shown(".1f"), limit]


def _figures(cell: Cell, found: dict[str, list[Sample]]) -> list[Figure]:
    goals = (("median", "median_ms", MEDIAN_GOAL_MS), ("99th percentile", "high_ms", HIGH_GOAL_MS))
    return [
        Figure(
            what=f"latency, {cell.label.partition(', ')[2]}, {name}",
            goal=goal,
            found=_of(found[cell.label], place),
            unit=" ms",
            at_most=True,
        )
        for name, place, goal in goals
    ]
