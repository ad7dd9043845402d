"""Which statements of SQL a test asks a store for: as lines of the files that they are in."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_HEADING = re.compile(r"^-- (\w+): .+$", re.MULTILINE)


class _Noting(dict[str, str]):
    """Statements, of which those that are asked for are noted."""

    def __init__(self, known: dict[str, str], asked: set[str]) -> None:
        super().__init__(known)
        self._asked = asked

    def __getitem__(self, name: str) -> str:
        self._asked.add(name)
        return super().__getitem__(name)


@contextmanager
def stated(root: Path, lines: dict[str, set[int]]) -> Iterator[None]:
    """Adds to `lines`, by file, what the stores are asked for inside. Only for a process that ends after it."""
    asked: dict[str, set[str]] = {"sqlite": set(), "postgres": set()}
    for name, module in list(sys.modules.items()):
        store = next((one for one in asked if name.startswith(f"inorder.stores.{one}")), None)
        if store is None:
            continue
        found: dict[str, Any] = vars(module)
        if isinstance(found.get("SQL"), dict):
            found["SQL"] = _Noting(found["SQL"], asked[store])
        if "statements_for" in found:
            found["statements_for"] = _noting(found["statements_for"], asked[store])
        # Some are kept under a name of their own, and are asked for whenever others are.
        kept = {value for value in found.values() if isinstance(value, str)}
        asked[store] |= {key for key, text in found.get("SQL", {}).items() if text in kept}
    yield
    for store, names in asked.items():
        for path in (root / "inorder/stores" / store).glob("*.sql"):
            lines[path.relative_to(root).as_posix()] = _lines(path.read_text(), names)


def _noting(function: Any, asked: set[str]) -> Any:
    return lambda schema: _Noting(function(schema), asked)


def _lines(text: str, names: set[str]) -> set[int]:
    headings = list(_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    found: set[int] = set()
    for heading, end in zip(headings, ends, strict=True):
        if heading[1] in names:
            found.update(range(text.count("\n", 0, heading.start()) + 1, text.count("\n", 0, end) + 1))
    return found
