"""What a run of the benches found, as it is kept in bench/results.json and shown in tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

FILE = Path(__file__).with_name("results.json")


class Spread(msgspec.Struct, frozen=True):
    """The median of several runs, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """The spread of these; at least one."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))

    def shown(self, form: str = ",.0f", unit: str = "") -> str:
        """As it stands in a table: the median, and the range in brackets where there is one."""
        if self.low == self.high:
            return f"{self.median:{form}}{unit}"
        return f"{self.median:{form}}{unit} ({self.low:{form}}..{self.high:{form}})"


class Sample(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One run of one arm."""

    arm: str
    round: int
    events: int
    seconds: float
    cores: dict[str, float] = {}
    """Processors kept busy: by the client, the database, the broker, and others that have nothing to do with it."""
    max_rss_mib: int = 0
    wrong: int | None = None
    """Entities whose final state is not the true one; None where that was not asked."""
    details: dict[str, Any] = {}

    @property
    def rate(self) -> float:
        """Deliveries a second."""
        return self.events / self.seconds


Samples = Sequence[Sample]


def rates(samples: Samples) -> Spread:
    """Deliveries a second."""
    return Spread.of(sample.rate for sample in samples)


def ratio(above: Samples, below: Samples) -> Spread:
    """How many times as fast: run by run, so that what slows a whole round down is not seen as a difference."""
    return Spread.of(a.rate / b.rate for a, b in zip(above, below, strict=True))


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number that the library is to reach, and what was found."""

    what: str
    goal: float
    found: Spread
    unit: str = " x"
    at_most: bool = False
    """The goal is an upper limit."""

    @property
    def reached(self) -> bool:
        """Whether the median is as good as the goal."""
        return self.found.median <= self.goal if self.at_most else self.found.median >= self.goal

    def shown_goal(self) -> str:
        """As it stands in a table."""
        return f"{'≤' if self.at_most else '≥'} {self.goal:,g}{self.unit}"

    def shown(self) -> str:
        """As it stands in a table."""
        return self.found.shown(",.0f" if self.found.median >= 100 else ",.2f", self.unit)  # noqa: PLR2004


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table as it is shown: cells are texts."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


class Part(msgspec.Struct, kw_only=True):
    """What one part of the benches found, with all that it takes to judge it."""

    name: str
    tables: list[Table]
    figures: list[Figure] = []
    samples: list[Sample] = []
    wrong: list[str] = []
    """Arms that ended in a wrong state although they must not."""
    date: str = ""
    mode: str = ""
    rounds: int = 0
    seed: int = 0
    machine: dict[str, str] = {}


def load(path: Path = FILE) -> dict[str, Part]:
    """The parts that are kept, by name, each from the last run that had it."""
    if not path.exists():
        return {}
    return {part.name: part for part in msgspec.json.decode(path.read_bytes(), type=list[Part])}


def save(parts: dict[str, Part], path: Path = FILE) -> None:
    """Keep these."""
    found = msgspec.json.format(msgspec.json.encode(list(parts.values())), indent=1)
    path.write_bytes(found + b"\n")
