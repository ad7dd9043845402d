"""The closing document of `inorder run`, for machines and for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import msgspec

from inorder.worker.settings import Report

_BAD = {"conflict", "late", "dead_lettered"}


def print_report(found: Report, as_json: bool) -> None:
    """To standard output."""
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    lines = list(_lines(found))
    wide = max(len(name) for name, _, _ in lines), max(len(count) for _, count, _ in lines)
    bright = sys.stdout.isatty()
    for name, count, note in lines:
        line = f"{name:<{wide[0]}}  {count:>{wide[1]}}"
        if bright:
            _print_bright(line, note, bad=name in _BAD)
        else:
            print(f"{line}  {note}")


def _lines(found: Report) -> Iterator[tuple[str, str, str]]:
    """Name, count and what it means."""
    yield "received", f"{found.received:,}", f"stream {found.stream}, {_pace(found)}"
    for outcome, count in found.outcomes.items():
        if count or outcome == "applied":
            yield outcome, f"{count:,}", _meaning(outcome)
    if found.released:
        yield "released", f"{found.released:,}", "had been held, and were applied in their turn"
    if found.retries:
        yield "retries", f"{found.retries:,}", "attempts of a handler after a failed one"
    if found.held_now:
        yield "held now", f"{found.held_now:,}", "wait for their predecessors"
    if found.parked_keys:
        yield "parked keys", f"{found.parked_keys:,}", "stopped until somebody decides"


def _print_bright(line: str, note: str, *, bad: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble((line, "bold red" if bad else ""), "  ", (note, "dim"))
    Console(highlight=False, soft_wrap=True).print(text)


def _pace(found: Report) -> str:
    return f"{found.elapsed_s:.1f} s, {found.events_per_s:,.0f} events/s"


def _meaning(outcome: str) -> str:
    return {
        "applied": "took effect",
        "duplicate": "had taken effect, or was waiting, already",
        "stale": "older than the state, and not needed",
        "held": "early; wait in the store",
        "parked": "wait behind an event that failed",
        "conflict": "another event has their version: dead letters",
        "late": "needed, but their version was skipped: dead letters",
        "dead_lettered": "could not be read, or failed: dead letters",
        "replayed": "were dead letters, and took effect when they were replayed",
    }[outcome]
