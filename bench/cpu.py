"""Who used the processors between two moments: the client, the database, the broker, everybody else. From /proc.

Where there is no /proc, it knows nothing, and the tables say less.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
_BUSY = (0, 1, 2, 5, 6, 7)
"""Of the first line of /proc/stat: user, nice, system, irq, softirq, steal."""

Seconds = dict[str, float]


def used(roots: dict[str, int]) -> Seconds:
    """Seconds of processor time so far: of each process named and all under it, and of the whole machine."""
    try:
        whole = [int(field) for field in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]]
        parents, times = _processes()
    except OSError:
        return {}
    found = {"machine": sum(whole[place] for place in _BUSY) / TICKS}
    for name, root in roots.items():
        found[name] = sum(times[pid] for pid in _under(root, parents)) / TICKS
    return found


def between(before: Seconds, after: Seconds, seconds: float) -> Seconds:
    """Processors kept busy in the `seconds` between, by name; "others" is what none of the named used."""
    cores = {name: (after[name] - before[name]) / seconds for name in before if name in after}
    machine = cores.pop("machine", None)
    if machine is not None:
        cores["others"] = machine - sum(cores.values())
    return {name: max(0.0, round(value, 3)) for name, value in cores.items()}


def children(parent: int) -> dict[str, int]:
    """The processes that `parent` has started, by the name of their program."""
    found: dict[str, int] = {}
    for entry in PROC.glob("[0-9]*/stat") if PROC.exists() else ():
        name, fields = _stat(entry)
        if fields and int(fields[1]) == parent:
            found[name] = int(entry.parent.name)
    return found


def _processes() -> tuple[dict[int, int], dict[int, int]]:
    """The parent and the ticks of every process; those of its children that have ended are counted to it."""
    parents: dict[int, int] = {}
    times: dict[int, int] = {}
    for entry in PROC.glob("[0-9]*/stat"):
        _, fields = _stat(entry)
        if fields:
            pid = int(entry.parent.name)
            parents[pid] = int(fields[1])
            times[pid] = sum(map(int, fields[11:15]))
    return parents, times


def _stat(entry: Path) -> tuple[str, list[str]]:
    try:
        text = entry.read_text()
    except OSError:  # it has ended
        return "", []
    head, _, tail = text.rpartition(")")
    return head.partition("(")[2], tail.split()


def _under(root: int, parents: dict[int, int]) -> set[int]:
    found = {root} & parents.keys()
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found
