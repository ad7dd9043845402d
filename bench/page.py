"""Writes the tables of docs/performance.md from bench/results.json: `python -m bench.page`."""

from __future__ import annotations

from pathlib import Path

from bench.process import ROOT
from bench.results import FILE, load
from bench.show import as_markdown

PAGE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- results: written by `python -m bench.page` from bench/results.json -->"
END = "<!-- end of the results -->"


def rewritten(page: str, results: Path = FILE) -> str:
    """The page with the tables that these results come to."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} has no {BEGIN} and {END}")
    return f"{head}{BEGIN}\n\n{as_markdown(list(load(results).values()))}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
