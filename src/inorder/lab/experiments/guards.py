"""Which design is safe for which operation: decided for each pair by going through every history and every arrival.

Histories of one entity, of up to three events; arrivals in every order, with any one event twice, or none. A pair is
safe if every arrival ends in the state of the right order. Where it is not, the smallest counterexample is shown.
The designs of inorder are decided by its own guard.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations, product
from typing import Any, NamedTuple

from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Slice, fingerprint
from inorder.core.guard import Decision, Guard
from inorder.core.order import Order
from inorder.lab.experiments import result
from inorder.lab.results import Request, Result, Table, Verdict

NAME = "guards"
LONGEST = 3
"""Events of a history, at most."""
REMEMBERED = 1
"""Event ids that the design "dedupe only" remembers: one that expires forgets, sooner or later."""


class Operation(NamedTuple):
    """A class of operations: the state before anything, the operations to choose from, and what each does."""

    name: str
    start: Any
    choices: tuple[Any, ...]
    apply: Callable[[Any, Any], Any]


def _withdraw(state: int, amount: int) -> int:
    """A withdrawal that the balance does not cover changes nothing."""
    return state + amount if state + amount >= 0 else state


def _patch(state: tuple[str, ...], field: str) -> tuple[str, ...]:
    """One field is set, the others stay."""
    return tuple(sorted([*(one for one in state if one[0] != field[0]), field]))


def _change(state: frozenset[str], change: str) -> frozenset[str]:
    return state | {change[1]} if change[0] == "+" else state - {change[1]}


OPERATIONS = (
    Operation("add to a balance", 0, (+5, -3, +2), lambda state, amount: state + amount),
    Operation("set a balance", 0, (5, 3, 2), lambda state, value: value),
    Operation("append to a list", (), ("a", "b", "c"), lambda state, item: (*state, item)),
    Operation("highest so far", 0, (5, 3, 2), max),
    Operation("withdraw if covered", 0, (+5, -4, +2), _withdraw),
    Operation("patch some fields", (), ("a=1", "a=2", "b=1"), _patch),
    Operation("side effect (a mail)", (), ("m", "n", "o"), lambda state, mail: (*state, f"sent {mail}")),
    Operation("add to a set", frozenset(), ("x", "y", "z"), lambda state, item: state | {item}),
    Operation("add to and remove from a set", frozenset(), ("+x", "-x", "+y"), _change),
)


class Design(NamedTuple):
    """How a consumer decides what may take effect. None for one that is not inorder's: it remembers some ids."""

    name: str
    order: Order | None


DESIGNS = (
    Design("nothing", Order.UNGUARDED),
    Design("dedupe only", None),
    Design("latest", Order.LATEST),
    Design("commutative", Order.COMMUTATIVE),
    Design("strict", Order.STRICT),
)

EXPECTED = {
    "nothing": {"highest so far", "add to a set"},
    "dedupe only": {"highest so far", "add to a set"},
    "latest": {"set a balance"},
    "commutative": {"add to a balance", "highest so far", "add to a set"},
    "strict": {operation.name for operation in OPERATIONS},
}
"""What each design is safe for, and nothing else. The documentation says so; the experiment finds out."""


class Wrong(NamedTuple):
    """An arrival that ends in a wrong state."""

    history: tuple[Any, ...]
    arrival: tuple[int, ...]
    got: Any
    right: Any


class Cell(NamedTuple):
    """One pair of operation and design."""

    tried: int
    wrong: int
    smallest: Wrong | None


def run(request: Request) -> Result:
    """See `EXPERIMENTS`."""
    cells = {(op.name, design.name): exhaust(op, design, request.seed) for op in OPERATIONS for design in DESIGNS}
    tried = sum(cell.tried for cell in cells.values())
    safe = {design.name: {op.name for op in OPERATIONS if not cells[op.name, design.name].wrong} for design in DESIGNS}
    tables = [_matrix(cells), _beside(cells), _counterexamples(cells)]
    verdicts = [
        Verdict(
            claim=f"{design.name} is safe for {_listed(EXPECTED[design.name])}",
            holds=safe[design.name] == EXPECTED[design.name],
            shown=f"safe for {len(safe[design.name])} of {len(OPERATIONS)}",
        )
        for design in DESIGNS
    ]
    setting = (
        f"{tried:,} runs: every history of up to {LONGEST} events, arriving in every order, with none or any one of "
        f"them twice. dedupe only remembers the last event id; its expiry is what makes it forget."
    )
    return result(NAME, request, setting, tables, [], verdicts)


