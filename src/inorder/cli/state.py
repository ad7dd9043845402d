"""`inorder state`: what a store says of each entity. Never writes, and never creates a store."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter

from inorder.cli.codes import Exit
from inorder.cli.streams import open_stream
from inorder.errors import NotFound
from inorder.worker.settings import DEFAULT_STORE

_CHUNK = 500


def state(
    key: Annotated[str | None, Parameter(help="Only this entity")] = None,
    /,
    *,
    store: Annotated[str, Parameter(help="sqlite:///path.db or postgresql://…")] = DEFAULT_STORE,
    stream: Annotated[str | None, Parameter(help="Which stream, where the store has several")] = None,
    as_json: Annotated[
        bool,
        Parameter(
            "--json", negative=(), show_default=False, help="JSON Lines on a terminal too, as they are when piped"
        ),
    ] = False,
) -> int:
    """Print the state of each entity, sorted by key.

    JSON Lines of key, version and state, which is null where inorder does not
    keep it: handlers, unlike folds, have it in tables of their own.
    """
    look = open_stream(store, stream)
    try:
        rows = _states(look, key)
        if as_json or not sys.stdout.isatty():
            for name, version, data in rows:
                text = json.dumps(name, ensure_ascii=False)
                print(f'{{"key":{text},"version":{version},"state":{data}}}')
        else:
            _print_table(rows)
    finally:
        look.close()
    return Exit.OK


def _states(look: Any, key: str | None) -> Iterator[tuple[str, int, str]]:
    found = False
    for name, version, data in look.states(None if key is None else [key]):
        found = True
        yield name, version, "null" if data is None else bytes(data).decode()
    if key is not None and not found:
        raise NotFound(f"stream {look.stream} has no entity {key!r}")


def _print_table(rows: Iterator[tuple[str, int, str]]) -> None:
    from itertools import islice

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    heading = True
    # In chunks, since a store may have more entities than fit into memory.
    while chunk := list(islice(rows, _CHUNK)):
        table = Table(box=None, show_header=heading, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("key", no_wrap=True)
        table.add_column("version", justify="right", no_wrap=True)
        table.add_column("state", overflow="fold")
        for name, version, data in chunk:
            shown = json.dumps(name, ensure_ascii=False)[1:-1]
            table.add_row(Text(shown), f"{version:,}", Text(data))
        console.print(table)
        heading = False
