"""What an experiment comes to: tables, plots and verdicts, with the seed and the version that made them.

Plain data. Nothing here runs anything or writes anything: that is `report` and `drawing`.
"""

from __future__ import annotations

import msgspec

Cell = str | int | float
Point = tuple[float, float]

MORE = 0.5
"""Room around points, in lanes, where the vertical axis has lanes instead of numbers."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of figures. The first column names the row."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True, tag="line"):
    """Points that are joined: straight, or as steps."""

    label: str
    tone: str
    points: list[Point]
    steps: bool = False
    dashed: bool = False


class Dots(msgspec.Struct, frozen=True, kw_only=True, tag="dots"):
    """Points that are not."""

    label: str
    tone: str
    points: list[Point]
    hollow: bool = False


class Spans(msgspec.Struct, frozen=True, kw_only=True, tag="spans"):
    """Bars along the horizontal axis: from, to, and which lane."""

    label: str
    tone: str
    bars: list[tuple[float, float, int]]


class Links(msgspec.Struct, frozen=True, kw_only=True, tag="links"):
    """Thin lines from one point to another, such as from an arrival to its effect."""

    pairs: list[tuple[Point, Point]]


class Moments(msgspec.Struct, frozen=True, kw_only=True, tag="moments"):
    """Vertical lines with a word each."""

    at: list[tuple[float, str]]


Mark = Line | Dots | Spans | Links | Moments


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """One picture. `name` is that of its file. With `lanes`, these are the places of the vertical axis, from above."""

    name: str
    title: str
    x: str
    y: str
    marks: list[Mark]
    lanes: list[str] = []
    logarithmic: bool = False
    """Of the vertical axis."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A claim, whether this run bears it out, and by what."""

    claim: str
    holds: bool
    shown: str


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment is asked to do. `small` is for tests: the same structure from less work."""

    seed: int = 42
    broker: str = "embedded"
    kafka: str | None = None
    """host:port of a Kafka, for `broker` "kafka"."""
    sqs: str | None = None
    """The endpoint of an SQS, for `broker` "sqs"."""
    small: bool = False


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment found."""

    experiment: str
    question: str
    broker: str
    seed: int
    version: str
    setting: str
    """In one sentence, what was run."""
    options: str = ""
    """What else the command needs."""
    tables: list[Table]
    plots: list[Plot]
    verdicts: list[Verdict]
    elapsed_s: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether every claim is borne out."""
        return all(verdict.holds for verdict in self.verdicts)
