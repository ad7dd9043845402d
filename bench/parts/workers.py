"""One worker process beside two of one group: they wait with their partitions in hand, and start at once."""

from __future__ import annotations

import os
import threading
import time
import uuid
from contextlib import ExitStack
from typing import NamedTuple

import msgspec

from bench import cpu, limits
from bench.arms.task import Report
from bench.measure import Arm, Bench, rotated
from bench.parts.common import WAITS, columns, row, times
from bench.process import Process
from bench.results import Figure, Part, Sample, Table, ratio

GOAL = 1.5
STORE = "postgres"
LOOK_S = 0.1
PER_WORKER = ("received", "applied", "duplicate")


class Cell(NamedTuple):
    """A consumer, and what it says about the number of workers."""

    what: str
    consumer: str
    events: int
    quick: bool = False
    goal: bool = False


CELLS = [
    Cell("fold", "balance", 200_000),
    Cell("fold, 50 µs of work an event", "costly", 100_000, quick=True, goal=True),
    Cell("no-op handler without tx", "noop", 100_000),
]


def run(bench: Bench) -> Part:
    """Every consumer with one and with two processes."""
    cells = [cell for cell in CELLS if cell.quick or not bench.quick]
    arms = [(_arm(bench, cell, workers), workers) for cell in cells for workers in (1, 2)]
    found: dict[str, list[Sample]] = {arm.label: [] for arm, _ in arms}
    for number in range(bench.rounds):
        for arm, workers in rotated(arms, number):
            found[arm.label].append(_once(bench, arm, workers, number))
    rows = []
    for arm, workers in arms:
        samples, one = found[arm.label], found[arm.label.replace("2 processes", "1 process")]
        gain = times(samples, one) if workers > 1 else ""
        rows.append(row(arm.label, samples, limits.of(samples, WAITS[STORE], clients=workers), gain))
    title = "one worker process and two, PostgreSQL"
    table = Table(title=title, columns=columns("times one process"), rows=rows)
    figures = [
        Figure(
            what=f"{cell.what}, two processes against one",
            goal=GOAL,
            found=ratio(found[_label(cell, 2)], found[_label(cell, 1)]),
        )
        for cell in cells
        if cell.goal
    ]
    return bench.part("workers", [table], figures, found)


def _label(cell: Cell, workers: int) -> str:
    return f"{cell.what}, {workers} process{'es' if workers > 1 else ''}"


def _arm(bench: Bench, cell: Cell, workers: int) -> Arm:
    topic = bench.topic(events=cell.events // bench.pick(2, 1))
    options = {"consumer": cell.consumer, "concurrency": 100, "gated": True}
    return Arm(label=_label(cell, workers), program="inorder", topic=topic, store=STORE, options=options)


def _once(bench: Bench, arm: Arm, workers: int, number: int) -> Sample:
    with bench.store(STORE) as url, ExitStack() as stack:
        # Each ends when it has nothing to do; none by itself has all of the topic.
        task = msgspec.structs.replace(bench.task(arm, url), group=f"bench-{uuid.uuid4()}", services={})
        processes: list[Process] = []
        for _ in range(workers):
            # One after the other, so that no two of them create the store's tables at once in one run and not another.
            processes.append(stack.enter_context(Process(arm.program, task)))
            processes[-1].listen()
        each, odd = divmod(arm.topic.work.partitions, workers)
        for process in processes:
            while process.owned not in {each, each + bool(odd)}:
                process.listen()
        seen = Seen(bench.services)
        for process in processes:
            process.open_gate()
        reports = [process.report() for process in processes]
        return bench.sample(arm, number, _together(reports, seen), url)


class Seen:
    """What the services used of the processors, noted every now and then."""

    def __init__(self, services: dict[str, int]) -> None:
        self._services = {"parent": os.getpid(), **services}
        self._found: list[tuple[float, cpu.Seconds]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.is_set():
            self._found.append((time.monotonic(), cpu.used(self._services)))
            self._over.wait(LOOK_S)

    def between(self, began: float, ended: float) -> cpu.Seconds:
        """Processors kept busy from then to then, by service, and by everybody else, the workers included."""
        self._over.set()
        self._thread.join()
        first = max((seen for seen in self._found if seen[0] <= began), default=self._found[0])
        last = min((seen for seen in self._found if seen[0] >= ended), default=self._found[-1])
        return cpu.between(first[1], last[1], last[0] - first[0])


def _together(reports: list[Report], seen: Seen) -> Report:
    """Several workers as one: from the first record of any to the last effect of any."""
    began, ended = min(report.began for report in reports), max(report.ended for report in reports)
    cores = seen.between(began, ended)
    spent = sum(report.details["cpu_s"] for report in reports)
    client = spent / (ended - began)
    cores.pop("parent", None)
    counts = [report.details["counts"] for report in reports]
    return Report(
        events=sum(report.events for report in reports),
        began=began,
        ended=ended,
        cores={**cores, "client": round(client, 3), "others": max(0.0, round(cores.get("others", 0.0) - client, 3))},
        max_rss_mib=max(report.max_rss_mib for report in reports),
        details={"counts": {name: sum(count.get(name, 0) for count in counts) for name in PER_WORKER}},
    )
