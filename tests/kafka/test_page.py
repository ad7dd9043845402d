"""The table of pitfalls names tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
ROWS = [
    (cells[1].strip(), re.findall(r"`([^`]+)`", cells[2]))
    for line in (ROOT / "docs" / "kafka.md").read_text().partition("<!-- pitfalls -->")[2].splitlines()[4:]
    if len(cells := line.split("|")) == 4
]


def test_there_is_a_row_for_each_pitfall() -> None:
    assert len(ROWS) >= 38
    assert len({pitfall for pitfall, _ in ROWS}) == len(ROWS)
    assert all(tests for _, tests in ROWS)


@pytest.mark.parametrize("named", sorted({name for _, names in ROWS for name in names}))
def test_each_named_test_is_there(named: str) -> None:
    path, _, name = named.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
