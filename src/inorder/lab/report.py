"""Writes what an experiment found: `report.md`, `report.json` and one SVG for each plot. The only writer of results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from inorder.errors import UsageError
from inorder.lab.drawing import svg
from inorder.lab.results import Cell, Result, Table


def prepare(folder: Path) -> None:
    """Make the folder. Raises `UsageError` where that cannot be, before anything is run for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror or error}; give another --out") from None


def write(result: Result, folder: Path) -> None:
    """All of it, into `folder`. Files of the same names are replaced."""
    prepare(folder)
    for plot in result.plots:
        (folder / f"{plot.name}.svg").write_text(svg(plot))
    document = msgspec.json.format(msgspec.json.encode(result), indent=1)
    (folder / "report.json").write_bytes(document + b"\n")
    (folder / "report.md").write_text(f"# {result.experiment}\n\n{markdown(result)}")


def read(folder: Path) -> Result:
    """What was written there."""
    return msgspec.json.decode((folder / "report.json").read_bytes(), type=Result)


def markdown(result: Result, pictures: str = "", parts: Sequence[str] = ()) -> str:
    """The report without a heading. `pictures` goes before the name of each picture's file.

    `parts` are those to show, all by default: setting, table-1, table-2, …, the names of plots, verdicts.
    """
    shown_parts = _parts(result, pictures)
    if unknown := set(parts) - shown_parts.keys():
        raise ValueError(f"{result.experiment} has no {sorted(unknown)[0]}: it has {', '.join(shown_parts)}")
    lines = [line for name, found in shown_parts.items() if not parts or name in parts for line in found]
    return "\n".join([*lines, f"*{stamp(result)}*", ""])


def _parts(result: Result, pictures: str) -> dict[str, list[str]]:
    found = {"setting": [f"{result.question} {result.setting}", ""]}
    for number, table in enumerate(result.tables, 1):
        found[f"table-{number}"] = list(_table(table))
    for plot in result.plots:
        found[plot.name] = [f"![{plot.title}]({pictures}{plot.name}.svg)", ""]
    words = {True: "Holds", False: "**Does not hold**"}
    found["verdicts"] = [*(f"- {words[one.holds]}: {one.claim} ({one.shown})" for one in result.verdicts), ""]
    return found


def stamp(result: Result) -> str:
    """What made it."""
    command = f"inorder lab {result.experiment} --seed {result.seed}"
    broker = "" if result.broker == "embedded" else f" --broker {result.broker}"
    return (
        f"inorder {result.version}, seed {result.seed}, {result.elapsed_s:.1f} s: `{command}{broker}{result.options}`"
    )


def _table(table: Table) -> Iterator[str]:
    yield f"**{table.title}**"
    yield ""
    yield f"| {' | '.join(table.columns)} |"
    yield f"|{'|'.join('---' if place == 0 or not _numeric(table, place) else '--:' for place in _places(table))}|"
    for row in table.rows:
        yield f"| {' | '.join(shown(cell).replace('|', '/') for cell in row)} |"
    yield ""
    if table.note:
        yield table.note
        yield ""


def _places(table: Table) -> range:
    return range(len(table.columns))


def _numeric(table: Table, place: int) -> bool:
    return all(not isinstance(row[place], str) for row in table.rows)


def shown(cell: Cell) -> str:
    """A cell as people read it."""
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.3g}" if abs(cell) < 1_000 else f"{cell:,.0f}"  # noqa: PLR2004
