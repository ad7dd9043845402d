"""How letters are put into words: times, ages, texts made harmless, tables. Never reads a store."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from inorder.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def harmless(text: str, lines: bool = False) -> str:
    """`text` without what would disturb a terminal; line ends and tabs stay with `lines`."""
    keep = "\n\t" if lines else ""
    return "".join(one if one.isprintable() or one in keep else one.encode("unicode_escape").decode() for one in text)


def cut(text: str, most: int) -> str:
    """The beginning of a text, on one line."""
    flat = harmless(" ".join(text.split()))
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


def stamp(at: float | None) -> str | None:
    """A time as ISO 8601, in UTC."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def age(seconds: float) -> str:
    """A length of time in one unit."""
    for unit in ("w", "d", "h", "m"):
        if seconds >= 2 * _UNITS[unit]:
            return f"{int(seconds // _UNITS[unit])} {unit}"
    return f"{int(seconds)} s" if seconds >= 1 else "under 1 s"


def takes(seconds: float) -> str:
    """How long something takes, as an estimate."""
    return age(seconds) if seconds < 1 else f"about {age(seconds)}"


def since(text: str | None, now: float) -> float:
    """The time that `30m`, `2h`, `1d` or `2026-11-23T09:00:00` means."""
    if text is None:
        return 0.0
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if found:
        return now - float(found[1]) * _UNITS[found[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since {text!r} is no time: write 30m, 2h, 1d or 2026-11-23T09:00:00") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def rate(text: str | None) -> float | None:
    """Events a second, from `50`, `50/s`, `600/m` or `1000/h`."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/([smh]))?", text)
    if not found or float(found[1]) <= 0:
        raise UsageError(f"--rate {text!r} is no rate: write 50/s, 600/m or 1000/h")
    return float(found[1]) / _UNITS[found[2] or "s"]


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def payload(value: bytes | None) -> dict[str, str | None]:
    """A payload for JSON: as text where it is text, else in base64."""
    if value is None:
        return {"text": None}
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def payload_line(value: bytes | None) -> str:
    """A payload for people: harmless, on one line."""
    if value is None:
        return "null"
    return harmless(value.decode("utf-8", "backslashreplace"))


def print_json(document: Any) -> None:
    """One document on standard output."""
    print(json.dumps(document, ensure_ascii=not _speaks_utf8(), indent=2 if sys.stdout.isatty() else None))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Columns, aligned; those in `right` to the right."""
    if sys.stdout.isatty():
        _print_bright(headings, rows, right)
        return
    widths = [max(len(row[at]) for row in (headings, *rows)) for at in range(len(headings))]
    for row in (headings, *rows):
        cells = [cell.rjust(widths[at]) if at in right else cell.ljust(widths[at]) for at, cell in enumerate(row)]
        print("  ".join(cells).rstrip())


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Names and what they are, one a line."""
    wide = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f"{name:<{wide}}  {value}")


def _print_bright(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="right" if at in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)


def _speaks_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
