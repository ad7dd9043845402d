"""What befalls a worker process at a certain point of the stream: it is killed, or stands still.

A fate meets the first process of a crew that comes to it, and nobody else: which one that is depends on the run.
Processes of one crew agree through files in a folder.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from inorder.lab.disorder import Class
from inorder.lab.runlog import now

_SIGNALS = {Class.KILL: signal.SIGKILL, Class.FREEZE: signal.SIGSTOP}


class Met(msgspec.Struct, frozen=True):
    """A fate has met this process, at this time. `partitions` are those it had."""

    at: float

    worker: str
    life: int
    pid: int
    partitions: list[int]


class Posted(msgspec.Struct, frozen=True):
    """What a process said it has, and when."""

    at: float
    partitions: set[int]


class Board:
    """Who has which partitions, for everybody to see."""

    def __init__(self, folder: Path, crew: str) -> None:
        self._folder = folder
        self._crew = crew

    def post(self, worker: str, life: int, partitions: Iterable[int]) -> None:
        """This process has these partitions now."""
        posted = Posted(now(), set(partitions))
        _put(self._folder / f"{self._crew}-{worker}-{life}.has", msgspec.json.encode(posted))

    def owners(self) -> dict[tuple[str, int], Posted]:
        """What each process said last. One that died says nothing more."""
        found = {}
        for path in self._folder.glob(f"{self._crew}-*.has"):
            _, worker, life = path.stem.rsplit("-", 2)
            found[worker, int(life)] = msgspec.json.decode(path.read_bytes(), type=Posted)
        return found


class Fates:
    """The fates of one process. `marks` say from which delivery of the stream on they are due."""

    def __init__(self, folder: Path, crew: str, marks: Mapping[Class, int], me: Callable[[], Met]) -> None:
        self._folder = folder
        self._crew = crew
        self._open = dict(marks)
        self._me = me
        self._reached = -1

    def reached(self, delivery: int) -> None:
        """This delivery was received."""
        self._reached = max(self._reached, delivery)

    def due(self, fate: Class) -> bool:
        """Whether the mark is reached, and the fate has met nobody yet as far as this process knows."""
        return self._reached >= self._open.get(fate, self._reached + 1)

    def meet(self, fate: Class) -> None:
        """Meet the fate, unless another process was first."""
        del self._open[fate]
        if _claim(_place(self._folder, self._crew, fate), msgspec.json.encode(self._me())):
            os.kill(os.getpid(), _SIGNALS[fate])
            time.sleep(0.05)  # the signal may take its time; whoever stands still sleeps on until it goes on


def met(folder: Path, crew: str, fate: Class) -> Met | None:
    """Whom the fate has met, if anybody."""
    try:
        return msgspec.json.decode(_place(folder, crew, fate).read_bytes(), type=Met)
    except FileNotFoundError:
        return None


def _place(folder: Path, crew: str, fate: Class) -> Path:
    return folder / f"{crew}-{fate}.met"


def _put(path: Path, content: bytes) -> None:
    """Readers see the old content or the new one."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(path)


def _claim(path: Path, content: bytes) -> bool:
    """Like `_put`, but only if the file is not there yet; returns whether it was not."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(content)
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    finally:
        part.unlink()
    return True
