"""What an anomaly is: a name, what it says, and a small checker that looks at one step and what came before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from inorder.proof.history import History, Place
from inorder.proof.trace import Op, Step


class Oracle(Protocol):
    """The in-order, once-only fold: what a state is to be, as the text that traces write."""

    def state_after(self, key: str, effects: Sequence[tuple[int, str]]) -> str | None:
        """The state of a key after these effects (version and event id) in this sequence; None: no state."""


Checker = Callable[[History, Step, Oracle | None], str | None]
"""Returns what is wrong, in a sentence, or None. The step is not yet in the history."""


class Anomaly(NamedTuple):
    """One way in which order, effects or letters can go wrong."""

    id: str
    name: str
    says: str
    """What is wrong when it is there, in a line."""
    on: frozenset[Op]
    """The steps that its checker is to be asked about."""
    needs: frozenset[Op]
    """What a trace must have recorded, and of `on` at least one; where it has not, the verdict is unknown."""
    check: Checker
    asks_oracle: bool

    def missing(self, records: frozenset[Op]) -> list[Op]:
        """What a trace that records these would have to record too, for a verdict."""
        return sorted(self.needs - records) or ([] if self.on & records else sorted(self.on))

    @property
    def at_rest(self) -> bool:
        """Whether it can only be told once everything has come to rest."""
        return self.on == {Op.REST}


def anomaly(
    id: str, name: str, *on: Op, needs: Sequence[Op] = (), asks_oracle: bool = False
) -> Callable[[Checker], Anomaly]:
    """Declare a checker. Its first line of documentation is what the anomaly says."""

    def declare(check: Checker) -> Anomaly:
        says = (check.__doc__ or "").strip().splitlines()[0]
        return Anomaly(id, name, says, frozenset(on), frozenset(needs), check, asks_oracle)

    return declare


def wanted(history: History, key: str) -> list[tuple[int, str]]:
    """What should be in effect for a key at rest, in version order, had nothing gone wrong.

    Everything accepted beyond the baseline, but for what an operator skipped and what is an open letter. Under strict
    order, nothing beyond the first version that is missing or an open letter; under others, nothing that waits behind
    one. Of two events that claim a version it is the one that took effect, else the first that was accepted.
    """
    rules, claimed = history.rules, history.claimed.get(key, [])
    applied: dict[int, str] = {}
    for effect in history.effects(key):
        applied.setdefault(effect.version, effect.id)
    open_versions = given_up(history, key)
    strict = rules.order == "strict"
    found: list[tuple[int, str]] = []
    following = rules.baseline + 1
    for version in sorted({*claimed, *(skipped for of, skipped in history.skipped if of == key)}):
        if version <= rules.baseline:
            continue
        if strict and version != following:
            break
        following = version + 1
        if (key, version) in history.skipped:
            continue
        if version in open_versions and version not in applied:
            if strict:
                break
            continue
        if open_versions and (key, version) in history.held and version not in applied:
            continue
        ids = history.claims[key, version]
        found.append((version, applied[version] if applied.get(version) in ids else ids[0]))
    return found


def given_up(history: History, key: str) -> set[int]:
    """The versions of a key that are open letters because their handler failed."""
    return {letter.version for letter in history.failed.get(key, ()) if letter.version is not None}


def shown(places: set[Place] | list[Place], most: int = 3) -> str:
    """Keys and versions for people."""
    listed = sorted(places)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(f"{key} v{version}" for key, version in listed[:most]) + more
