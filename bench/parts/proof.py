"""The proof: how fast worlds are simulated, a scope is exhausted, and what is broken is found and made small.

All of it is counted in seconds of processor time, for it is one thread that never waits.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from bench.measure import Bench
from bench.process import ROOT
from bench.results import Figure, Part, Sample, Spread, Table, rates
from inorder.proof.__main__ import SCOPES, search
from inorder.proof.course import Course
from inorder.proof.mutants import MUTANTS, Caught, Mutant, catch
from inorder.proof.proving import prove_declared
from inorder.proof.shrinking import shrink
from inorder.proof.swarm import Swarm, swarm
from inorder.worker.loading import load_consumer

LARGE, WORLDS = 2_000, 12
SMALL, SEEDS = 20, 400
LONG = 500
"""Records of a failing seed that is to be made small."""
EVENTS_GOAL, SEEDS_GOAL, SCOPE_GOAL_S, FOUND_GOAL_S, MINIMUM_GOAL = 50_000, 100, 10, 10, 2
PATIENCE_S = 60.0
BROKEN = {
    "orders.py": ("deltas", "floor", "average", "last_write", "refused"),
    "impure.py": ("clock", "lottery", "remembered", "noted"),
    "tables.py": ("outside", "leak", "summed"),
}
"""The handlers of examples/broken/."""

Found = dict[str, list[Sample]]


class Small(NamedTuple):
    """What was broken, the fewest acts that show it, and how long it took to get there."""

    what: str
    acts: int
    seconds: float


def run(bench: Bench) -> Part:
    """Worlds and the scope once a round; what is broken once."""
    found: Found = {"large": [], "small": [], "scope": []}
    for number in range(bench.rounds):
        found["large"].append(_worlds(bench, number, swarm(range(WORLDS), LARGE), by_seed=False))
        found["small"].append(_worlds(bench, number, swarm(range(SEEDS), SMALL), by_seed=True))
        found["scope"].append(_scope(bench, number))
    handlers = [_handler(bench, f"{file}:{name}") for file, names in BROKEN.items() for name in names]
    # In a quick run, every third.
    mutants = [_mutant(bench, mutant) for mutant in MUTANTS[:: bench.pick(3, 1)]]
    tables = [_speed(found), _small("handlers of examples/broken/", "actions", handlers)]
    tables.append(_small("variants of inorder", "acts", [variant for variant, _, _ in mutants]))
    figures = [
        _at_least("simulated events, one processor", EVENTS_GOAL, rates(found["large"])),
        _at_least(f"seeds of {SMALL} records, one processor", SEEDS_GOAL, rates(found["small"])),
        _at_most("2 keys x 3 versions, 1 duplicate, crash, zombie, failure, replay", SCOPE_GOAL_S, found["scope"]),
        _slowest("broken handlers found and made small, the slowest", handlers),
        _slowest("broken variants of inorder found and made small, the slowest", [one for one, _, _ in mutants]),
        Figure(
            what=f"acts left of a failing seed of {LONG} records, of the fewest known, the worst",
            goal=MINIMUM_GOAL,
            found=Spread.of([max(left / fewest for _, left, fewest in mutants)]),
            at_most=True,
        ),
    ]
    return bench.part("proof", tables, figures, found)


def _worlds(bench: Bench, number: int, found: Swarm, by_seed: bool) -> Sample:
    """Worlds in which nothing is broken: nothing may be found."""
    if found.failed is not None:
        bench.wrong.append(f"seed {found.seed}: {found.failed.findings[0].why}")
    label = f"{found.seeds:,} worlds of {SMALL if by_seed else LARGE:,} records"
    made = Sample(arm=label, round=number, events=found.seeds if by_seed else found.steps, seconds=found.seconds)
    made.details = {"records": found.records, "steps": found.steps}
    bench.tell(number, label, f"{made.rate:>12,.0f}/s")
    return made


def _scope(bench: Bench, number: int) -> Sample:
    began = time.process_time()
    found = search(SCOPES[0])
    seconds = time.process_time() - began
    if found.finding is not None or not found.exhausted:
        bench.wrong.append(f"{SCOPES[0]}: {found.finding.why if found.finding else 'not exhausted'}")
    bench.tell(number, f"{found.states:,} states of one scope", f"{seconds:>12,.1f} s")
    return Sample(arm=str(SCOPES[0]), round=number, events=found.states, seconds=seconds)


def _handler(bench: Bench, name: str) -> Small:
    began = time.process_time()
    proof = prove_declared(load_consumer(str(ROOT / "examples" / "broken" / name)), seconds=PATIENCE_S)
    if proof.anomaly is None:
        bench.wrong.append(f"{name}: nothing was found")
    acts = 0 if proof.anomaly is None else len(proof.anomaly.schedule) - 1
    return Small(name, acts, time.process_time() - began)


def _mutant(bench: Bench, mutant: Mutant) -> tuple[Small, int, int]:
    """What it takes to find it in small worlds; the acts left of a long seed; and the fewest that are known."""
    caught = catch(mutant, seconds=PATIENCE_S)
    if caught is None:
        bench.wrong.append(f"{mutant.anomaly} {mutant.name}: not found")
        return Small(mutant.name, 0, PATIENCE_S), 1, 1
    course = _long(mutant)
    left = len(shrink(course, mutant.shows, PATIENCE_S).course.acts)
    few = len(caught.course.acts)
    bench.tell(0, f"{mutant.anomaly} {mutant.name}", f"{caught.seconds:>12,.1f} s, {few} acts; {left} of a long seed")
    return _told(mutant, caught), left, min(left, few)


def _told(mutant: Mutant, caught: Caught) -> Small:
    return Small(f"{mutant.anomaly} {mutant.name}", len(caught.course.acts), caught.seconds)


def _long(mutant: Mutant) -> Course:
    """The first long course that shows a mutant."""
    return next(course for course in (mutant.course(seed, LONG) for seed in range(1_000)) if mutant.shows(course))


def _speed(found: Found) -> Table:
    large, small, scope = (found[name] for name in ("large", "small", "scope"))
    steps = Spread.of(sample.details["steps"] / sample.seconds for sample in small)
    records = [Spread.of(one.details["records"] / one.seconds for one in of) for of in (large, small)]
    rows = [
        [large[0].arm, f"{rates(large).shown()} simulated events, {records[0].shown()} records"],
        [small[0].arm, f"{rates(small).shown()} seeds, {steps.shown()} simulated events, {records[1].shown()} records"],
        [f"{scope[0].events:,} states of {scope[0].arm}", f"{rates(scope).shown()} states"],
    ]
    note = (
        "A simulated event is a step of a trace: a record was accepted, given out, took effect, was held or became a "
        "letter, an offset was committed, a worker died. Each was put before every checker that asks about it, and "
        "hashed. The worlds are drawn, played and judged in that time."
    )
    return Table(title="proof: one processor, one thread", columns=["what", "in a second"], rows=rows, note=note)


def _small(title: str, acts: str, found: list[Small]) -> Table:
    rows = [[one.what, f"{one.acts}", f"{one.seconds:.1f}"] for one in found]
    return Table(title=f"proof: broken {title}", columns=["what", f"{acts} that show it", "seconds"], rows=rows)


def _at_least(what: str, goal: float, found: Spread) -> Figure:
    return Figure(what=what, goal=goal, found=found, unit="/s")


def _at_most(what: str, goal: float, samples: list[Sample]) -> Figure:
    found = Spread.of(sample.seconds for sample in samples)
    return Figure(what=what, goal=goal, found=found, unit=" s", at_most=True)


def _slowest(what: str, found: list[Small]) -> Figure:
    slowest = Spread.of([max(one.seconds for one in found)])
    return Figure(what=what, goal=FOUND_GOAL_S, found=slowest, unit=" s", at_most=True)