def exhaust(operation: Operation, design: Design, seed: int) -> Cell:
    """Try everything, from the smallest on. The seed decides only which of equally small counterexamples is shown."""
    tried = wrong = 0
    smallest: Wrong | None = None
    choices = list(operation.choices)
    random.Random(f"{seed}:{operation.name}").shuffle(choices)
    for size in range(1, LONGEST + 1):
        for history in product(choices, repeat=size):
            right = operation.start
            for change in history:
                right = operation.apply(right, change)
            for arrival in arrivals(size):
                got = consume(operation, design, history, arrival)
                tried += 1
                if got != right:
                    wrong += 1
                    if smallest is None or len(arrival) < len(smallest.arrival):
                        smallest = Wrong(history, arrival, got, right)
    return Cell(tried, wrong, smallest)


def arrivals(size: int) -> Iterator[tuple[int, ...]]:
    """Every order in which versions 1 to `size` can arrive, with none or one of them twice."""
    versions = tuple(range(1, size + 1))
    yield from permutations(versions)
    for twice in versions:
        yield from sorted(set(permutations((*versions, twice))))


def consume(operation: Operation, design: Design, history: Sequence[Any], arrival: Sequence[int]) -> Any:
    """The state in the end."""
    state = operation.start
    if design.order is None:
        recent: list[int] = []
        for version in arrival:
            if version not in recent:
                state = operation.apply(state, history[version - 1])
                recent = [*recent, version][-REMEMBERED:]
        return state
    guard, entity, held = Guard(design.order), Entity("entity"), dict[int, Event]()
    for version in arrival:
        event: Event | None = _event(version)
        while event is not None:
            decision = guard.decide(entity, event)
            if decision is Decision.APPLY:
                state = operation.apply(state, history[event.version - 1])
                guard.advance(entity, event.version, event.fingerprint)
            elif decision is Decision.HOLD:
                held[event.version] = event
            event = held.pop(entity.version + 1, None)
    return state


_NOWHERE = Slice(Partition("", 0), [], [], 0)


def _event(version: int) -> Event:
    return Event("entity", version, str(version), fingerprint(str(version)), None, _NOWHERE, 0)


def _matrix(cells: dict[tuple[str, str], Cell]) -> Table:
    rows: list[list[str | int | float]] = [
        [op.name, *(_verdict(cells[op.name, design.name]) for design in DESIGNS)] for op in OPERATIONS
    ]
    return Table(
        title="Which design is safe for which operation",
        columns=["operation", *(design.name for design in DESIGNS)],
        rows=rows,
        note="In per cent: the share of all runs that ends wrong.",
    )


def _verdict(cell: Cell) -> str:
    return "safe" if not cell.wrong else f"{100 * cell.wrong / cell.tried:.0f} % wrong"


def _beside(cells: dict[tuple[str, str], Cell]) -> Table:
    add, put = OPERATIONS[0].name, OPERATIONS[1].name
    rows: list[list[str | int | float]] = []
    for design in DESIGNS:
        cell, other = cells[add, design.name], cells[put, design.name]
        rows.append([design.name, _example(cell), _example(other)])
    return Table(
        title="Add to a balance beside set a balance: the smallest arrival that ends wrong",
        columns=["design", add, put],
        rows=rows,
    )


def _counterexamples(cells: dict[tuple[str, str], Cell]) -> Table:
    rows: list[list[str | int | float]] = [
        [op.name, design.name, _example(cells[op.name, design.name])]
        for op in OPERATIONS[2:]
        for design in DESIGNS
        if cells[op.name, design.name].wrong
    ]
    return Table(
        title="The smallest arrival that ends wrong, for the other operations",
        columns=["operation", "design", "counterexample"],
        rows=rows,
    )


def _example(cell: Cell) -> str:
    found = cell.smallest
    if found is None:
        return "none"
    came = " ".join(f"v{version}({_shown(found.history[version - 1])})" for version in found.arrival)
    return f"{came} gives {_shown(found.got)}, not {_shown(found.right)}"


def _shown(value: Any) -> str:
    if isinstance(value, frozenset):
        return "{" + " ".join(sorted(value)) + "}"
    return "[" + " ".join(value) + "]" if isinstance(value, tuple) else str(value)


def _listed(names: set[str]) -> str:
    if len(names) == len(OPERATIONS):
        return "all of these operations"
    return f"{', '.join(op.name for op in OPERATIONS if op.name in names)}, and for nothing else here"
