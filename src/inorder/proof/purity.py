"""Whether a function is what it says: nothing but its arguments goes in, and nothing but its result comes out.

It is called twice with equal arguments; what it reads and what it reaches for meanwhile is watched by Python's own
hooks. A fold is to give equal results, and may do with its event as it likes; a handler with `tx` is to write nothing
but `tx`.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import msgspec

TIMES = 6
"""Calls that are compared: what is drawn from few values is rarely the same every time."""

_CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter", "localtime", "gmtime"}
_HERE = str(Path(__file__).parent) + os.sep
_RANDOM_MODULES = {"random", "secrets", "uuid"}
_WRITING = ("w", "a", "x", "+")
_REACHING = {
    "socket.connect": "connects to a socket",
    "subprocess.Popen": "starts a process",
    "os.system": "starts a process",
    "os.remove": "removes a file",
    "os.rename": "renames a file",
    "os.mkdir": "makes a folder",
    "sqlite3.connect": "opens another database connection",
}


class Seen(NamedTuple):
    """Something that a function did beside computing, and where."""

    what: str
    file: str
    line: int


class Watch:
    """What was seen while a function ran."""

    def __init__(self, code: CodeType) -> None:
        self.file = code.co_filename
        self.reads: list[Seen] = []
        """Of a clock, or of randomness."""
        self.reaches: list[Seen] = []
        """Outside of the process, or for another connection."""

    def place(self, frame: FrameType | None) -> tuple[str, int]:
        """The innermost line of the function's own file; 0 where it is not under way."""
        while frame is not None and frame.f_code.co_filename != self.file:
            # Whoever called the function may be in the same file: what lies behind the call is not the function's.
            frame = None if frame.f_code.co_filename.startswith(_HERE) else frame.f_back
        return (self.file, frame.f_lineno if frame is not None else 0)


_watching: list[Watch] = []
_hooked: list[bool] = []


def _audit(name: str, given: tuple[Any, ...]) -> None:
    if not _watching:
        return
    what = _REACHING.get(name)
    if name == "open" and isinstance(given[1], str) and any(sign in given[1] for sign in _WRITING):
        what = f"opens {given[0]} for writing"
    if what is not None:
        watch = _watching[-1]
        file, line = watch.place(sys._getframe(1))
        if line:
            watch.reaches.append(Seen(what, file, line))


@contextmanager
def watching(code: CodeType) -> Iterator[Watch]:
    """What the code inside reads of clocks and randomness, and what it reaches for."""
    if not _hooked:
        # An audit hook stays for good; it does nothing while nobody watches.
        sys.addaudithook(_audit)
        _hooked.append(True)
    watch = Watch(code)

    def profile(frame: FrameType, event: str, found: Any) -> None:
        if event == "c_call":
            what = _reading(found)
            file, line = watch.place(frame) if what is not None else ("", 0)
            if what is not None and line:
                watch.reads.append(Seen(what, file, line))

    _watching.append(watch)
    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield watch
    finally:
        sys.setprofile(before)
        _watching.pop()


def _reading(called: Any) -> str | None:
    name, owner = getattr(called, "__name__", ""), getattr(called, "__self__", None)
    module = getattr(called, "__module__", None) or getattr(owner, "__module__", None) or getattr(owner, "__name__", "")
    if name == "urandom" or isinstance(owner, random.Random) or module in _RANDOM_MODULES:
        return "reads randomness"
    if name in _CLOCKS and module in {"time", "datetime"}:
        return "reads the clock"
    return None


def shared_state(function: Any) -> dict[str, bytes]:
    """What the function's module and its enclosing functions hold that it names and could change, encoded."""
    found: dict[str, Any] = {}
    names = set(function.__code__.co_names)
    found |= {name: value for name, value in function.__globals__.items() if name in names}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue
    encoded: dict[str, bytes] = {}
    for name, value in found.items():
        if isinstance(value, list | dict | set | int | float | str | msgspec.Struct):
            try:
                encoded[name] = msgspec.json.encode(value, order="deterministic")
            except Exception:
                encoded[name] = repr(value).encode()
    return encoded
