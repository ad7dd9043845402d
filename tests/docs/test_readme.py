"""What the README shows works as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from inorder.declaration import Kind, declaration_of

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
HANDLER_LINES = 15


def test_the_handler_runs_and_is_short() -> None:
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line.strip()]) < HANDLER_LINES
    found: dict[str, Any] = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec"), found)
    assert declaration_of(found["balance"]).kind is Kind.FOLD
    entry = found["Entry"](id="a", account="x", version=1, amount=5)
    assert found["balance"](None, entry) == entry.amount
