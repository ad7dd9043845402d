"""`inorder prove`: finds a smallest delivery schedule that breaks a handler, or shows that there is none in scope."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from inorder.cli.codes import Exit
from inorder.cli.failing import check_not_an_option
from inorder.errors import NotFound, UsageError
from inorder.proof.proving import SECONDS, Proof, prove_declared, replayed
from inorder.proof.report import lines, replay_lines
from inorder.proof.tables import Setup, copy_of, script
from inorder.worker.loading import load_consumer


def prove(
    consumer: Annotated[str, Parameter(help="MODULE:NAME; MODULE is a dotted name, or a path as in bank.py:balance")],
    /,
    *,
    events: Annotated[
        str | None, Parameter(allow_leading_hyphen=True, help="FILE or -: a line of JSON for each event of your own")
    ] = None,
    seconds: Annotated[float, Parameter(validator=Number(gt=0), help="Time for the search")] = SECONDS,
    store: Annotated[
        str | None, Parameter(help="sqlite:///path.db: a handler with tx gets a copy of the tables in it")
    ] = None,
    tables: Annotated[str | None, Parameter(help="FILE of SQL that makes the tables of a handler with tx")] = None,
    replay: Annotated[
        str | None, Parameter(allow_leading_hyphen=True, help="A token that a proof has printed: play that schedule")
    ] = None,
    as_json: Annotated[bool, Parameter("--json", negative=(), help="Print one document.")] = False,
) -> int:
    """Prove a fold, or a handler with tx, against every order of delivery, duplicate, crash, zombie and replay.

    Payloads are made from the declared type. Exit codes: 0 nothing found, 6 a counterexample, 5 not known.
    """
    given = None if events is None else _lines_of(events)
    setup = _setup(store, tables)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        # What the function prints, it would print thousands of times.
        function = load_consumer(consumer)
        found = replayed(function, replay, setup) if replay is not None else None
        proof = prove_declared(function, given, seconds, setup) if found is None else None
    if found is not None:
        print(msgspec.json.encode(found).decode() if as_json else "\n".join(replay_lines(found)))
        return Exit.FINDINGS if found.finding is not None else Exit.OK
    assert proof is not None
    if as_json:
        print(msgspec.json.encode(proof).decode())
    else:
        _print(proof, consumer)
    return {"proved": Exit.OK, "disproved": Exit.FINDINGS}.get(proof.verdict, Exit.PARTIAL)


def _lines_of(name: str) -> list[bytes]:
    check_not_an_option(name, "--events")
    if name == "-":
        return sys.stdin.buffer.read().splitlines()
    try:
        return Path(name).read_bytes().splitlines()
    except FileNotFoundError:
        raise NotFound(f"there is no file {name}") from None
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from None


def _setup(store: str | None, tables: str | None) -> Setup | None:
    if store is not None and tables is not None:
        raise UsageError("--store and --tables both make the tables: give one of them")
    if store is not None:
        return copy_of(store)
    if tables is not None:
        return script(b"\n".join(_lines_of(tables)).decode(), tables)
    return None


def _print(proof: Proof, target: str) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    styles = {"disproved:": "bold red", "unknown:": "yellow", "proved:": "bold green", "NOT": "dim"}
    anomaly = f"{proof.anomaly.anomaly} " if proof.anomaly else None
    for line in lines(proof, target):
        style = "bold red" if anomaly and line.startswith(anomaly) else styles.get(line.split(" ", 1)[0], "")
        console.print(Text(line, style=style))
