"""`inorder lab`: experiments that show what goes wrong with order, and what inorder makes of it."""

from __future__ import annotations

import logging
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from inorder.cli.codes import Exit
from inorder.errors import UsageError
from inorder.lab.experiments import EXPERIMENTS, run
from inorder.lab.report import prepare, shown, stamp, write
from inorder.lab.results import Request, Result, Table

SMALLEST_WIDTH = 100
"""A table is not squeezed below this, so that what is piped can be read as well."""


def lab(
    experiment: Annotated[str | None, Parameter(help="Which one. Without it, they are listed.")] = None,
    /,
    *,
    seed: Annotated[int, Parameter(help="Makes the events and their disorder; the same seed repeats them.")] = 42,
    out: Annotated[
        Path | None, Parameter(help="Write report.md, report.json and the plots, as SVG, into this folder.")
    ] = None,
    broker: Annotated[Literal["embedded", "kafka", "sqs"], Parameter(help="Where the events travel.")] = "embedded",
    kafka: Annotated[str | None, Parameter(help="HOST:PORT of a Kafka to make topics on.")] = None,
    sqs: Annotated[str | None, Parameter(help="The endpoint of an SQS to make queues on.")] = None,
    as_json: Annotated[bool, Parameter("--json", negative=(), help="Print one document.")] = False,
) -> int:
    """Run one experiment: one seed, one command, tables and plots.

    Needs no service, unless --broker asks for one. Exits 6 if a claim does not hold.
    """
    if experiment is None:
        _list(as_json)
        return Exit.OK
    if experiment not in EXPERIMENTS:
        raise UsageError(f"there is no experiment {experiment!r}: {_meant(experiment)}")
    if out is not None:
        prepare(out)
    # Workers that lose partitions are what an experiment is about, and no news.
    logging.getLogger("inorder").setLevel(logging.CRITICAL)
    with Console(stderr=True).status(f"{experiment} runs"):
        found = run(experiment, Request(seed=seed, broker=broker, kafka=kafka, sqs=sqs))
    if out is not None:
        write(found, out)
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        _print(found, out)
    return Exit.OK if found.holds else Exit.FINDINGS


def _list(as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(EXPERIMENTS).decode())
        return
    wide = max(map(len, EXPERIMENTS))
    for name, question in EXPERIMENTS.items():
        print(f"{name:<{wide}}  {question}")


def _print(found: Result, out: Path | None) -> None:
    console = Console(highlight=False)
    if not console.is_terminal or console.width < SMALLEST_WIDTH:
        console.width = max(console.width, SMALLEST_WIDTH)
    with console.capture() as captured:
        console.print(Text(f"{found.question} {found.setting}\n"))
        for table in found.tables:
            console.print(Text(table.title, style="bold"), _grid(table), sep="\n")
            console.print(Text(f"{table.note}\n" if table.note else "", style="dim"))
        for verdict in found.verdicts:
            word, style = ("holds", "green") if verdict.holds else ("DOES NOT HOLD", "bold red")
            console.print(Text.assemble((word, style), f"  {verdict.claim} ({verdict.shown})"))
        console.print(Text("\n" + stamp(found).replace("`", ""), style="dim"))
        if out is not None:
            console.print(Text(f"written to {out}: report.md, report.json, {_names(found)}"))
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))
    sys.stdout.flush()


def _names(found: Result) -> str:
    return ", ".join(f"{plot.name}.svg" for plot in found.plots) or "no plots"


def _grid(table: Table) -> Grid:
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, name in enumerate(table.columns):
        figures = place > 0 and all(not isinstance(row[place], str) for row in table.rows)
        grid.add_column(name, header_style="dim", justify="right" if figures else "left")
    for row in table.rows:
        grid.add_row(*map(shown, row))
    return grid


def _meant(name: str) -> str:
    near = get_close_matches(name, EXPERIMENTS, 1)
    return f"did you mean {near[0]}?" if near else f"write one of {', '.join(EXPERIMENTS)}"
