"""Which lines of the library a test comes by, and which functions are called while modules are imported."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType

OFTEN = 200
"""A function that was called so often in one test is followed no further: all of its lines count as seen."""


@dataclass
class Seen:
    """By file, from the root of the library."""

    lines: dict[str, set[int]] = field(default_factory=dict)
    seconds: float = 0.0


@contextmanager
def covered(root: Path) -> Iterator[Seen]:
    """Looks at what is run inside, in whatever thread begins there."""
    seen, calls, prefix = Seen(), dict[CodeType, int](), f"{root}/"

    def lines(frame: FrameType, event: str, argument: object) -> object:
        if event == "line":
            seen.lines[frame.f_code.co_filename].add(frame.f_lineno)
        return lines

    def called(frame: FrameType, event: str, argument: object) -> object:
        code = frame.f_code
        if not code.co_filename.startswith(prefix):
            return None
        known = seen.lines.setdefault(code.co_filename, set())
        calls[code] = calls.get(code, 0) + 1
        if calls[code] < OFTEN:
            known.add(frame.f_lineno)
            return lines
        if calls[code] == OFTEN:
            known.update(line for _, _, line in code.co_lines() if line is not None)
        return None

    threading.settrace(called)  # type: ignore[arg-type]
    sys.settrace(called)  # type: ignore[arg-type]
    try:
        yield seen
    finally:
        sys.settrace(None)
        threading.settrace(None)
        seen.lines = {name.removeprefix(prefix): set(found) for name, found in list(seen.lines.items())}


class Imported:
    """Notes which functions of the library are called, from `with` on to `stop()`."""

    def __init__(self, root: Path) -> None:
        self._prefix = f"{root}/"
        self.called: set[tuple[str, str]] = set()

    def __enter__(self) -> Imported:
        sys.settrace(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """From here on it is tests that call them."""
        sys.settrace(None)

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if code.co_filename.startswith(self._prefix):
            self.called.add((code.co_filename, code.co_qualname))
