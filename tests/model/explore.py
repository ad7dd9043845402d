"""Every state that a machine can reach, breadth first, so that the first wrong one is as near as any."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from time import perf_counter

from tests.model.protocol import Action, Protocol, State


@dataclass
class Found:
    """What there was to see."""

    states: int = 0
    steps: int = 0
    seconds: float = 0.0
    finished: bool = True
    wrong: str | None = None
    way: list[Action] = field(default_factory=list)
    """To what is wrong."""
    seen: set[str] = field(default_factory=set)
    """The kinds of steps that were taken."""


def explore(machine: Protocol, most: int = 10_000_000) -> Found:
    """All states, or up to `most`, or up to the first wrong one."""
    begun = perf_counter()
    found = Found()
    start = machine.start()
    came: dict[State, tuple[State, Action] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        found.wrong = machine.wrong(state) or machine.stuck(state)
        if found.wrong:
            found.way = _way(came, state)
            break
        if len(came) > most:
            found.finished = False
            break
        for action, after in machine.steps(state):
            found.steps += 1
            found.seen.add(action.what)
            if after not in came:
                came[after] = (state, action)
                queue.append(after)
    found.states, found.seconds = len(came), perf_counter() - begun
    return found


def _way(came: dict[State, tuple[State, Action] | None], state: State) -> list[Action]:
    actions: list[Action] = []
    while (before := came[state]) is not None:
        state, action = before
        actions.append(action)
    return actions[::-1]
