"""One lane never runs two events, keeps their order, and loses none; lanes take turns."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from inorder.core.event import Event, Partition, Record, Slice
from inorder.core.lanes import Lanes
from tests.core.profiles import examples

PIECES = [Slice.of(Partition("topic", n), [Record(Partition("topic", n), 0, None, None)]) for n in range(2)]


def event(key: str, number: int, partition: int = 0) -> Event:
    return Event(key, number, f"{key}{number}", number, None, PIECES[partition], 0)


@dataclass(frozen=True)
class Add:
    key: str
    partition: int


@dataclass(frozen=True)
class Start:
    most: int


@dataclass(frozen=True)
class Over:
    """A running lane has finished its first `done` events; the rest is put back."""

    which: int
    done: int


@dataclass(frozen=True)
class KeepBack:
    """Of what a lane has started, all but the first is kept back for now."""

    which: int


@dataclass(frozen=True)
class TakeBack:
    """A running lane is as if it had not been started."""

    which: int


@dataclass(frozen=True)
class Drop:
    partition: int


steps = st.lists(
    st.one_of(
        st.builds(Add, st.sampled_from("abc"), st.integers(0, 1)),
        st.builds(Add, st.sampled_from("abc"), st.integers(0, 1)),
        st.builds(Start, st.integers(1, 3)),
        st.builds(Over, st.integers(0, 2), st.integers(0, 3)),
        st.builds(KeepBack, st.integers(0, 2)),
        st.builds(TakeBack, st.integers(0, 2)),
        st.builds(Drop, st.integers(0, 1)),
    ),
    max_size=60,
)


class Watched:
    """Lanes, beside plain queues of what each key is still to run."""

    def __init__(self, at_once: int) -> None:
        self.lanes = Lanes(at_once)
        self.queues: dict[str, deque[Event]] = {key: deque() for key in "abc"}
        self.running: dict[str, list[Event]] = {}
        self.added = 0

    def take(self, step: object) -> None:
        if isinstance(step, Add):
            self.added += 1
            self.queues[step.key].append(event(step.key, self.added, step.partition))
            self.lanes.add(self.queues[step.key][-1])
        elif isinstance(step, Start):
            self.start(step.most)
        elif isinstance(step, Drop):
            self.drop(step.partition)
        elif self.running:
            assert isinstance(step, Over | KeepBack | TakeBack)
            key = sorted(self.running)[step.which % len(self.running)]
            if isinstance(step, Over):
                self.over(key, step.done)
            elif isinstance(step, KeepBack):
                self.keep_back(key)
            else:
                self.take_back(key)
        self.check()

    def start(self, most: int) -> bool:
        """Start the next lane; returns whether there was one."""
        idle = {key for key, queue in self.queues.items() if queue and key not in self.running}
        events = self.lanes.start(most)
        assert bool(events) == bool(idle), f"{idle} could start, {events} did"
        if not events:
            return False
        key = events[0].key
        assert key not in self.running, f"{key} runs twice"
        assert events == [self.queues[key].popleft() for _ in events]
        assert len(events) == most or not self.queues[key]
        self.running[key] = events
        return True

    def over(self, key: str, done: int) -> None:
        rest = self.running.pop(key)[done:]
        self.queues[key].extendleft(reversed(rest))
        if rest:
            self.lanes.put_back(key, rest)
        else:
            self.lanes.finish(key)

    def keep_back(self, key: str) -> None:
        first, *rest = self.running[key]
        self.running[key] = [first]
        self.queues[key].extendleft(reversed(rest))
        self.lanes.keep_back(key, rest)

    def take_back(self, key: str) -> None:
        events = self.running.pop(key)
        self.queues[key].extendleft(reversed(events))
        self.lanes.take_back(key, events)

    def drop(self, partition: int) -> None:
        piece = PIECES[partition]
        gone = [one for queue in self.queues.values() for one in queue if one.slice is piece]
        self.queues = {key: deque(one for one in queue if one.slice is not piece) for key, queue in self.queues.items()}
        dropped = self.lanes.drop(lambda one: one.slice is piece)
        assert sorted(one.version for one in dropped) == sorted(one.version for one in gone)

    def check(self) -> None:
        assert self.lanes.queued == sum(map(len, self.queues.values()))
        assert self.lanes.running == len(self.running)

    def finish(self) -> None:
        """Run everything to its end."""
        while self.start(2) or self.running:
            for key in list(self.running):
                self.over(key, done=2)
        assert self.lanes.queued == 0
        assert not any(self.queues.values())


@given(steps, st.integers(0, 3))
@examples(400)
def test_a_lane_runs_one_after_the_other_in_order_and_to_the_end(course: list[object], at_once: int) -> None:
    watched = Watched(at_once)
    for step in course:
        watched.take(step)
    watched.finish()


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40))
@examples(100)
def test_lanes_start_in_the_order_in_which_they_became_ready(keys: list[str]) -> None:
    """So no lane starves: however much comes for the others, it starts after one turn of each."""
    lanes = Lanes()
    for number, key in enumerate(keys):
        lanes.add(event(key, number))
    turns: list[str] = []
    while found := lanes.start():
        turns.append(found[0].key)
        lanes.finish(found[0].key)
    queues = {key: keys.count(key) for key in dict.fromkeys(keys)}
    expected: list[str] = []
    while any(queues.values()):
        for key, left in queues.items():
            if left:
                expected.append(key)
                queues[key] -= 1
    assert turns == expected


def rounds(lanes: Lanes, at_once: int) -> list[list[str]]:
    """What runs together until all is through, when all handlers take the same time."""
    found: list[list[str]] = []
    while now := [events[0].key for _ in range(at_once) if (events := lanes.start())]:
        found.append(now)
        for key in now:
            lanes.finish(key)
    return found


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 6))
@examples(200)
def test_a_long_lane_is_not_what_all_wait_for_in_the_end(lengths: list[int], at_once: int) -> None:
    """The best there is takes as long as the longest lane, or as all together keep the places busy."""
    lanes = Lanes(at_once)
    for number, length in enumerate(lengths):
        for version in range(length):
            lanes.add(event(f"key-{number}", version))
    least = max(*lengths, -(-sum(lengths) // at_once))
    turns = -(-len(lengths) // at_once)
    assert len(rounds(lanes, at_once)) <= 1.5 * least + 2 * turns


def test_the_longest_lane_goes_on_at_once_beside_many_short_ones() -> None:
    lanes, short = Lanes(4), [f"key-{number}" for number in range(60)]
    for key in ["long", *short]:
        for version in range(30 if key == "long" else 1):
            lanes.add(event(key, version))
    assert sum("long" in now for now in rounds(lanes, 4)[:20]) == 20


def test_a_lane_that_has_just_its_share_waits_for_its_turn() -> None:
    lanes = Lanes(2)
    first, second, other = event("a", 0), event("a", 1), event("b", 2)
    for one in (first, second, other):
        lanes.add(one)
    assert lanes.start() == [first]
    lanes.finish("a")
    assert lanes.start() == [other]


def test_lanes_that_are_taken_back_start_in_the_order_in_which_they_would_have() -> None:
    lanes = Lanes(2)
    for number, key in enumerate("abcaabc"):
        lanes.add(event(key, number))
    started = [lanes.start(2) for _ in "ab"]
    for events in reversed(started):
        lanes.take_back(events[0].key, events)
    assert (lanes.queued, lanes.running) == (7, 0)
    assert [lanes.start(2) for _ in "ab"] == started
    assert [lanes.start()[0].key, lanes.start()] == ["c", []]


def test_of_a_lane_that_is_taken_back_nothing_may_be_left() -> None:
    lanes = Lanes()
    for number, key in enumerate("ab"):
        lanes.add(event(key, number))
    lanes.start()
    lanes.take_back("a", [])
    assert (lanes.start()[0].key, lanes.start()) == ("b", [])


def test_a_lane_is_long_by_what_is_queued() -> None:
    lanes = Lanes(2)
    assert not lanes.long("a")
    for number, key in enumerate("aab"):
        lanes.add(event(key, number))
    assert (lanes.long("a"), lanes.long("b")) == (True, False)
    lanes.start()
    assert not lanes.long("a"), "as much as the others"


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=60))
@examples(200)
def test_however_long_some_lanes_are_the_others_get_every_second_start(keys: list[str]) -> None:
    """Also when most places are taken for good, and the long lanes are fed for ever."""
    lanes = Lanes(8)
    for number, key in enumerate(keys):
        lanes.add(event(key, number))
    lanes.add(event("short", 0))
    started: list[str] = []
    for _ in range(2 * len(set(keys)) + 1):
        (found,) = lanes.start()
        started.append(found.key)
        lanes.add(event(found.key, 0))
        lanes.finish(found.key)
    assert "short" in started
