"""How long the search of one scope takes: `python -m inorder.proof`.

Two keys with three versions each, one duplicate, one crash, one worker that stands still, one failing event and its
replay, in one order of arrival, and the same without the worker that stands still in every order of arrival of two
versions. The consumer keeps a list of its effects, so that nothing cancels out.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from inorder.declaration import declaration_of, fold
from inorder.proof.explorer import Explored
from inorder.proof.memory import MemoryStore
from inorder.proof.oracle import LedgerOracle
from inorder.proof.payloads import Case, Payloads
from inorder.proof.product import Product
from inorder.proof.scope import Scope
from inorder.proof.world import World


class Entry(msgspec.Struct):
    """An event."""

    id: str
    key: str
    version: int


@fold(key="key", version="version", id="id")
def listed(state: list[tuple[int, str]] | None, entry: Entry) -> list[tuple[int, str]]:
    """The versions and ids of all events, in the order they took effect."""
    return [*(state or []), (entry.version, entry.id)]


SCOPES = (
    Scope(keys=2, versions=3, duplicates=1, crashes=1, zombies=1, failures=1, replays=1, one_arrival=True),
    Scope(keys=2, versions=2, duplicates=1, crashes=1, failures=1, replays=1),
)


def search(scope: Scope, seconds: float = 300.0) -> Explored:
    """Search one scope."""
    declared: Any = declaration_of(listed)
    case = next(iter(Payloads(declared).cases(scope.keys, scope.versions, 1)))

    def world_of(part: Case) -> World:
        return World(declared, part, scope, MemoryStore("listed"), LedgerOracle())

    return Product(case, scope, world_of).explore(seconds)


def main() -> None:
    """Search them, and say how long it took."""
    for scope in SCOPES:
        began = time.process_time()
        found = search(scope)
        how = "exhausted" if found.exhausted else "not exhausted"
        wrong = "nothing wrong" if found.finding is None else f"{found.finding.anomaly}: {found.finding.why}"
        print(
            f"{scope}: {found.states:,} states, {found.actions:,} actions, {how} in {found.seconds:.1f} s "
            f"({time.process_time() - began:.1f} s of processor time), {wrong}"
        )


if __name__ == "__main__":
    main()
