"""The protocol in Promela (`protocol.pml`), checked by Spin, and counted against the same machine in Python.

`python -m tests.model --spin`, where `spin` and a C compiler are installed. It is a command and no test, for neither
comes with Python.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import fields
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.model.explore import explore
from tests.model.protocol import Protocol, Scope, Without

MODEL = Path(__file__).with_name("protocol.pml")
DEEPEST = 1_000_000
COUNTED = [
    Scope(2, 3, twice=1),
    Scope(2, 3, crashes=1),
    Scope(1, 3, crashes=1, zombies=1, waits=1, poison=(0, 2)),
    Scope(1, 3, twice=1, crashes=1, zombies=1, waits=1, poison=(0, 1)),
    Scope(2, 3, crashes=1, zombies=1),
]
"""Scopes that Python explores too: it must come to as many states."""
ALONE = [
    Scope(2, 3, twice=1, crashes=1, zombies=1),
    Scope(2, 3, crashes=1, zombies=1, waits=1, poison=(0, 1)),
    Scope(2, 3, twice=1, crashes=1, zombies=1, waits=1, poison=(0, 2)),
]
"""Scopes that take Python too long."""
BROKEN = [
    (Scope(1, 2, twice=1), Without(guard=True)),
    (Scope(1, 2), Without(held=True)),
    (Scope(1, 2, poison=(0, 1)), Without(parking=True)),
    (Scope(1, 2, zombies=1), Without(fence=True, revision=True)),
    (Scope(1, 1, crashes=1), Without(settling_after=True)),
]
"""What must be found wrong."""
PARTS = {
    "guard": ("NO_GUARD", "guard"),
    "held": ("NO_HELD", "held events"),
    "parking": ("NO_PARKING", "parking"),
    "fence": ("NO_FENCE", "fence"),
    "revision": ("NO_REVISION", "revision"),
    "settling_after": ("SETTLES_FIRST", "settling after the commit"),
}
"""What may be left out: how the model is told, and in words."""


class Checked(NamedTuple):
    """What Spin says of a scope."""

    states: int
    errors: int
    seconds: float


def check(scope: Scope, without: Without | None = None) -> Checked:
    """Every state of a scope, by Spin. Raises RuntimeError when it could not finish."""
    numbers = {
        "KEYS": scope.keys,
        "VERSIONS": scope.versions,
        "TWICE": scope.twice,
        "CRASHES": scope.crashes,
        "ZOMBIES": scope.zombies,
        "WAITS": scope.waits,
        "POISON": scope.poison[1] if scope.poison else 0,
    }
    left_out = [name for name, _ in _left_out(without or Without())]
    defines = [f"-D{name}={n}" for name, n in numbers.items()] + [f"-D{name}=1" for name in left_out]
    with TemporaryDirectory() as room:

        def run(*command: str) -> str:
            return subprocess.run(command, cwd=room, check=True, capture_output=True, text=True, timeout=600).stdout

        run("spin", "-a", *defines, str(MODEL))
        run("cc", "-O2", "-DSAFETY", "-w", "-o", "pan", "pan.c")
        said = run("./pan", f"-m{DEEPEST}")
    # It says neither by its exit code.
    unfinished = ("search depth too small", "out of memory", "MEMLIM")
    if "errors:" not in said or any(why in said for why in unfinished):
        raise RuntimeError(f"spin did not finish: {said}")
    found = [re.search(what, said) for what in (r"(\d+) states, stored", r"errors: (\d+)", r"elapsed time ([\d.]+)")]
    states, errors, seconds = (one.group(1) if one else "0" for one in found)
    return Checked(int(states), int(errors), float(seconds))


def _left_out(without: Without) -> list[tuple[str, str]]:
    return [PARTS[one.name] for one in fields(Without) if getattr(without, one.name)]


def main() -> int:
    """A line for each scope, and for each part that is left out. 1: one is not as it must be."""
    for tool in ("spin", "cc"):
        if which(tool) is None:
            print(f"{tool} is not installed: on Debian, apt-get install spin gcc")
            return 2
    wrong = 0
    for scope in (*COUNTED, *ALONE):
        found = check(scope)
        states = explore(Protocol(scope)).states if scope in COUNTED else None
        said = {None: "not counted in Python", found.states: "as many states in Python"}
        same = said.get(states, f"{states:,} STATES IN PYTHON")
        verdict = "SOMETHING IS WRONG" if found.errors else "nothing wrong"
        wrong += bool(found.errors) or states not in {None, found.states}
        print(f"spin      {scope}: {found.states:,} states, {found.seconds:.1f} s, {verdict}, {same}", flush=True)
    for scope, without in BROKEN:
        found = check(scope, without)
        parts = " and ".join(word for _, word in _left_out(without))
        wrong += not found.errors
        print(f"spin      {scope}, without {parts}: {'found' if found.errors else 'NOT FOUND'}", flush=True)
    return 1 if wrong else 0
