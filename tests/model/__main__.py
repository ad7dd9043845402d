"""`python -m tests.model`: explores the protocol and holds the core against it, in scopes larger than the tests'.

With `--spin`, the protocol in Promela is checked by Spin instead: see `spin`.
"""

from __future__ import annotations

import sys

from tests.model import spin
from tests.model.explore import explore
from tests.model.lockstep import compare
from tests.model.protocol import Protocol, Scope

EXPLORED = [
    Scope(2, 3, twice=1),
    Scope(2, 3, crashes=1),
    Scope(2, 2, crashes=1, zombies=1),
    Scope(1, 3, crashes=1, zombies=1, waits=1, poison=(0, 2)),
    Scope(2, 3, crashes=1, zombies=1),
]
"""Scopes of the protocol alone; all but the last are in the tests."""
COMPARED = [
    Scope(1, 3, twice=1, crashes=1, waits=1, poison=(0, 2)),
    Scope(1, 3, twice=1, waits=1, poison=(0, 1)),
    Scope(1, 3, zombies=1, waits=1, poison=(0, 2)),
    Scope(2, 2, crashes=1, zombies=1),
    Scope(1, 3, twice=1, crashes=1, zombies=1, waits=1, poison=(0, 1)),
    Scope(1, 3, twice=1, crashes=1, zombies=1, waits=1, poison=(0, 2)),
    Scope(1, 3, twice=1, crashes=1, zombies=1, waits=1, poison=(0, 3)),
    Scope(2, 3, crashes=1, zombies=1),
]
"""Scopes in which the core takes every step too; the first three are in the tests."""


def main() -> int:
    """A line for each scope."""
    wrong = 0
    for scope in EXPLORED:
        found = explore(Protocol(scope))
        wrong += found.wrong is not None
        print(f"protocol  {scope}: {found.states} states, {found.seconds:.1f} s, {found.wrong or 'nothing wrong'}")
    for scope in COMPARED:
        compared = compare(scope)
        wrong += compared.difference is not None
        what = compared.difference or "the core comes to the same states"
        print(f"both      {scope}: {compared.states} states, {compared.seconds:.1f} s, {what}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(spin.main() if sys.argv[1:] == ["--spin"] else main())
