"""Where in the user's code an anomaly comes from: the line that ran in the wrong order and not in the right one."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import msgspec


class Line(msgspec.Struct, frozen=True):
    """A line of the user's code."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def line(file: str, number: int) -> Line:
    """A line with its text."""
    here = Path(file)
    near = here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here
    return Line(str(near), number, linecache.getline(file, number).strip())


def traced(code: CodeType, run: Callable[[], object]) -> list[int]:
    """The lines of the code's file that ran, in their order."""
    seen: list[int] = []

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != code.co_filename:
            return None
        if event == "line":
            seen.append(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    except Exception:
        return seen
    finally:
        sys.settrace(before)
    return seen


def blamed(code: CodeType, right: list[list[int]], wrong: list[list[int]]) -> Line:
    """Given the lines of each call in the right order and in the wrong one: the first line that is not in both.

    Where the same lines ran, it is the last one of the last call: where the result was made.
    """
    usual = {number for call in right for number in call}
    for call in wrong:
        for number in call:
            if number not in usual:
                return line(code.co_filename, number)
    reached = {number for call in wrong for number in call}
    for call in right:
        for number in call:
            if number not in reached:
                return line(code.co_filename, number)
    last = next((call[-1] for call in reversed(wrong) if call), code.co_firstlineno)
    return line(code.co_filename, last)
