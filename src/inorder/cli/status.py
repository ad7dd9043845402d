"""`inorder status`: streams, what waits, what failed, replays and workers. Never writes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from inorder.cli.codes import Exit
from inorder.cli.dlq.words import age, count, cut, print_json, print_table
from inorder.cli.streams import open_stream, streams_of
from inorder.observe.status import status_of
from inorder.worker.settings import DEFAULT_STORE

_CLEAR = "\x1b[H\x1b[J"


def status(
    *,
    store: Annotated[str, Parameter(help="sqlite:///path.db or postgresql://…")] = DEFAULT_STORE,
    stream: Annotated[str | None, Parameter(help="Only this stream")] = None,
    watch: Annotated[bool, Parameter(negative=(), show_default=False, help="Again and again, until Ctrl-C")] = False,
    every: Annotated[float, Parameter(validator=Number(gte=0.1), help="Seconds between two looks")] = 2.0,
    as_json: Annotated[
        bool, Parameter("--json", negative=(), show_default=False, help="One document; with --watch, one a line")
    ] = False,
) -> int:
    """What a store says of its streams: rates, what waits, parked keys, dead letters, replays, workers.

    events/s is what live workers received over their last seconds. A worker
    that gave no sign of life for 15 s is called silent: it was killed, or it
    cannot reach the store.
    """
    if not watch:
        _show(_documents(store, stream), as_json)
        return Exit.OK
    try:
        while True:
            found = _documents(store, stream)
            if as_json:
                print(json.dumps(found), flush=True)
            else:
                _show_again(found)
            time.sleep(every)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _documents(store: str, stream: str | None) -> dict[str, Any]:
    found = []
    for row in streams_of(store):
        if stream is not None and row.name != stream:
            continue
        look = open_stream(store, row.name)
        try:
            found.append(status_of(look, row.order.value))
        finally:
            look.close()
    if not found:
        open_stream(store, stream)  # says what is wrong with the name
    return {"streams": found}


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for at, one in enumerate(found["streams"]):
        if at:
            print()
        _print(one)


def _show_again(found: dict[str, Any]) -> None:
    print(_CLEAR if sys.stdout.isatty() else "", end="")
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    _show(found, as_json=False)
    sys.stdout.flush()


def _print(one: dict[str, Any]) -> None:
    pairs = list(_lines(one))
    wide = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f"{name:<{wide}}  {value}")
    if one["parked"]:
        print()
        rows = [
            (cut(row["key"], 40), f"{row['version']:,}", f"{row['behind']:,}", age(row["age_s"]), cut(row["why"], 60))
            for row in one["parked"]
        ]
        print_table(("parked key", "version", "behind", "for", "why"), rows, right=(1, 2, 3))
    if one["workers"]:
        print()
        workers = [
            (
                row["worker"],
                str(row["run"]),
                "live" if row["live"] else f"silent for {age(row['seen_s_ago'])}",
                age(row["runs_s"]),
                f"{row['events_per_s']:,.0f}",
                ranges(row["partitions"]) or "none",
            )
            for row in one["workers"]
        ]
        print_table(("worker", "run", "state", "up", "events/s", "partitions"), workers, right=(1, 3, 4))


def _lines(one: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "stream", f"{one['stream']}, order {one['order']}"
    outcomes = ", ".join(f"{n:,} {name}" for name, n in one["outcomes"].items() if n)
    yield "received", f"{one['received']:,}: {outcomes or 'nothing yet'}; now {one['events_per_s']:,.0f} events/s"
    yield "held", f"{count(one['held'], 'event')}{_waiting(one['waiting_keys'])}"
    letters = sum(row["open"] for row in one["dead_letters"])
    by_reason = ", ".join(
        f"{row['open']:,} {row['reason']} ({count(row['keys'], 'key')}, the oldest {age(row['oldest_age_s'])})"
        for row in one["dead_letters"]
    )
    yield "letters", f"{letters:,} open{': ' if by_reason else ''}{by_reason}"
    if one["replay"]:
        found = one["replay"]["letters"]
        parts = ", ".join(f"{n:,} {name}" for name, n in found.items() if n)
        yield "replay", f"plan {one['replay']['plan']} by {one['replay']['actor']}: {parts}"
    live = [row for row in one["workers"] if row["live"]]
    partitions = sum(len(row["partitions"]) for row in live)
    silent = len(one["workers"]) - len(live)
    yield "workers", f"{len(live)} live, {count(partitions, 'partition')}{f'; {silent} silent' if silent else ''}"


def _waiting(found: dict[str, Any]) -> str:
    names = {"gap": "for a missing version", "retry": "for a retry", "parked": "parked", "replay": "in a replay"}
    parts = [
        f"{count(row['keys'], 'key')} {names[why]} (the oldest {age(row['oldest_age_s'])})"
        for why, row in found.items()
    ]
    return f"; {', '.join(parts)}" if parts else ""


def ranges(partitions: list[str]) -> str:
    """`entries/0-3 entries/7` for 0, 1, 2, 3 and 7."""
    runs: list[tuple[str, int, int]] = []
    for name, number in sorted((name, int(number)) for name, _, number in (one.rpartition("/") for one in partitions)):
        if runs and runs[-1][0] == name and runs[-1][2] == number - 1:
            runs[-1] = name, runs[-1][1], number
        else:
            runs.append((name, number, number))
    return " ".join(f"{name}/{first}" if first == last else f"{name}/{first}-{last}" for name, first, last in runs)
