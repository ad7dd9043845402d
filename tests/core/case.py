"""What a run of the planner is made from: a log of deliveries, how the handler fails, and what the workers do."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from hypothesis import strategies as st

from inorder.core.order import Order

GAP_S = 10.0
ATTEMPTS = 3


class Fault(Enum):
    """How a handler fails."""

    TRANSIENT = "transient"
    POISON = "poison"
    OUTAGE = "outage"


@dataclass(frozen=True)
class Arrival:
    """One delivery of the log. Two ids at one version are a conflict."""

    key: str
    version: int
    id: str


@dataclass(frozen=True)
class Deliver:
    """A worker decides the next `count` deliveries in one transaction. With `crash` it dies before the commit."""

    worker: int
    count: int
    crash: bool = False


@dataclass(frozen=True)
class Restart:
    """A worker loses its memory, and reads the log again from `back` deliveries before."""

    worker: int
    back: int


@dataclass(frozen=True)
class Pass:
    """Time passes; the worker does what has come due."""

    worker: int
    seconds: float


@dataclass(frozen=True)
class Replay:
    """An operator replays the first open letter of a key, `mended` or not, and then what waits behind it.

    With `crash` the replay dies after the letter.
    """

    key: str
    mended: bool = True
    crash: bool = False


@dataclass(frozen=True)
class Skip:
    """An operator declares that the version a key is parked for will never be applied."""

    key: str


Step = Deliver | Restart | Pass | Replay | Skip
Faults = dict[tuple[str, int], tuple[Fault, int]]


@dataclass(frozen=True)
class Case:
    """One run. `faults`: how the handler fails for a version of a key, and how often (a poisoned one: always)."""

    order: Order
    log: list[Arrival]
    steps: list[Step]
    faults: Faults = field(default_factory=dict)
    baseline: int = 0
    parks: bool = True
    lanes: bool = False
    """Whether workers decide event by event, as for handlers without `tx`, rather than batch by batch."""
    held_at_once: int = 1_000
    """How many waiting events of a key are read back in one transaction."""

    @property
    def keys(self) -> list[str]:
        """Every key of the log."""
        return sorted({arrival.key for arrival in self.log})


def _steps(workers: int, operated: bool) -> st.SearchStrategy[list[Step]]:
    worker = st.integers(0, workers - 1)
    key = st.sampled_from(["a", "a", "b"])
    operator = [st.builds(Replay, key, st.booleans(), st.booleans()), st.builds(Skip, key)] if operated else []
    step = st.one_of(
        *operator,
        st.builds(Deliver, worker, st.integers(1, 6)),
        st.builds(Deliver, worker, st.integers(1, 6), st.just(workers == 1)),
        st.builds(Pass, worker, st.sampled_from([0.0, 1.0, 3.0, GAP_S, 100.0])),
        st.builds(Restart, worker, st.integers(0, 12)),
    )
    return st.lists(step, min_size=4 if workers > 1 else 0, max_size=12)


@st.composite
def cases(
    draw: st.DrawFn,
    order: Order | None = None,
    workers: int = 1,
    parks: bool | None = None,
    conflicts: bool = True,
    faulty: bool = True,
    operated: bool = False,
) -> Case:
    """Any arrival order of one or two dense histories with duplicates, and any course of events."""
    order = order or draw(st.sampled_from([Order.STRICT, Order.LATEST, Order.COMMUTATIVE]))
    events = [
        Arrival(key, version, f"{key}{version}")
        for key, most in (("a", draw(st.integers(5 if workers > 1 else 1, 7))), ("b", draw(st.integers(0, 3))))
        for version in range(1, most + 1)
    ]
    rivals = [Arrival(event.key, event.version, f"{event.id}, another") for event in events] if conflicts else []
    again = st.sampled_from(events + rivals)
    log = draw(st.permutations(events + draw(st.lists(again, max_size=4))))
    fault = st.one_of(
        st.tuples(st.just(Fault.TRANSIENT), st.integers(1, ATTEMPTS)),
        st.just((Fault.POISON, 1)),
        st.tuples(st.just(Fault.OUTAGE), st.integers(1, 2)),
    )
    places = st.sampled_from([(event.key, event.version) for event in events])
    return Case(
        order=order,
        log=log,
        steps=draw(_steps(workers, operated)),
        faults=draw(st.dictionaries(places, fault, max_size=2)) if faulty else {},
        baseline=draw(st.sampled_from([0, 0, 0, 1, 2])),
        parks=order is Order.STRICT or (draw(st.booleans()) if parks is None else parks),
        lanes=draw(st.booleans()),
        held_at_once=draw(st.sampled_from([1_000, 1, 2])),
    )
