"""The run log: what each worker process received and decided, and when. One file for each process.

A line is written at once, so that a process that is killed leaves everything it did. Times are those of
`time.monotonic`, which all processes of a machine share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec


class Received(msgspec.Struct, frozen=True, array_like=True, tag="received"):
    """`count` consecutive deliveries of one partition were given out to the worker."""

    at: float
    partition: int
    offset: int
    count: int


class Decision(msgspec.Struct, frozen=True, array_like=True):
    """What became of one delivery."""

    partition: int
    offset: int
    outcome: str
    at: float
    waited: bool = False
    """It came back from the store, where it waited."""
    balance: int | None = None
    """What the account came to, where the consumer says so."""


class Decided(msgspec.Struct, frozen=True, array_like=True, tag="decided"):
    """One transaction was committed, at this time."""

    at: float
    decisions: list[Decision]


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """One transaction was refused.

    By "fence": so many events were of partitions that have a newer owner. By "revision": these entities had been
    changed by another worker since they were read.
    """

    at: float
    by: str
    events: int = 0
    keys: tuple[str, ...] = ()


Line = Received | Decided | Refused
_decode = msgspec.json.Decoder(Line).decode


class RunLog:
    """Writes the log of one process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, lines: Sequence[Line]) -> None:
        """Write these, in one go."""
        if lines:
            os.write(self._file, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


class Life(msgspec.Struct, frozen=True):
    """The log of one process, from its start to its end."""

    crew: str
    worker: str
    number: int
    """1 for the first process of the worker."""
    lines: list[Line]


def path_of(folder: Path, crew: str, worker: str, life: int) -> Path:
    """Where the `life`th process of a worker writes."""
    return folder / f"{crew}-{worker}-{life}.log"


def read(folder: Path, crew: str) -> list[Life]:
    """The logs of all processes of a crew."""
    found = []
    for path in sorted(folder.glob(f"{crew}-*.log")):
        _, worker, number = path.stem.rsplit("-", 2)
        *lines, _ = path.read_bytes().split(b"\n")  # what has no line end was cut off by a kill
        found.append(Life(crew, worker, int(number), [_decode(line) for line in lines]))
    return found


def now() -> float:
    """The time, as the log has it."""
    return time.monotonic()
