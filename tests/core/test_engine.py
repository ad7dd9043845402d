"""Nothing is committed beyond what is settled, by whoever owns the partition now; the load is what is under way.

What a commit notes as done beyond it was done, and whoever begins there is not given it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from inorder.core.engine import Commit, Engine, Pause, Resume, Unit
from inorder.core.event import Partition, Record, Slice
from inorder.core.limits import Limits
from inorder.core.offset_map import decode
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

    ahead: bool


some = st.frozensets(st.integers(0, 1), min_size=1)
steps = st.lists(
    st.one_of(
        st.builds(Assign, some),
        st.builds(Revoke, some),
        st.builds(Receive, st.integers(0, 1), st.integers(1, 6), st.integers(0, 60), st.integers(0, 3)),
        st.builds(Receive, st.integers(0, 1), st.integers(1, 6), st.integers(0, 60), st.integers(0, 3)),
        st.builds(Settle, st.integers(0, 10)),
        st.builds(Settle, st.integers(0, 10)),
        st.builds(Look, st.booleans()),
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

    firsts: dict[int, int] = field(default_factory=dict)
    """The first offset of each unit, by the one after its last."""
    told: int = 0
    """How many units were settled at the last commit."""

    @property
    def frontier(self) -> int | None:
        """The end of the unbroken run of settled units; None before any is settled."""
        prefix = list(takewhile(self.settled.__contains__, self.received))
        return prefix[-1].next_offset if prefix else None

    @property
    def position(self) -> int | None:
        """Where whoever comes next is to begin: the same, or past what the broker does not have there."""
        return self.firsts[self.under_way[0].next_offset] if self.under_way else self.frontier

    @property
    def beyond(self) -> list[tuple[int, int]]:
        """What is settled beyond the frontier, and what the broker does not have there."""
        starts = [(self.firsts[unit.next_offset], unit.next_offset) for unit in self.under_way]
        ends = [self.received[-1].next_offset] if self.received else []
        borders = zip([end for _, end in starts], [start for start, _ in starts[1:]] + ends, strict=False)
        return [(end, start) for end, start in borders if start > end]

    @property
    def under_way(self) -> list[Unit]:
        return [unit for unit in self.received if unit not in self.settled]


class Watched:
    """An engine, beside all that ever happened."""

    def __init__(self) -> None:
        self.engine = Engine(LIMITS, notes=True)
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
            self.look(step.ahead)
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
        owned.firsts[unit.next_offset] = first
        self.open.append(unit)

    def settle(self, unit: Unit) -> None:
        """Some time, at whoever it is by now, the work on a unit is over."""
        self.engine.settled(unit)
        owned = self.owned.get(unit.partition)
        if owned is not None and owned.fence == unit.fence:
            owned.settled.append(unit)

    def look(self, ahead: bool) -> None:
        commits = self.engine.commits(ahead)
        told = {commit.partition: commit for commit in commits}
        assert [commit.partition for commit in commits] == sorted(told)
        for partition, owned in self.owned.items():
            moved = owned.frontier is not None and owned.frontier != owned.committed
            if partition in told:
                commit = told[partition]
                assert commit.offset == owned.position
                assert decode(commit.offset, commit.note) == owned.beyond
                owned.committed = owned.frontier
                owned.told = len(owned.settled)
            else:
                assert not moved
                assert not ahead or owned.told == len(owned.settled), "what is settled beyond the frontier is told"
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
    watched.take(Look(ahead=False))
    assert (watched.engine.events, watched.engine.bytes, watched.paused) == (0, 0, False)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), min_size=1, max_size=12), st.data())
@examples(300)
def test_whoever_begins_there_is_given_what_is_left_once(shape: list[tuple[int, int]], data: st.DataObject) -> None:
    """One owner after another: each settles some of what it is given, notes that, and is gone. Slices differ."""
    exist: list[int] = []
    for gap, count in shape:
        first = exist[-1] + 1 + gap if exist else 0
        exist += range(first, first + count)
    home = PARTITIONS[0]
    done: list[int] = []
    begins: tuple[int, str] = (0, "")
    for fence in range(1, 20):
        engine = Engine(Limits(), notes=True)
        engine.assigned({home: fence}, noted={home: begins})
        left = [offset for offset in exist if offset >= begins[0]]
        units: list[tuple[Unit, list[int]]] = []
        while left:
            count = data.draw(st.integers(1, len(left)))
            records, left = [Record(home, n, None, None) for n in left[:count]], left[count:]
            for piece in engine.fresh(Slice.of(home, records)):
                unit = engine.received(piece, 0)
                assert unit is not None
                units.append((unit, [piece.offset(at) for at in range(len(piece))]))
        given_out = [offset for _, offsets in units for offset in offsets]
        assert sorted(given_out + done) == exist, "what is not done, and nothing twice"
        if not units:
            break
        for unit, offsets in data.draw(st.permutations(units))[: 1 + len(units) // 2]:
            engine.settled(unit)
            done += offsets
        for commit in engine.commits(ahead=True):
            begins = commit.offset, commit.note
    assert sorted(done) == exist


def test_a_source_that_keeps_no_notes_is_asked_to_commit_only_what_moves() -> None:
    engine, home = Engine(Limits()), PARTITIONS[0]
    engine.assigned({home: 1})
    first, second = (engine.received(Slice.of(home, [Record(home, offset, None, None)]), 0) for offset in (0, 1))
    assert first is not None
    assert second is not None
    engine.settled(second)
    assert engine.commits(ahead=True) == []
    engine.settled(first)
    assert engine.commits() == [Commit(home, 2)]
