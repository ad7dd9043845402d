"""The truth to compare with: every entity's events applied once, in the order of their versions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar


class Versioned(Protocol):
    """An event that says which of its entity's events it is."""

    @property
    def version(self) -> int: ...


State = TypeVar("State")
Happened = TypeVar("Happened", bound=Versioned)


def states(
    events: Iterable[Happened], key: Callable[[Happened], str], fold: Callable[[State | None, Happened], State]
) -> dict[str, State]:
    """The state of each entity, whatever the order of `events`, and however often each is among them."""
    history: dict[str, dict[int, Happened]] = {}
    for event in events:
        history.setdefault(key(event), {})[event.version] = event
    found: dict[str, State] = {}
    for name, versions in history.items():
        state: State | None = None
        for version in sorted(versions):
            state = fold(state, versions[version])
        if state is not None:
            found[name] = state
    return found


def wrong(found: Mapping[str, State], truth: Mapping[str, State]) -> list[str]:
    """The entities whose state is not the true one; those that are missing, or should not be there, among them."""
    return sorted(key for key in truth.keys() | found.keys() if found.get(key) != truth.get(key))
