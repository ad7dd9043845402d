"""What limits an arm, told from who kept the processors busy while it ran."""

from __future__ import annotations

import os
import statistics

from bench.results import Samples

BUSY = 0.85
"""A share of one processor from which on whoever has one thread to work in is at its limit."""
ALL_BUSY = 0.9
"""A share of all processors from which on nobody could go faster."""
DISTURBED = 0.25
"""A share of all processors that, in the hands of others, makes a run worthless."""

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


COLUMN = "cores busy: client / database / broker"


def cores(samples: Samples) -> dict[str, float]:
    """Processors kept busy, by name: the median of the runs."""
    names = {name for sample in samples for name in sample.cores}
    return {name: statistics.median(sample.cores.get(name, 0.0) for sample in samples) for name in names}


def shown(samples: Samples) -> str:
    """The processors that client, database and broker kept busy, as it stands in a table."""
    found = cores(samples)
    return " / ".join(f"{found.get(name, 0.0):.2f}" for name in ("client", "database", "broker")) if found else "?"


def client_us(samples: Samples) -> str:
    """Microseconds of processor time that the client used for each delivery: what hardly depends on other work."""
    spent = [1e6 * sample.cores["client"] / sample.rate for sample in samples if "client" in sample.cores]
    return f"{statistics.median(spent):.1f}" if spent else "?"


def of(samples: Samples, waits_for: str, clients: int = 1) -> str:
    """What limits an arm of so many processes. `waits_for` is what it waits for where no processor is the limit."""
    found = cores(samples)
    if not found:
        return f"not measured here; {waits_for} if not the processor"
    client, database = found.get("client", 0.0) / clients, found.get("database", 0.0)
    if client >= BUSY:
        return "the client's processor: Python runs on one"
    if database >= BUSY:
        return "the database's processor: a connection is served by one"
    if disturbed(samples):
        return f"other programs, which kept {found['others']:.1f} processors busy: measure again"
    if sum(found.values()) >= ALL_BUSY * CORES:
        return f"all {CORES} processors are busy"
    return f"waiting for {waits_for}"


def disturbed(samples: Samples) -> bool:
    """Whether other programs took so much of the machine that the runs are to be repeated."""
    return cores(samples).get("others", 0.0) >= DISTURBED * CORES
