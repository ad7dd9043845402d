"""What the poll loop hands to a runner: decoded deliveries, with the units to report when they are settled."""

from __future__ import annotations

from collections.abc import Collection

from inorder.core.engine import Unit
from inorder.core.event import Event, Malformed, Partition, Slice


class Job:
    """Decoded deliveries of one or more slices."""

    __slots__ = ("events", "malformed", "pieces")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.malformed: list[Malformed] = []
        self.pieces: list[tuple[Unit, Slice]] = []

    def __len__(self) -> int:
        return len(self.events) + len(self.malformed)

    def add(self, unit: Unit, piece: Slice, events: list[Event], malformed: list[Malformed]) -> None:
        """Add one slice as its codec read it."""
        self.pieces.append((unit, piece))
        self.events += events
        self.malformed += malformed

    def absorb(self, other: Job) -> None:
        """Take over everything of a later job."""
        self.pieces += other.pieces
        self.events += other.events
        self.malformed += other.malformed

    def without(self, partitions: Collection[Partition]) -> None:
        """Leave out what came from partitions that are no longer ours."""
        self.pieces = [piece for piece in self.pieces if piece[0].partition not in partitions]
        self.events = [event for event in self.events if event.slice.partition not in partitions]
        self.malformed = [one for one in self.malformed if one.slice.partition not in partitions]

    @property
    def units(self) -> list[Unit]:
        """What to report as settled when the job is through."""
        return [unit for unit, _ in self.pieces]

    @property
    def fences(self) -> dict[Partition, int]:
        """The partitions this job's deliveries came from, with the fence they were received under."""
        return {unit.partition: unit.fence for unit, _ in self.pieces}
