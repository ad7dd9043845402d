"""`inorder dlq audit`."""

from __future__ import annotations

import time
from typing import Annotated, Any

from cyclopts import Parameter

from inorder.cli.codes import Exit
from inorder.cli.dlq.asking import COUNTED, DEFAULT_STORE, Json, Store, Stream
from inorder.cli.dlq.listing import KeyFilter, Since
from inorder.cli.dlq.words import cut, print_json, print_table, since, stamp
from inorder.cli.streams import open_stream


def audit(
    *,
    store: Store = DEFAULT_STORE,
    stream: Stream = None,
    key: KeyFilter = None,
    plan: Annotated[int | None, Parameter(validator=COUNTED, help="Only this plan")] = None,
    letter: Annotated[int | None, Parameter("--id", validator=COUNTED, help="Only this letter")] = None,
    since_: Since = None,
    as_json: Json = False,
) -> int:
    """Who did what, when and why: plans, replays of each letter, edits, skips. Oldest first.

    The audit is only ever added to.
    """
    look = open_stream(store, stream)
    try:
        found = [line(row) for row in look.audit(plan, letter, key, since(since_, time.time()))]
    finally:
        look.close()
    if as_json:
        print_json(found)
    elif found:
        print_lines(found)
    else:
        print("nothing was done yet")
    return Exit.OK


def line(row: Any) -> dict[str, Any]:
    """One line of the audit as JSON."""
    names = ("actor", "action", "outcome", "plan", "letter", "key", "version", "reason", "detail")
    return {"id": row.id, "at": stamp(row.at), **{name: getattr(row, name) for name in names}}


def print_lines(found: list[dict[str, Any]]) -> None:
    """The audit for people."""
    rows = [
        (
            row["at"],
            cut(row["actor"], 20),
            row["action"] + (f" {row['outcome']}" if row["outcome"] else ""),
            "" if row["plan"] is None else str(row["plan"]),
            "" if row["letter"] is None else str(row["letter"]),
            "" if row["key"] is None else cut(row["key"], 30),
            "" if row["version"] is None else str(row["version"]),
            cut(row["reason"], 40),
            cut(row["detail"] or "", 70),
        )
        for row in found
    ]
    headings = ("at", "who", "what", "plan", "id", "key", "version", "why", "detail")
    print_table(headings, rows, right=(3, 4, 6))
