"""Other engines on the same topics in the same run, where they are at hand: see `bench.peers`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from bench import peers
from bench.measure import Arm, Bench, rotated
from bench.parts.common import times
from bench.results import Figure, Part, Sample, Table, rates, ratio
from bench.topics import Topic

STORE = "postgres"
ABSENT = "not measured here"
OURS = "inorder"


class Cell(NamedTuple):
    """One workload: what a peer is told, and which consumer of ours does the same. `goals` are times the best peer."""

    what: str
    handler: str
    concurrency: int
    consumers: dict[str, float]
    events: int = 20_000
    keys: int = 1_000
    zipf: float = 0.0


CELLS = [
    Cell("no-op, 16 at once", "noop", 16, {"noop": 1.0}, 200_000, 10_000),
    Cell("no-op, 100 at once", "noop", 100, {"noop": 1.0}, 200_000, 10_000),
    Cell("1 ms, 100 at once", "sleep1", 100, {"sleep_1": 0.0}),
    Cell("10 ms, 16 at once", "sleep10", 16, {"sleep_10": 0.0, "sync_10": 0.0}),
    Cell("10 ms, 100 at once", "sleep10", 100, {"sleep_10": 0.0, "sync_10": 0.0}),
    Cell("10 ms, 500 at once", "sleep10", 500, {"sleep_10": 1.0}),
    Cell("10 ms, zipf 1.0, 100 at once", "sleep10", 100, {"sleep_10": 0.0, "sleep_10_by_key": 10.0}, zipf=1.0),
    Cell("a balance in PostgreSQL, 16 at once", "pg", 16, {"post_postgres": 2.0, "balance": 30.0}),
]
KINDS = {
    "sync_10": "handler in threads",
    "sleep_10_by_key": "async handler, batch=100",
    "post_postgres": "handler with tx",
    "balance": "fold",
}


def run(bench: Bench) -> Part:
    """Every engine takes all cells in one go, as a Java engine has to warm up; the engines take turns."""
    engines = peers.at_hand()
    contest = Contest(bench)
    runs: list[Callable[[int], None]] = [contest.ours] if engines else []
    runs += [partial(contest.theirs, arm, name) for arm, name in engines.items()]
    for number in range(bench.rounds if engines else 0):
        for one in rotated(runs, number):
            one(number)
    names = list(engines.values())
    rows = [row for cell in CELLS for row in _rows(cell, names, contest.found)]
    if not engines:
        rows = [[cell.what, ABSENT, "", ""] for cell in CELLS]
    table = Table(
        title="other engines on the same topics",
        columns=["workload, engine", "deliveries/s", "inorder, times this engine", "remarks"],
        rows=rows,
        note=f"Beside {', '.join(names or [name for name, _ in peers.ARMS.values()])}. "
        "inorder's completions are durable in PostgreSQL when they count, the others' are in memory, except for "
        "the balances. What limits a row is told where inorder is measured alone.",
    )
    return bench.part("peers", [table], _figures(contest.found, names), contest.found)


class Contest:
    """The cells on their topics, and what was found."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.found: dict[str, list[Sample]] = {}

    def _topic(self, cell: Cell) -> Topic:
        return self._bench.topic(events=cell.events, keys=cell.keys, zipf=cell.zipf)

    def ours(self, number: int) -> None:
        """All cells with the library."""
        for cell in CELLS:
            for consumer in cell.consumers:
                arm = Arm(
                    label=_name(cell, OURS, consumer),
                    program="inorder",
                    topic=self._topic(cell),
                    store=STORE,
                    options={"consumer": consumer, "concurrency": cell.concurrency},
                )
                self.found.setdefault(arm.label, []).append(self._bench.once(arm, number))

    def theirs(self, arm: str, engine: str, number: int) -> None:
        """All cells with another engine."""
        topics = [self._topic(cell) for cell in CELLS]
        told = [
            f"{topic.name}:{topic.deliveries}:{cell.handler}:{cell.concurrency}"
            for cell, topic in zip(CELLS, topics, strict=True)
        ]
        with self._bench.store(STORE) as url:
            balances = [topic for cell, topic in zip(CELLS, topics, strict=True) if cell.handler == "pg"]
            peers.prepare(url, balances)
            lines = peers.run(arm, told, self._bench.kafka.bootstrap, url)
        for cell, line in zip(CELLS, lines, strict=True):
            details = {"state_ok": line["state_ok"]} if "state_ok" in line else {}
            sample = Sample(
                arm=_name(cell, engine),
                round=number,
                events=int(line["n"]),
                seconds=float(line["seconds"]),
                details=details,
            )
            self.found.setdefault(sample.arm, []).append(sample)
            self._bench.tell(number, sample.arm, f"{sample.rate:>12,.0f}/s")


def _name(cell: Cell, engine: str, consumer: str = "") -> str:
    kind = KINDS.get(consumer)
    return f"{cell.what}, {engine}{f', {kind}' if kind else ''}"


def _rows(cell: Cell, engines: list[str], found: dict[str, list[Sample]]) -> list[list[str]]:
    ours = [_name(cell, OURS, consumer) for consumer in cell.consumers]
    rows = [[label, rates(found[label]).shown(), "", ""] for label in ours if label in found]
    for engine in engines:
        label = _name(cell, engine)
        wrong = sum(sample.details.get("state_ok") is False for sample in found[label])
        compared = ", ".join(times(found[one], found[label]) for one in ours)
        rows.append([label, rates(found[label]).shown(), compared, f"wrong state in {wrong} runs" if wrong else ""])
    return rows


def _figures(found: dict[str, list[Sample]], engines: list[str]) -> list[Figure]:
    figures: list[Figure] = []
    for cell in CELLS:
        theirs = [found[label] for engine in engines if (label := _name(cell, engine)) in found]
        if not theirs:
            continue
        best = max(theirs, key=lambda samples: rates(samples).median)
        figures += [
            Figure(
                what=f"{_name(cell, OURS, consumer)}, against the best of the others",
                goal=goal,
                found=ratio(found[_name(cell, OURS, consumer)], best),
            )
            for consumer, goal in cell.consumers.items()
            if goal
        ]
    return figures
