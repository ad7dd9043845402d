"""`python -m bench`, which `make bench` runs: starts what it needs, measures, prints tables, keeps the results."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from bench import machine, show
from bench.measure import Bench, Options
from bench.process import BenchError
from bench.results import FILE, Part, load, save
from tests.services import KafkaCluster, Postgres
from tests.services.processes import scratch_directory

PARTS = ("fold", "tx", "call", "latency", "workers", "sweeps", "memory", "peers", "sqs", "proof")
FULL_ONLY = {"sweeps", "memory"}
ROUNDS = 5
QUICK_ROUNDS = 3

app = App(name="make bench", help="Measure inorder against the limits of this machine.", version_flags=[])


@app.default
def main(
    *parts: Annotated[str, Parameter(help=f"Of {', '.join(PARTS)}; all by default")],
    quick: Annotated[bool, Parameter(negative=(), help="About 4 minutes: fewer arms, events and rounds")] = False,
    rounds: Annotated[int | None, Parameter(help="Runs of every arm: 5, or 3 in a quick run")] = None,
    seed: Annotated[int, Parameter(help="Of the events")] = 7,
    memory_events: Annotated[int, Parameter(help="Events of the part memory")] = 10_000_000,
    out: Annotated[
        Path, Parameter(show_default=False, help="Where to keep the results; by default bench/results.json")
    ] = FILE,
) -> int:
    """Run the parts one after the other. Exit code 1: an arm failed, or ended in a wrong state."""
    if unknown := set(parts) - set(PARTS):
        print(f"there is no part {', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    chosen = [name for name in PARTS if name in parts or not (parts or (quick and name in FULL_ONLY))]
    console = Console(width=None if sys.stdout.isatty() else show.WIDTH, highlight=False)
    with ExitStack() as stack:
        kafka = stack.enter_context(KafkaCluster(at=os.environ.get("INORDER_TEST_KAFKA"), fast_start=False))
        postgres = stack.enter_context(Postgres.from_environment())
        scratch = stack.enter_context(scratch_directory("bench"))
        # Every arm is a new interpreter: none shall compile what the one before it has compiled.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(scratch / "pycache")
        options = Options(
            quick=quick,
            rounds=rounds or (QUICK_ROUNDS if quick else ROUNDS),
            seed=seed,
            memory_events=memory_events,
        )
        bench = Bench(kafka, postgres, scratch, options)
        bench.machine = machine.describe(postgres.url, scratch)
        return 1 if _run(bench, chosen, out, console) else 0


def _run(bench: Bench, chosen: list[str], out: Path, console: Console) -> bool:
    """Run parts, keep and print what they found. Returns whether anything went wrong."""
    failed = False
    done: list[Part] = []
    for name in chosen:
        bench.console.print(f"[bold]{name}[/bold]")
        run: Callable[[Bench], Part] = import_module(f"bench.parts.{name}").run
        try:
            part = run(bench)
        except BenchError as error:
            bench.console.print(f"[bold red]{name} failed:[/bold red] {error}", markup=True)
            failed = True
            continue
        failed = failed or bool(part.wrong)
        done.append(part)
        # The parts of earlier runs stay as they are, each with its own date.
        save(load(out) | {part.name: part}, out)
    show.on_terminal(done, console)
    return failed


if __name__ == "__main__":
    sys.exit(app())
