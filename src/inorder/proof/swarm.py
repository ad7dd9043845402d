"""Many courses, each from its seed: play it, judge its trace, and name the trace by a hash.

The same seed always makes the same trace, on any machine: `same_again` says whether it did.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from time import process_time
from typing import Any

import msgspec

from inorder.core.order import Order
from inorder.core.planner import Planner
from inorder.core.words import describe
from inorder.errors import InorderError
from inorder.proof.anomalies import ANOMALIES
from inorder.proof.course import Course, drawn
from inorder.proof.explorer import quietly
from inorder.proof.oracle import Finding, Judge
from inorder.proof.parts import INTACT, Parts
from inorder.proof.simulation import Simulation
from inorder.proof.subjects import SubjectOracle, subject
from inorder.proof.system import rules_of
from inorder.proof.trace import Op, Step, name_of_trace
from inorder.worker.assemble import planner_for


class Played(msgspec.Struct):
    """What a course came to."""

    course: Course
    findings: list[Finding]
    steps: int
    hash: str
    """Names the trace."""
    seen: dict[tuple[str, str], int]
    trace: list[Step] = []
    """The steps, if they were asked for."""


def play(course: Course, parts: Parts = INTACT, keep: bool = False) -> Played:
    """Play a course and judge it."""
    declared = subject(course.order, course.parks)
    planner = planner_of(parts, course.order, course.parks)
    rules = rules_of(declared)
    rules = msgspec.structs.replace(
        rules,
        remembered=planner.guard.remembered,
        replay_per_s=course.replay_per_s,
        records=rules.records | {Op.CALLED},
    )
    seen = Judge(rules, SubjectOracle(course.order), _ASKED)
    steps: list[Step] = []

    def emit(step: Step) -> None:
        steps.append(step)
        seen.see(step)

    world = Simulation(declared, parts, course, emit, planner)
    with quietly():
        try:
            world.play()
        except Exception as error:
            # A worker that dies of this dies again whenever it is started anew.
            why = str(error) if isinstance(error, InorderError) else f"a worker died: {describe(error)}"
            seen.findings.setdefault("S21", Finding("S21", "stuck", why, seen.seen))
    judged = seen.judgement()
    return Played(course, judged.findings, seen.seen, name_of_trace(steps), world.seen, steps if keep else [])


@cache
def planner_of(parts: Parts, order: Order, parks: bool) -> Planner:
    """The planner of a simulated consumer."""
    made = planner_for(subject(order, parks))
    guard = parts.guard(order, made.guard.baseline)
    planner = parts.planner(guard, made.retry, made.limits, made.parks, made.classify)
    planner.code_version = made.code_version
    return planner


_ASKED = [one for one in ANOMALIES.values() if one.id != "S10"]
"""All that can be told from what simulations record: folds run one at a time in a worker. See `lane_world`."""


class Swarm(msgspec.Struct, kw_only=True):
    """What many seeds came to."""

    seeds: int = 0
    records: int = 0
    """Records that were sent."""
    steps: int = 0
    """Simulated events: steps of the traces. Each is something that happened to a record, a key or a worker (a record
    was accepted, given out, took effect, was held, became a letter; an offset was committed; a worker died), was put
    before every checker that asks about it, and goes into the trace's name."""
    seconds: float = 0.0
    """Of processor time, for all of it: to draw the courses, play and judge them, and name the traces."""
    failed: Played | None = None
    seed: int | None = None
    """That of the first one with an anomaly."""
    seen: dict[tuple[str, str], int] = {}


def swarm(
    seeds: Iterable[int], events: int = 20, parts: Parts = INTACT, until: Callable[[], bool] = lambda: False
) -> Swarm:
    """Play seed after seed, up to the first one that shows an anomaly."""
    found, began = Swarm(seen={}), process_time()
    with quietly():
        for seed in seeds:
            if until() or _one(found, seed, events, parts):
                break
    found.seconds = process_time() - began
    return found


def _one(found: Swarm, seed: int, events: int, parts: Parts) -> bool:
    played = play(drawn(seed, events), parts)
    found.seeds += 1
    found.records += played.course.events
    found.steps += played.steps
    for at, n in played.seen.items():
        found.seen[at] = found.seen.get(at, 0) + n
    if played.findings:
        found.failed, found.seed = played, seed
    return bool(played.findings)


def same_again(seed: int, events: int = 20) -> bool:
    """Whether a seed makes the same trace twice."""
    first: Any = play(drawn(seed, events))
    return bool(first.hash == play(drawn(seed, events)).hash)


def main(arguments: Sequence[str]) -> int:
    """`python -m inorder.proof.swarm [SEEDS] [FIRST]`: play courses, and say how fast. 1: an anomaly."""
    seeds = int(arguments[0]) if arguments else 1_000
    first = int(arguments[1]) if arguments[1:] else 0
    status = 0
    for events, count in ((20, seeds), (2_000, max(1, seeds // 100))):
        found = swarm(range(first, first + count), events)
        seeds_s, records_s, steps_s = (n / found.seconds for n in (found.seeds, found.records, found.steps))
        wrong = "nothing wrong" if found.failed is None else f"seed {found.seed}: {found.failed.findings[0].why}"
        print(
            f"{events:>5} records a seed: {seeds_s:,.0f} seeds, {records_s:,.0f} records, {steps_s:,.0f} simulated "
            f"events a second of processor time; {found.seeds:,} seeds in {found.seconds:.1f} s, {wrong}"
        )
        status |= found.failed is not None
    print("a simulated event is a step of a trace: judged by every checker that asks about it, and hashed")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
