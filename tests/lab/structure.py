"""What of a result must not differ from run to run: its tables' columns and rows, its plots, its claims."""

from __future__ import annotations

import re
from typing import Any

from inorder.lab.results import Links, Moments, Result

_NUMBERS = re.compile(r"\d[\d,.]*")


def structure(found: Result) -> dict[str, Any]:
    """The result without its figures."""
    return {
        "tables": [(_plain(t.title), t.columns, [_plain(str(row[0])) for row in t.rows]) for t in found.tables],
        "plots": [
            (p.name, _plain(p.title), p.x, p.y, [m.label for m in p.marks if not isinstance(m, Links | Moments)])
            for p in found.plots
        ],
        "claims": [_plain(verdict.claim) for verdict in found.verdicts],
        "question": found.question,
        "setting": _plain(found.setting),
    }


def _plain(text: str) -> str:
    return _NUMBERS.sub("N", text)
