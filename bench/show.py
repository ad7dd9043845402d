"""The tables, on a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from bench import limits
from bench.results import Figure, Part, Table

FIGURES = ["figure", "goal", "found", "reached"]
WIDTH = 160


def circumstances(part: Part) -> str:
    """When, where and how it was measured, in a line."""
    cores, load = part.machine.get("cores", "?"), part.machine.get("load before", "?")
    said = (
        f"{part.date}, {cores} cores for client, database and broker together, {part.mode} run: median "
        f"(lowest..highest) of {part.rounds}, seed {part.seed}, inorder {part.machine.get('inorder', 'as Python')}, "
        f"load before it {load}, one sync of the disk {part.machine.get('sync', '?')}"
    )
    others = limits.cores(part.samples).get("others", 0.0)
    if limits.disturbed(part.samples):
        said += f". DISTURBED: other programs kept {others:.1f} cores busy meanwhile; measure again"
    return said


def figures(found: Iterable[Figure]) -> Table:
    """What was to be reached, and what was."""
    rows = [[one.what, one.shown_goal(), one.shown(), "yes" if one.reached else "NO"] for one in found]
    return Table(title="figures", columns=FIGURES, rows=rows)


def on_terminal(parts: Sequence[Part], console: Console) -> None:
    """Print the parts, then all figures."""
    for part in parts:
        for table in part.tables:
            _print(table, console)
        console.print(f"[dim]{circumstances(part)}[/dim]")
        for wrong in part.wrong:
            console.print(f"[bold red]WRONG STATE[/bold red] {wrong}")
    together = figures(figure for part in parts for figure in part.figures)
    if together.rows:
        _print(together, console)


def _print(table: Table, console: Console) -> None:
    shown = RichTable(title=table.title, caption=table.note or None, box=box.SIMPLE_HEAD, title_justify="left")
    for place, column in enumerate(table.columns):
        number = 0 < place < len(table.columns) - 1
        shown.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)


def as_markdown(parts: Sequence[Part]) -> str:
    """The same for a page."""
    lines: list[str] = []
    together = figures(figure for part in parts for figure in part.figures)
    if together.rows:
        lines += ["### Figures", "", *_rows(together), ""]
    for part in parts:
        for table in part.tables:
            lines += [f"### {table.title[0].upper()}{table.title[1:]}", "", *_rows(table), ""]
            if table.note:
                lines += [table.note, ""]
        lines += [f"_{circumstances(part)}_", ""]
    return "\n".join(lines)


def _rows(table: Table) -> list[str]:
    rule = ["---", *("---:" for _ in table.columns[2:]), "---"]
    return [f"| {' | '.join(cells)} |" for cells in (table.columns, rule, *table.rows)]
