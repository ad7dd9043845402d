"""`inorder top`: the keys that are busiest, as a running `inorder run --metrics` says. Never reads a store."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from inorder.cli.codes import Exit
from inorder.cli.dlq.words import age, cut, print_json, print_table
from inorder.errors import InorderError, UsageError

_CLEAR = "\x1b[H\x1b[J"


def top(
    address: Annotated[str, Parameter(help="PORT or HOST:PORT of --metrics")] = "9464",
    /,
    *,
    watch: Annotated[bool, Parameter(negative=(), show_default=False, help="Again and again, until Ctrl-C")] = False,
    every: Annotated[float, Parameter(validator=Number(gte=0.1), help="Seconds between two looks")] = 2.0,
    as_json: Annotated[
        bool, Parameter("--json", negative=(), show_default=False, help="One document; with --watch, one a line")
    ] = False,
) -> int:
    """The keys with the most effects of the last one to two minutes, and those that wait.

    It asks a run that was started with --metrics, which names keys to its own
    machine alone.
    """
    if not watch:
        found = _ask(address)
        print_json(found) if as_json else _print(found)
        return Exit.OK
    try:
        while True:
            found = _ask(address)
            if as_json:
                print(json.dumps(found), flush=True)
            else:
                print(_CLEAR if sys.stdout.isatty() else "", end="")
                _print(found)
                sys.stdout.flush()
            time.sleep(every)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _ask(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        raise UsageError(
            f"{address!r} is no place of a run: write the PORT or HOST:PORT that it was given as --metrics"
        )
    place = f"{host or 'localhost'}:{port}"
    try:
        with urllib.request.urlopen(f"http://{place}/keys", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        raise InorderError(f"{place} says: {error.read(200).decode(errors='replace').strip()}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InorderError(f"no run answers at {place}: {reason}; is it started with --metrics {port}?") from None


def _print(found: dict[str, Any]) -> None:
    print(f"stream {found['stream']}: {found['effects']:,} effects in the last one to two minutes")
    if found["busiest"]:
        print()
        rows = [(cut(row["key"], 50), f"{row['effects']:,}", f"{row['share']:.1%}") for row in found["busiest"]]
        print_table(("busiest key", "effects", "share"), rows, right=(1, 2))
    if found["held"]:
        print()
        print_table(
            ("key", "events behind it"), [(cut(row["key"], 50), f"{row['events']:,}") for row in found["held"]], (1,)
        )
    if found["parked"]:
        print()
        parked = [
            (cut(row["key"], 50), f"{row['version']:,}", age(row["age_s"]), cut(row["why"], 60))
            for row in found["parked"]
        ]
        print_table(("parked key", "version", "for", "why"), parked, right=(1, 2))
