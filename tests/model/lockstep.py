"""The core beside the protocol: every step that the one can take, the other takes, and both come to the same state."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from tests.model.core_side import INTACT, CoreWorld, Parts
from tests.model.protocol import Action, Protocol, Scope, State


@dataclass
class Compared:
    """How far they went together."""

    states: int = 0
    steps: int = 0
    seconds: float = 0.0
    difference: str | None = None
    way: list[Action] = field(default_factory=list)
    """To where they part."""
    seen: set[str] = field(default_factory=set)


def compare(scope: Scope, parts: Parts = INTACT) -> Compared:
    """All states of the scope, or up to the first difference."""
    begun = perf_counter()
    machine, result = Protocol(scope), Compared()
    start = machine.start()
    worlds = {start: CoreWorld(scope, parts)}
    came: dict[State, tuple[State, Action]] = {}
    queue = deque([start])
    while queue and result.difference is None:
        state = queue.popleft()
        world = worlds.pop(state)
        for action, after in machine.steps(state):
            result.steps += 1
            result.seen.add(action.what)
            twin = world.copy()
            did = twin.take(action)
            theirs, ours = twin.seen(), _seen(after)
            if did != action.what or theirs != ours:
                result.difference = f"{action}: the core comes to {did} {theirs}, the protocol to {ours}"
                result.way = [*_way(came, state), action]
                break
            if after not in came and after != start:
                came[after] = state, action
                worlds[after] = twin
                queue.append(after)
    result.states, result.seconds = len(came) + 1, perf_counter() - begun
    return result


def _seen(state: State) -> Any:
    """A state of the protocol as `CoreWorld.seen` would tell of it."""
    flights: list[Any] = []
    for flight in state.flights:
        if flight is None:
            flights.append(None)
            continue
        row = None if flight.row is None else (flight.row.last, flight.row.ledger)
        flights.append((flight.key, flight.version, row, flight.fresh, flight.committed, flight.fence))
    return state.keys, tuple(flights), state.fence


def _way(came: dict[State, tuple[State, Action]], state: State) -> list[Action]:
    actions: list[Action] = []
    while state in came:
        state, action = came[state]
        actions.append(action)
    return actions[::-1]
