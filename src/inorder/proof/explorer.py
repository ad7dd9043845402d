"""Searches a scope exhaustively: every schedule, breadth first, and no state twice.

States are told apart by a digest of everything there is, so two ways to one state are followed once. The first schedule
that shows an anomaly is one with the fewest actions.
"""

from __future__ import annotations

import gc
import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from inorder.proof.oracle import Finding
from inorder.proof.scope import Act, Schedule, Scope
from inorder.proof.trace import Step
from inorder.proof.world import World

_ASK_CLOCK_EVERY = 64
_SELDOM = 100_000, 50, 1_000


class Explored(msgspec.Struct, kw_only=True):
    """What a search has found."""

    scope: Scope
    states: int = 0
    actions: int = 0
    """Actions that were taken."""
    exhausted: bool = False
    """Whether every schedule of the scope was followed, up to the first anomaly or the depth that was asked for."""
    seconds: float = 0.0
    schedule: Schedule | None = None
    """A shortest one that shows an anomaly."""
    finding: Finding | None = None
    steps: list[Step] = []
    """The trace of that schedule."""
    covered: set[tuple[str, str]] = set()
    """Faults, each with an outcome that was seen with it."""


def explore(world: World, seconds: float = 60.0, depth: int | None = None) -> Explored:
    """Search the world's scope from where it is, for at most so long, and at most `depth` actions deep."""
    began = time.monotonic()
    found = Explored(scope=world.scope)
    root = world.save()
    queue = deque([(root, 0, 0)])
    known = {world.digest(root)}
    ways: list[tuple[int, Act | None]] = [(0, None)]
    """By the number of a state: the one it was reached from first, and how."""
    with quietly():
        while queue:
            saved, number, deep = queue.popleft()
            found.states += 1
            if found.states % _ASK_CLOCK_EVERY == 0 and time.monotonic() - began > seconds:
                break
            world.restore(saved)
            if world.quiet:
                world.rest()
                if world.findings:
                    _tell(found, world, root, way_to(ways, number))
                    break
                world.restore(saved)
            if deep == depth:
                continue
            for act in list(world.acts()):
                world.restore(saved)
                world.take(act)
                found.actions += 1
                if world.findings:
                    _tell(found, world, root, (*way_to(ways, number), act))
                    break
                after = world.save()
                digest = world.digest(after)
                if digest not in known:
                    known.add(digest)
                    ways.append((number, act))
                    queue.append((after, len(ways) - 1, deep + 1))
            if found.finding is not None:
                break
        else:
            found.exhausted = True
    found.covered = set(world.covered)
    found.seconds = time.monotonic() - began
    return found


def play(world: World, schedule: Schedule) -> list[Step]:
    """Play one schedule on a world, up to its rest or its first anomaly. Returns the trace."""
    steps: list[Step] = []
    world.trace = steps.append
    with quietly():
        for act in schedule:
            world.take(act)
            if world.findings:
                break
        else:
            world.rest()
    world.trace = None
    return steps


def _tell(found: Explored, world: World, root: object, schedule: Schedule) -> None:
    found.finding, found.schedule = world.findings[0], schedule
    world.restore(root)  # type: ignore[arg-type]
    found.steps = play(world, schedule)


def way_to(ways: list[tuple[int, Act | None]], number: int) -> Schedule:
    """The actions by which a state was reached first."""
    acts: list[Act] = []
    while number:
        number, act = ways[number]
        assert act is not None
        acts.append(act)
    return tuple(reversed(acts))


@contextmanager
def quietly() -> Iterator[None]:
    """What a worker would log of the faults that are played here is of no interest.

    Garbage is looked for seldom: what a search remembers is none, and a simulated world is one large cycle while it
    lives.
    """
    log = logging.getLogger("inorder")
    before, thresholds = (log.disabled, log.level), gc.get_threshold()
    log.setLevel(logging.CRITICAL)
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        log.disabled, log.level = before
        gc.set_threshold(*thresholds)
