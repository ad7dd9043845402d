"""What the poll loop hands to a runner: deliveries, with the units to report when they are settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple
from zlib import crc32

from inorder.core.engine import Unit
from inorder.core.event import Event, Malformed, Partition, Slice


class Job:
    """Deliveries of one or more slices, and what has been read from them so far."""

    __slots__ = ("_settled_by_others", "decided", "events", "malformed", "pieces")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.malformed: list[Malformed] = []
        self.pieces: list[tuple[Unit, Slice]] = []
        self.decided = False
        """Whether some of it has been decided before: its payloads may have been changed by whoever was given them."""
        self._settled_by_others: dict[Partition, int] = {}

    def __len__(self) -> int:
        return len(self.events) + len(self.malformed)

    def add(self, unit: Unit, piece: Slice, events: Iterable[Event] = (), malformed: Iterable[Malformed] = ()) -> None:
        """Add one slice, as its codec read it or unread."""
        self.pieces.append((unit, piece))
        self.events += events
        self.malformed += malformed

    def absorb(self, other: Job) -> None:
        """Take over everything of a later job."""
        self.pieces += other.pieces
        self.events += other.events
        self.malformed += other.malformed
        self.decided |= other.decided
        self._settled_by_others.update(other._settled_by_others)

    def without(self, partitions: Collection[Partition]) -> None:
        """Leave out what came from partitions that are no longer ours."""
        self.pieces = [piece for piece in self.pieces if piece[0].partition not in partitions]
        self.events = [event for event in self.events if event.slice.partition not in partitions]
        self.malformed = [one for one in self.malformed if one.slice.partition not in partitions]
        for partition in partitions:
            self._settled_by_others.pop(partition, None)

    def split(self, partition: Partition, first: Event | Malformed | None = None) -> Job:
        """Take out what came from a partition, from `first` on where that is given. Its slices go with it."""
        out, stays, fence = Job(), first is not None, self.fences.get(partition)
        kept: list[Event] = []
        for event in self.events:
            stays = stays and event is not first
            (kept if stays or event.slice.partition != partition else out.events).append(event)
        out.pieces = [piece for piece in self.pieces if piece[0].partition == partition]
        out.malformed = [one for one in self.malformed if one.slice.partition == partition]
        self.without([partition])
        self.events, out.decided = kept, self.decided
        if fence is not None:
            # Not what was taken out says so: its slices may have gone before.
            self._settled_by_others[partition] = fence
        return out

    def shares(self, count: int) -> list[Job]:
        """The same, divided by key: the events of a key stay together, in their order.

        A slice goes with each job that has something of it, and one that nothing came of with the first.
        """
        jobs = [Job() for _ in range(count)]
        parts: list[set[int]] = [set() for _ in jobs]
        for event in self.events:
            at = shard_of(event.key, count)
            jobs[at].events.append(event)
            parts[at].add(id(event.slice))
        jobs[0].malformed = self.malformed
        parts[0].update(id(one.slice) for one in self.malformed)
        for unit, piece in self.pieces:
            for job in [job for job, part in zip(jobs, parts, strict=True) if id(piece) in part] or jobs[:1]:
                job.pieces.append((unit, piece))
        return jobs

    @property
    def units(self) -> list[Unit]:
        """What to report as settled when the job is through."""
        return [unit for unit, _ in self.pieces]

    @property
    def fences(self) -> dict[Partition, int]:
        """The partitions this job's deliveries came from, with the fence they were received under."""
        return self._settled_by_others | {unit.partition: unit.fence for unit, _ in self.pieces}


def shard_of(key: str, count: int) -> int:
    """Which of `count` runners has the events of a key.

    From the high end of the hash: librdkafka puts a key into partition `crc32 % partitions`, so that the keys of one
    partition have the low end in common.
    """
    return crc32(key.encode()) * count >> 32


def merged(queue: deque[Job], most: int) -> Job:
    """The next job of a queue, with those behind it as long as they have up to `most` events together."""
    job = queue.popleft() if queue else Job()
    while queue and len(job) + len(queue[0]) <= most:
        job.absorb(queue.popleft())
    return job


class Turn(NamedTuple):
    """What is brought to its outcomes at once: a job, the keys that are due, and the fences that are ours."""

    job: Job
    due: list[str]
    fences: Mapping[Partition, int]
