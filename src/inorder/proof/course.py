"""One course of events for a simulation: what is sent, what the world does to the workers, and how handlers fail.

A course is a plain value: it can be drawn from a seed, written down, and made smaller. Every act is possible at any
time; one that finds nothing to do does nothing. So a course with some of its acts left out is still a course.
"""

from __future__ import annotations

from enum import StrEnum
from random import Random
from typing import NamedTuple

import msgspec

from inorder.core.order import Order


class Do(StrEnum):
    """What an act does."""

    SEND = "send"
    """The broker keeps a record: key, version, n the partition; `what` says which of several events of a version."""
    TURN = "turn"
    """Worker n takes one turn of its poll loop."""
    STEP = "step"
    """Worker n's thread of batches takes what is queued and due."""
    WORK = "work"
    """Worker n: a turn, a step, and a turn."""
    CRASH = "crash"
    """Worker n loses its memory; another one gets its partitions when it has started again."""
    MOVE = "move"
    """A partition (version) is to go to worker n, politely."""
    SEIZE = "seize"
    """A partition (version) goes to worker n without a word to its owner."""
    STALL = "stall"
    """Worker n stands still before its next transaction, while the next acts (version: how many) take place."""
    DOWN = "down"
    """The store goes down in worker n's next transaction."""
    CUT = "cut"
    """The store commits worker n's next transaction, and the answer is lost."""
    PASS = "pass"
    """Time passes: n seconds."""
    REPLAY = "replay"
    """An operator mends and replays the first open letter of a key, and what waits behind it."""
    DIE = "die"
    """The same, and the replay dies after the letter."""
    SKIP = "skip"
    """An operator skips the version that a key is parked for."""
    CALL = "call"
    """Where lanes are played (`lane_world`), which knows this, RETURN and SEND alone: the next handler begins."""
    RETURN = "return"
    """The n-th of the handlers that run ends."""


class Act(NamedTuple):
    """One act. What `n` and `version` are is said by `do`."""

    do: Do
    n: int = 0
    key: str = ""
    version: int = 0
    what: str = ""


