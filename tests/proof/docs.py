"""The page on how inorder is tested, read back."""

from __future__ import annotations

from pathlib import Path

MUTANTS_PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "testing.md"
BEGIN, END = "<!-- mutants -->", "<!-- end of mutants -->"


def table_of(page: Path) -> list[list[str]]:
    """The cells of the table of mutants, line by line, without its head."""
    text = page.read_text().split(BEGIN)[1].split(END)[0]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]
