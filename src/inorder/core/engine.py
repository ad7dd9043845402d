"""The engine: what the partitions of one worker are owed. Inputs go in, commands come out, nothing else happens.

    in:   assigned, revoked, received, settled, lapsed
    out:  Commit(partition, offset, note), Settle(deliveries), Pause(partitions), Resume(partitions)

What to do with each event is the planner's and the lanes' business. The engine knows which deliveries are under way,
under which fence, and how far each partition may be committed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from inorder.core.event import Partition, Slice
from inorder.core.frontier import Frontier
from inorder.core.limits import Limits
from inorder.core.offset_map import Beyond, decode, encode


class Commit(msgspec.Struct, frozen=True):
    """Everything of this partition below `offset` is settled. `note` says what is beyond it: see `offset_map`."""

    partition: Partition
    offset: int
    note: str = ""


class Settle(msgspec.Struct, frozen=True):
    """These deliveries of a queue are settled, whatever became of others."""

    deliveries: tuple[int, ...]


class Pause(msgspec.Struct, frozen=True):
    """The worker is full: give out nothing of these."""

    partitions: tuple[Partition, ...]


class Resume(msgspec.Struct, frozen=True):
    """There is room again."""

    partitions: tuple[Partition, ...]


Command = Commit | Settle | Pause | Resume


class Unit(msgspec.Struct, frozen=True, gc=False):
    """One or more consecutive deliveries that are settled together. `fence` tells one ownership from the next."""

    partition: Partition
    fence: int
    next_offset: int
    events: int
    bytes: int


class Engine:
    """The partitions of one worker, their frontiers, and whether there is room for more.

    `notes`: the source keeps a short text with each commit.
    """

    def __init__(self, limits: Limits, notes: bool = False) -> None:
        self._limits = limits
        self._notes = notes
        self._frontiers: dict[Partition, Frontier | None] = {}
        """None: a queue, whose deliveries are settled one by one."""
        self._fences: dict[Partition, int] = {}
        self._beyond: dict[Partition, Beyond] = {}
        self._moved: set[Partition] = set()
        self._ahead: set[Partition] = set()
        self._done: list[int] = []
        self._paused = False
        self._stalled: set[Partition] = set()
        self.events = 0
        """Events received and not settled, of the partitions that are ours."""
        self.bytes = 0
        self._load: dict[Partition, tuple[int, int]] = {}

    @property
    def fences(self) -> dict[Partition, int]:
        """The partitions that are ours, with the fence each was taken under."""
        return self._fences

    @property
    def full(self) -> bool:
        """Whether a limit on what is under way has been reached. What stands still for want of room is not counted."""
        events, size = self._moving()
        return events >= self._limits.in_flight_events or size >= self._limits.in_flight_bytes

    @property
    def stalled(self) -> bool:
        """Whether a partition stands still for want of room in the store."""
        return bool(self._stalled)

    def assigned(
        self,
        fences: Mapping[Partition, int],
        queue: bool = False,
        noted: Mapping[Partition, tuple[int, str]] | None = None,
    ) -> list[Command]:
        """These partitions are ours from now on, under these fences. What is under way of them from before is not.

        A queue is ours together with others. `noted`: the offset that a partition begins at, and the note that was
        committed with it.
        """
        self.revoked(fences)
        for partition, (offset, note) in (noted or {}).items():
            if partition in fences and (runs := decode(offset, note)):
                self._beyond[partition] = Beyond(offset, runs)
        for partition, fence in fences.items():
            self._frontiers[partition] = None if queue else Frontier()
            self._fences[partition] = fence
            self._load[partition] = (0, 0)
        return [Pause(tuple(fences))] if self._paused and fences else []

    def revoked(self, partitions: Iterable[Partition]) -> None:
        """These are no longer ours. What is still under way of them will be ignored when it settles."""
        for partition in partitions:
            if partition in self._fences:
                del self._frontiers[partition], self._fences[partition]
                events, size = self._load.pop(partition)
                self.events -= events
                self.bytes -= size
                self._moved.discard(partition)
                self._stalled.discard(partition)
                self._ahead.discard(partition)
                self._beyond.pop(partition, None)

    def fresh(self, piece: Slice) -> Iterator[Slice]:
        """What of a slice is still to be done, to be received one by one: most often all of it."""
        beyond = self._beyond.get(piece.partition)
        if beyond is None:
            yield piece
            return
        for start, stop in beyond.undone(piece):
            yield piece.part(start, stop)
        if not beyond:
            del self._beyond[piece.partition]
        # What an earlier owner has settled lies between these, and behind them.
        frontier = self._frontiers[piece.partition]
        if frontier is not None and frontier.passed(piece.next_offset):
            self._moved.add(piece.partition)
        else:
            self._ahead.add(piece.partition)

    def received(self, piece: Slice, size: int) -> Unit | None:
        """A slice arrived, of `size` bytes, to be settled as a whole. None if its partition is not ours."""
        fence = self._fences.get(piece.partition)
        if fence is None:
            return None
        unit = Unit(piece.partition, fence, piece.next_offset, len(piece), size)
        frontier = self._frontiers[piece.partition]
        if frontier is not None:
            frontier.received(piece.offset(0), unit.next_offset)
        self._add(unit.partition, unit.events, unit.bytes)
        return unit

    def settled(self, unit: Unit) -> None:
        """A unit is durably done. One of an earlier ownership is nobody's business any more."""
        if self._fences.get(unit.partition) != unit.fence:
            return
        self._add(unit.partition, -unit.events, -unit.bytes)
        frontier = self._frontiers[unit.partition]
        if frontier is None:
            self._done.append(unit.next_offset)
        elif frontier.settled(unit.next_offset):
            self._moved.add(unit.partition)
        else:
            self._ahead.add(unit.partition)

    def lapsed(self, unit: Unit) -> None:
        """The lease of a unit ended before work on it began: the queue gives it to somebody again."""
        if self._fences.get(unit.partition) == unit.fence:
            self._add(unit.partition, -unit.events, -unit.bytes)

    def settlements(self) -> list[Settle]:
        """What of queues has been settled since the last call."""
        done, self._done = self._done, []
        return [Settle(tuple(done))] if done else []

    def commits(self, ahead: bool = False) -> list[Commit]:
        """How far each partition that has moved since the last call may be committed.

        `ahead`: also those of which something was settled beyond the frontier, where the source keeps a note of that.
        """
        chosen = self._moved | self._ahead if ahead and self._notes else self._moved
        found: list[Commit] = []
        for partition in sorted(chosen):
            frontier = self._frontiers[partition]
            if frontier is not None and frontier.position is not None:
                note = encode(frontier.position, frontier.beyond()) if self._notes else ""
                found.append(Commit(partition, frontier.position, note))
        self._ahead -= chosen
        self._moved.clear()
        return found

    def room(self) -> list[Command]:
        """Pause or resume, where the load calls for a change. Resumes at half of the limit, so as not to flap."""
        if not self._paused and self.full:
            self._paused = True
            return [Pause(tuple(self._fences))]
        if self._paused:
            events, size = self._moving()
            if events <= self._limits.in_flight_events // 2 and size <= self._limits.in_flight_bytes // 2:
                self._paused = False
                return [Resume(tuple(one for one in self._fences if one not in self._stalled))]
        return []

    def stall(self, full: Collection[Partition]) -> list[Command]:
        """Of these partitions, and no others, the next event finds no room in the store: they are paused."""
        now = {partition for partition in full if partition in self._fences}
        more, fewer = tuple(sorted(now - self._stalled)), tuple(sorted(self._stalled - now))
        self._stalled = now
        commands: list[Command] = [Pause(more)] if more else []
        return [*commands, Resume(fewer)] if fewer and not self._paused else commands

    def _moving(self) -> tuple[int, int]:
        """Events and bytes received and not settled, but for those that stand still."""
        if not self._stalled:
            return self.events, self.bytes
        still = [self._load[partition] for partition in self._stalled]
        return self.events - sum(events for events, _ in still), self.bytes - sum(size for _, size in still)

    def _add(self, partition: Partition, events: int, size: int) -> None:
        had = self._load[partition]
        self._load[partition] = had[0] + events, had[1] + size
        self.events += events
        self.bytes += size
