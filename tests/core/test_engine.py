"""Nothing is committed beyond what is settled, by whoever owns the partition now; the load is what is under way."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from inorder.core.engine import Commit, Engine, Pause, Resume, Unit
from inorder.core.event import Partition, Record, Slice
from inorder.core.limits import Limits
from tests.core.profiles import examples

PARTITIONS = [Partition("topic", 0), Partition("topic", 1)]
LIMITS = Limits(in_flight_events=10, in_flight_bytes=100)


@dataclass(frozen=True)
class Assign:
    partitions: frozenset[int]


@dataclass(frozen=True)
class Revoke:
    partitions: frozenset[int]


@dataclass(frozen=True)
class Receive:
    partition: int
    events: int
    size: int
    gap: int


@dataclass(frozen=True)
class Settle:
    """One of the units that were ever received and not settled."""

    which: int


@dataclass(frozen=True)
class Look:
    """The worker commits, and pauses or resumes."""


some = st.frozensets(st.integers(0, 1), min_size=1)
steps = st.lists(
    st.one_of(
        st.builds(Assign, some),
        st.builds(Revoke, some),
        st.builds(Receive, st.integers(0, 1), st.integers(1, 6), st.integers(0, 60), st.integers(0, 3)),
        st.builds(Receive, st.integers(0, 1), st.integers(1, 6), st.integers(0, 60), st.integers(0, 3)),
        st.builds(Settle, st.integers(0, 10)),
        st.builds(Settle, st.integers(0, 10)),
        st.builds(Look),
    ),
    max_size=60,
)


@dataclass
class Ownership:
    """One time that a partition was ours."""

    fence: int
    received: list[Unit] = field(default_factory=list)
    settled: list[Unit] = field(default_factory=list)
    committed: int | None = None

    @property
    def frontier(self) -> int | None:
        prefix = list(takewhile(self.settled.__contains__, self.received))
        return prefix[-1].next_offset if prefix else None

    @property
    def under_way(self) -> list[Unit]:
        return [unit for unit in self.received if unit not in self.settled]


class Watched:
    """An engine, beside all that ever happened."""

    def __init__(self) -> None:
        self.engine = Engine(LIMITS)
        self.owned: dict[Partition, Ownership] = {}
        self.open: list[Unit] = []
        self.fence = 0
        self.offset = 0
        self.paused = False

    def take(self, step: object) -> None:
        if isinstance(step, Assign):
            self.assign([PARTITIONS[n] for n in sorted(step.partitions)])
        elif isinstance(step, Revoke):
            self.engine.revoked([PARTITIONS[n] for n in step.partitions])
            for n in step.partitions:
                self.owned.pop(PARTITIONS[n], None)
        elif isinstance(step, Receive):
            self.receive(PARTITIONS[step.partition], step)
        elif isinstance(step, Settle) and self.open:
            self.settle(self.open.pop(step.which % len(self.open)))
        elif isinstance(step, Look):
            self.look()
        under_way = [unit for owned in self.owned.values() for unit in owned.under_way]
        assert self.engine.events == sum(unit.events for unit in under_way)
        assert self.engine.bytes == sum(unit.bytes for unit in under_way)
        assert self.engine.fences == {partition: owned.fence for partition, owned in self.owned.items()}

    def assign(self, partitions: list[Partition]) -> None:
        fences = {}
        for partition in partitions:
            self.fence += 1
            fences[partition] = self.fence
            self.owned[partition] = Ownership(self.fence)
        found = self.engine.assigned(fences)
        assert found == ([Pause(tuple(partitions))] if self.paused else [])

    def receive(self, partition: Partition, step: Receive) -> None:
        first = self.offset + step.gap
        self.offset = first + step.events
        piece = Slice.of(partition, [Record(partition, n, None, None) for n in range(first, self.offset)])
        unit = self.engine.received(piece, step.size)
        if partition not in self.owned:
            assert unit is None
            return
        owned = self.owned[partition]
        assert unit == Unit(partition, owned.fence, self.offset, step.events, step.size)
        owned.received.append(unit)
        self.open.append(unit)

    def settle(self, unit: Unit) -> None:
        """Some time, at whoever it is by now, the work on a unit is over."""
        self.engine.settled(unit)
        owned = self.owned.get(unit.partition)
        if owned is not None and owned.fence == unit.fence:
            owned.settled.append(unit)

    def look(self) -> None:
        expected = []
        for partition, owned in sorted(self.owned.items()):
            if owned.frontier != owned.committed and owned.frontier is not None:
                assert owned.committed is None or owned.frontier > owned.committed
                owned.committed = owned.frontier
                expected.append(Commit(partition, owned.frontier))
        assert self.engine.commits() == expected
        assert self.engine.commits() == []
        events, size = self.engine.events, self.engine.bytes
        found = self.engine.room()
        if not self.paused and (events >= 10 or size >= 100):
            self.paused = True
            assert found == [Pause(tuple(self.engine.fences))]
        elif self.paused and events <= 5 and size <= 50:
            self.paused = False
            assert found == [Resume(tuple(self.engine.fences))]
        else:
            assert found == []


@given(steps)
@examples(400)
def test_commits_loads_and_pauses_follow_from_what_is_settled(course: list[object]) -> None:
    watched = Watched()
    for step in course:
        watched.take(step)
    for unit in watched.open:
        watched.settle(unit)
    watched.open.clear()
    watched.take(Look())
    assert (watched.engine.events, watched.engine.bytes, watched.paused) == (0, 0, False)
