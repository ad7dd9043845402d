"""Memory: millions of events over a million keys with the default cache, and the resident memory over time."""

from __future__ import annotations

from bench.measure import Arm, Bench
from bench.parts.common import stored
from bench.results import Figure, Part, Spread, Table, rates

KEYS = 1_000_000
GOAL_MIB = 400
FLAT_GOAL = 1.05
STEPS = 10

Memory = list[tuple[float, int, int]]


def run(bench: Bench) -> Part:
    """One run of one worker: it is long."""
    topic = bench.topic(events=bench.options.memory_events, keys=KEYS)
    arm = Arm(
        label="inorder fold, default cache",
        program="inorder",
        topic=topic,
        store="postgres",
        options={"watch_memory": True},
    )
    sample = bench.once(arm, 0)
    bench.topics.forget(topic.work)
    memory: Memory = sample.details.pop("memory")
    steps = [reached(memory, sample.events * step // STEPS) for step in range(1, STEPS + 1)]
    sample.details["memory"] = steps
    half, last = steps[STEPS // 2 - 1][2], steps[-1][2]
    growth = last / half
    rows = [[f"{events:,}", f"{at_s:,.0f}", f"{mib:,}"] for at_s, events, mib in steps]
    limit = stored(arm.label, [sample], "postgres")
    table = Table(
        title=f"memory over {topic.deliveries:,} events and {KEYS:,} keys",
        columns=["events", "after s", "resident MiB"],
        rows=rows,
        note=f"{rates([sample]).shown()} deliveries/s; limited by: {limit[-1]}; cores busy ({limit[-2]}). The highest "
        f"was {sample.max_rss_mib} MiB, of which the interpreter and the libraries take about 50.",
    )
    figures = [
        Figure(
            what="highest resident memory of the worker",
            goal=GOAL_MIB,
            found=_one(sample.max_rss_mib),
            unit=" MiB",
            at_most=True,
        ),
        Figure(what="resident memory at the end against half way", goal=FLAT_GOAL, found=_one(growth), at_most=True),
    ]
    return bench.part("memory", [table], figures, {arm.label: [sample]})


def reached(memory: Memory, events: int) -> tuple[float, int, int]:
    """The first note at which so many events were durable, or the last of all."""
    return next((note for note in memory if note[1] >= events), memory[-1])


def _one(value: float) -> Spread:
    return Spread.of([value])