class Failing(NamedTuple):
    """How the handler fails for a version of a key: `poison`, or so many times `transient` or `outage`."""

    key: str
    version: int
    how: str
    times: int = 1


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """One course of events."""

    order: Order = Order.STRICT
    partitions: int = 1
    workers: int = 2
    parks: bool = True
    replay_per_s: float | None = None
    """The most letters that a replay may put through in a second."""
    attended: bool = True
    """Whether an operator replays, in the end, what letters there are."""
    failing: tuple[Failing, ...] = ()
    acts: tuple[Act, ...] = ()

    @property
    def events(self) -> int:
        """How many records are sent."""
        return sum(act.do is Do.SEND for act in self.acts)

    def token(self) -> str:
        """The course as text, to be played again."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def of(cls, token: str) -> Course:
        """The course that a token stands for."""
        return msgspec.json.decode(token, type=cls)


RIVAL, UNREADABLE = "rival", "unreadable"
FAULTS = (
    *("twice", "foreign", "rivals", "unreadable", "crash", "move", "seize", "stall", "down", "cut"),
    *("pass", "poison", "transient", "outage", "replay", "die", "skip"),
)
"""The kinds of faults. Each seed draws some of them, so that rare combinations come up too."""

LARGE = 200
"""Events from which on a world is a large one."""


def drawn(seed: int, events: int = 20, faults: float = 0.25) -> Course:
    """The course of a seed: about so many events, and about so many faults for each."""
    random = Random(seed)
    enabled = [fault for fault in FAULTS if _one_in(2, random)]
    order = random.choices([Order.STRICT, Order.LATEST, Order.COMMUTATIVE], [70, 15, 15])[0]
    partitions, workers = random.choice([1, 1, 2, 4]), random.choice([1, 2, 2, 3])
    sends = _sends(random, events, partitions, enabled)
    acts: list[Act] = []
    each = [fault for fault in enabled if fault in _AS_ACT]
    # In large worlds much comes at once; in small ones events come one by one as well.
    most = random.choice([1, 3, 10, 30] if events < LARGE else [10, 30, 100])
    while sends:
        acts += [sends.pop() for _ in range(min(random.randint(1, most), len(sends)))]
        if each and random.random() < min(1.0, faults * most):
            acts += _fault(random, random.choice(each), partitions, workers, sends)
        acts.append(Act(Do.TURN if _one_in(3, random) else Do.WORK, random.randrange(workers)))
        if _one_in(3, random):
            acts.append(Act(Do.STEP, random.randrange(workers)))
    return Course(
        order=order,
        partitions=partitions,
        workers=workers,
        parks=order is Order.STRICT or _one_in(2, random),
        replay_per_s=random.choice([None, 1.0]),
        attended=order is not Order.STRICT or not _one_in(4, random),
        failing=_failing(random, acts, enabled),
        acts=tuple(acts),
    )


def _one_in(n: int, random: Random) -> bool:
    return random.random() * n < 1


def _sends(random: Random, events: int, partitions: int, enabled: list[str]) -> list[Act]:
    """The records, in the order of their arrival reversed: several keys at once, shuffled within a window."""
    keys = max(1, events // random.choice([2, 5, 10]))
    window = random.choice([1, 3, 10, events])
    versions = dict.fromkeys(range(keys), 0)
    arrivals: list[tuple[float, Act]] = []
    for place in range(events):
        number = random.randrange(keys)
        versions[number] += 1
        key, version, home = f"k{number}", versions[number], number % partitions
        if "foreign" in enabled and _one_in(10, random):
            home = random.randrange(partitions)
        arrivals.append((place + random.random() * window, Act(Do.SEND, home, key, version)))
        for fault, chance, what in (("twice", 5, ""), ("rivals", 20, RIVAL), ("unreadable", 30, UNREADABLE)):
            if fault in enabled and _one_in(chance, random):
                later = place + random.random() * 3 * window
                arrivals.append((later, Act(Do.SEND, home, key, version, what)))
    arrivals.sort(key=lambda one: -one[0])
    return [act for _, act in arrivals]


def _failing(random: Random, acts: list[Act], enabled: list[str]) -> tuple[Failing, ...]:
    found: dict[tuple[str, int], Failing] = {}
    for act in acts:
        for how, most in (("poison", 1), ("transient", 5), ("outage", 2)):
            if act.do is Do.SEND and how in enabled and _one_in(20, random):
                found[act.key, act.version] = Failing(act.key, act.version, how, random.randint(1, most))
    return tuple(found.values())


_AS_ACT = {"crash", "move", "seize", "stall", "down", "cut", "pass", "replay", "die", "skip"}


def _fault(random: Random, fault: str, partitions: int, workers: int, sends: list[Act]) -> list[Act]:
    worker, partition = random.randrange(workers), random.randrange(partitions)
    key = sends[-1].key if sends else "k0"
    if fault == "skip" and _one_in(2, random):
        # What is missing for too long is given up, and may come after all.
        return [Act(Do.PASS, 400), *(Act(Do.WORK, one) for one in range(workers)), Act(Do.SKIP), Act(Do.SKIP)]
    if fault in {"replay", "die", "skip"}:
        return [Act(Do(fault), key=key if _one_in(3, random) else "")]
    if fault == "pass":
        return [Act(Do.PASS, random.choice([1, 5, 40, 400]))]
    if fault in {"move", "seize"}:
        return [Act(Do(fault), worker, version=partition)]
    if fault == "stall":
        heir = (worker + 1) % workers
        return [
            Act(Do.STALL, worker, version=random.randint(2, 6)),
            Act(Do.WORK, worker),
            Act(Do.SEIZE, heir, version=partition),
            Act(Do.WORK, heir),
        ]
    return [Act(Do(fault), worker)]
