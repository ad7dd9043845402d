"""`inorder doctor`: what in a live configuration can break order."""

from __future__ import annotations

from typing import Annotated

import msgspec
from cyclopts import Parameter

from inorder.cli.codes import Exit
from inorder.declaration import declaration_of
from inorder.doctor.examining import Diagnosis, examine
from inorder.worker.loading import load_consumer


def doctor(
    *,
    source: Annotated[
        str, Parameter("--from", help="kafka://host:port/TOPIC, sqs://QUEUE.fifo or embedded://path.db/TOPIC")
    ],
    store: Annotated[str | None, Parameter(help="sqlite:///path.db or postgresql://…")] = None,
    producer: Annotated[
        str | None, Parameter(help="A file with a producer's configuration: name=value lines, or JSON.")
    ] = None,
    consumer: Annotated[
        str | None, Parameter(help="MODULE:NAME of the consumer, for its limits and its group; else the defaults.")
    ] = None,
    as_json: Annotated[bool, Parameter("--json", negative=(), help="Print one document.")] = False,
) -> int:
    """Examine a live cluster, and a store and a producer's configuration where they are named. Changes nothing.

    Each finding says what it is, why it can break order, and how to mend it. Exit codes: 0 nothing found, 6 findings,
    5 nothing found but not everything could be looked at.
    """
    declared = declaration_of(load_consumer(consumer)) if consumer else None
    found = examine(
        source,
        store,
        producer,
        group=declared.name if declared else None,
        limits=declared.limits if declared else None,
    )
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        _print(found)
    return Exit.FINDINGS if found.findings else Exit.PARTIAL if found.unknown else Exit.OK


def _print(found: Diagnosis) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for finding in found.findings:
        console.print(Text(f"{finding.check}: {finding.what}", style="bold red"))
        console.print(Text(f"  why   {finding.why}"))
        console.print(Text(f"  fix   {finding.fix}"))
        console.print(Text(f"  more  {finding.link}", style="dim"))
    for name, why in found.unknown.items():
        console.print(Text(f"{name}: not known: {why}", style="yellow"))
    total = len(found.findings)
    console.print(
        Text(
            f"{total or 'no'} finding{'' if total == 1 else 's'}, {len(found.passed)} checks passed, "
            f"{len(found.unknown)} could not be decided"
        )
    )
