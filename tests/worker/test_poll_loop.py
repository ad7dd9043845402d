"""What the poll loop makes of what its runner, its store and its source tell it.

The runner is played, and the clock; nothing waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from inorder.core.engine import Unit
from inorder.core.event import Event, Malformed, Partition, Record, Slice
from inorder.core.limits import Limits
from inorder.core.order import Order
from inorder.core.planner import NO_ROOM_S
from inorder.core.room import Room
from inorder.core.waiting import Wait, Waiting
from inorder.errors import InorderError, Unreachable
from inorder.proof.memory import MemoryStore
from inorder.worker.job import Job
from inorder.worker.worker import (
    COMMIT_EVERY_S,
    END_CHECK_S,
    FENCED_FOR_S,
    FORSAKEN_S,
    FULL_WAIT_S,
    NO_ROOM_EVERY_S,
    NOTE_EVERY_S,
    OTHERS_FIRST_S,
    OVERDUE_EVERY_S,
    REJOINS,
    REJOINS_WITHIN_S,
    ROOM_EVERY_S,
    Loop,
)

HERE, THERE = Partition("topic", 0), Partition("topic", 1)


class Hands:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.at = 1_000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.slept.append(seconds)


class Played:
    """A runner that says what it is told to."""

    def __init__(self) -> None:
        self.refused: dict[Partition, int] = {}
        self.without_room: dict[Partition, str] = {}
        self.tries = 0
        self.woken: list[Mapping[str, Any]] = []
        self.jobs: list[Job] = []
        self.done: list[Unit] = []
        self.over: list[Unit] = []
        self.dropped: list[tuple[set[Partition], float]] = []
        self.is_busy = False
        self.in_time = True
        self.watched = 0
        self.waited: list[float] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def settled(self) -> list[Unit]:
        found, self.done = self.done, []
        return found

    def lapsed(self) -> list[Unit]:
        found, self.over = self.over, []
        return found

    def drop(self, partitions: set[Partition], timeout_s: float) -> bool:
        self.dropped.append((partitions, timeout_s))
        for job in self.jobs if timeout_s else ():
            self.done += job.units  # what runs is finished
        return True

    def busy(self) -> bool:
        return self.is_busy

    def wait(self, timeout_s: float) -> None:
        self.waited.append(timeout_s)

    def watch(self, limit_s: float) -> bool:
        self.watched += 1
        return False

    def stop(self, timeout_s: float) -> bool:
        return self.in_time

    def lost(self) -> dict[Partition, int]:
        found, self.refused = self.refused, {}
        return found

    def full(self) -> dict[Partition, str]:
        return self.without_room

    def try_again(self) -> None:
        self.tries += 1

    def own(self, fences: Mapping[Partition, int], due: Mapping[str, Any] | None = None) -> None:
        self.woken.append(dict(due or {}))


class Quiet:
    """A source in a group, that gives out nothing."""

    def __init__(self) -> None:
        self.rejoined = 0
        self.paused: list[Partition] = []
        self.committed: list[dict[Partition, int]] = []
        self.ends = True
        self.gives: list[Slice] = []
        self.closed = False

    def rejoin(self) -> None:
        self.rejoined += 1

    def pause(self, partitions: Any) -> None:
        self.paused += partitions

    def resume(self, partitions: Any) -> None:
        self.paused = [one for one in self.paused if one not in partitions]

    def subscribe(self, listener: Any) -> None: ...
    def poll(self, most: int, timeout_s: float) -> list[Slice]:
        found, self.gives = self.gives, []
        return found

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        self.committed.append(dict(offsets))

    def at_end(self) -> bool:
        return self.ends

    def close(self) -> None:
        self.closed = True


class Messages(Quiet):
    """A queue, that gives out nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: list[int] = []
        self.forgotten: list[int] = []

    def settle(self, deliveries: Any) -> None:
        self.settled += deliveries

    def forget(self, deliveries: Any) -> None:
        self.forgotten += deliveries


class Noting(Quiet):
    """A source whose broker keeps notes."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[dict[Partition, str]] = []

    def note(self, notes: Mapping[Partition, str]) -> None:
        self.notes.append(dict(notes))

    def noted(self, partitions: Any) -> dict[Partition, tuple[int, str]]:
        return {}


class Plain:
    """A codec that takes every record for an event."""

    def read(self, piece: Slice) -> tuple[list[Event], list[Malformed]]:
        return [Event("k", n + 1, f"id{n}", 1, None, piece, n) for n in range(len(piece))], []


class Asked(MemoryStore):
    """A store that notes when it was asked for what is overdue, and has as many letters as it is told."""

    letters_now = 0
    since: float = 0.0
    retrying: Mapping[str, Waiting] = {}
    due_now: Mapping[str, Waiting] = {}
    away = 0
    """How many questions are not answered."""

    def acquire(self, partitions: Any) -> dict[Partition, int]:
        if self.away:
            self.away -= 1
            raise Unreachable("store: away")
        return super().acquire(partitions)

    def due(self, partitions: Any) -> dict[str, Waiting]:
        return dict(self.due_now)

    def retried(self, most: int) -> dict[str, Waiting]:
        return dict(self.retrying)

    def overdue(self, now: float, partitions: Any) -> dict[str, Any]:
        self.since = now
        return dict(self.due_now)

    def open_letters(self, most: int) -> int:
        return self.letters_now

    def crowded_keys(self, most: int) -> set[str]:
        return {"crowded"}

    def beat(self, tally: int, partitions: Any, events_per_s: float) -> bool:
        return True


class Scene:
    """A loop that has two partitions."""

    def __init__(self, source: Quiet | None = None, **limits: int) -> None:
        self.clock, self.runner, self.source = Hands(), Played(), source or Quiet()
        self.store = Asked("orders")
        self.store.register(Order.STRICT, 0)
        most = Limits(**limits)
        self.room = Room(most)
        given: Any = self.source
        control: Any = self.store
        runner: Any = self.runner
        codec: Any = Plain()
        clock: Any = self.clock
        self.loop = Loop(given, control, runner, codec, clock, most, self.room)
        self.loop.assigned([HERE, THERE])

    @property
    def owned(self) -> dict[Partition, int]:
        return dict(self.loop._engine.fences)

    def receive(self, partition: Partition, offset: int = 0, events: int = 2) -> list[Unit]:
        """So many events are polled, and handed to the runner."""
        self.source.gives = [Slice.of(partition, [Record(partition, offset + n, b"k", b"{}") for n in range(events)])]
        self.loop._turn()
        return self.runner.jobs[-1].units


def test_a_partition_that_is_refused_under_its_fence_is_let_go() -> None:
    scene = Scene()
    scene.runner.refused = {HERE: scene.owned[HERE]}
    scene.loop._collect()
    assert list(scene.owned) == [THERE]


def test_what_is_refused_of_an_earlier_ownership_is_no_news() -> None:
    scene = Scene()
    earlier = scene.owned[HERE]
    scene.loop.assigned([HERE])
    scene.runner.refused = {HERE: earlier}
    scene.loop._collect()
    assert scene.owned[HERE] > earlier
    scene.clock.at += 10 * FENCED_FOR_S
    scene.loop._check_ownership()
    assert scene.source.rejoined == 0


def refuse(scene: Scene) -> None:
    """Let the store refuse a partition for longer than a group needs to say so."""
    scene.loop.assigned([HERE])
    scene.runner.refused = {HERE: scene.owned[HERE]}
    scene.loop._collect()
    before = scene.source.rejoined
    scene.loop._check_ownership()
    assert scene.source.rejoined == before, "its group may be about to say so"
    scene.clock.at += FENCED_FOR_S + 0.1
    scene.loop._check_ownership()


def test_a_partition_that_is_refused_has_its_group_joined_anew_once() -> None:
    scene = Scene()
    refuse(scene)
    assert scene.source.rejoined == 1
    scene.clock.at += 10 * FENCED_FOR_S
    scene.loop._check_ownership()
    assert scene.source.rejoined == 1, "the group was told, and will say who has it"


def test_a_group_is_joined_anew_so_often_and_then_two_groups_are_suspected() -> None:
    scene = Scene()
    for _ in range(REJOINS):
        refuse(scene)
    assert scene.source.rejoined == REJOINS
    with pytest.raises(InorderError, match="also consumed by another group"):
        refuse(scene)
    scene.clock.at += REJOINS_WITHIN_S
    scene.loop._check_ownership()
    assert scene.source.rejoined == REJOINS + 1, "that was long ago"


def look_for_room(scene: Scene, letters: int) -> None:
    scene.store.letters_now = letters
    scene.clock.at += ROOM_EVERY_S
    scene.loop._look_for_room()


def test_what_found_no_room_is_tried_again_at_once_when_there_is_more() -> None:
    scene = Scene()
    scene.runner.without_room = {HERE: "no room"}
    look_for_room(scene, 5)
    assert (scene.source.paused, scene.runner.tries) == ([HERE], 1), "the first time"
    look_for_room(scene, 5)
    assert scene.runner.tries == 1, "nothing has changed"
    look_for_room(scene, 4)
    assert scene.runner.tries == 2
    look_for_room(scene, 4)
    assert scene.runner.tries == 2
    scene.clock.at += NO_ROOM_S
    look_for_room(scene, 4)
    assert scene.runner.tries == 3, "now and then, whatever the counts say"
    scene.runner.without_room = {}
    look_for_room(scene, 3)
    assert (scene.source.paused, scene.runner.tries) == ([], 3)


@pytest.mark.parametrize(("letters", "crowded"), [(9, False), (10, True)])
def test_keys_are_counted_as_soon_as_one_may_have_all_its_letters(letters: int, crowded: bool) -> None:
    scene = Scene(letters_per_key=10)
    scene.store.letters_now = letters
    scene.loop._read_room()
    assert (scene.room._crowded == {"crowded"}) is crowded


def test_what_is_overdue_is_looked_for_now_and_then() -> None:
    scene = Scene()
    scene.loop._look_for_overdue()
    assert scene.store.since == 0.0
    scene.clock.at += OVERDUE_EVERY_S
    scene.loop._look_for_overdue()
    assert scene.store.since == scene.clock.at
    scene.loop._queue = scene.loop._source  # type: ignore[assignment]
    scene.clock.at += OVERDUE_EVERY_S
    scene.loop._look_for_overdue()
    assert scene.store.since == scene.clock.at - OTHERS_FIRST_S, "whoever made it wait comes first"


def test_what_is_settled_is_committed_now_and_then() -> None:
    scene = Scene()
    (unit,) = scene.receive(HERE)
    scene.clock.at += COMMIT_EVERY_S
    scene.loop._collect()
    assert scene.source.committed == [], "nothing is settled"
    scene.runner.done = [unit]
    scene.clock.at += COMMIT_EVERY_S / 2
    scene.loop._collect()
    assert scene.source.committed == [], "too early"
    scene.clock.at += COMMIT_EVERY_S * 0.51
    scene.loop._collect()
    assert scene.source.committed == [{HERE: 2}]
    scene.clock.at += COMMIT_EVERY_S
    scene.loop._collect()
    assert len(scene.source.committed) == 1, "nothing new"


def test_a_partition_that_is_taken_in_good_order_is_finished_and_committed_first() -> None:
    scene = Scene()
    scene.receive(HERE)
    scene.loop.revoked([HERE])
    assert scene.runner.dropped[0] == ({HERE}, Limits().drain_s)
    assert scene.source.committed == [{HERE: 2}]
    assert list(scene.owned) == [THERE]


def test_nothing_is_committed_of_a_partition_that_somebody_else_has() -> None:
    scene = Scene()
    (unit,) = scene.receive(HERE)
    scene.loop.lost([HERE])
    assert scene.runner.dropped == [({HERE}, 0)]
    assert list(scene.owned) == [THERE]
    scene.runner.done = [unit]
    scene.loop._collect(force=True)
    assert scene.source.committed == []


def test_a_refusal_that_the_source_confirms_is_forgotten() -> None:
    scene = Scene()
    scene.runner.refused = {HERE: scene.owned[HERE]}
    scene.loop._collect()
    scene.loop.lost([HERE])
    scene.clock.at += 2 * FENCED_FOR_S
    scene.loop._check_ownership()
    assert scene.source.rejoined == 0


def test_a_worker_that_was_idle_for_long_enough_ends() -> None:
    scene = Scene()
    assert not scene.loop._idle(None), "nobody wants it to"
    assert not scene.loop._idle(5.0)
    scene.clock.at += 5.0
    assert scene.loop._idle(5.0)
    assert not scene.loop._idle(5.0), "asked a moment ago"


@pytest.mark.parametrize("why", ["busy", "no room", "more to come", "something came"])
def test_a_worker_does_not_end_while_there_is_something_to_do(why: str) -> None:
    scene = Scene()
    scene.clock.at += 5.0
    if why == "busy":
        scene.runner.is_busy = True
    elif why == "no room":
        scene.loop._engine.stall({HERE: "no room"})
    elif why == "more to come":
        scene.source.ends = False
    else:
        scene.receive(HERE)
    assert not scene.loop._idle(5.0)
    scene.runner.is_busy, scene.source.ends = False, True
    scene.loop._engine.stall({})
    scene.clock.at += max(END_CHECK_S, 5.0)
    assert scene.loop._idle(5.0)


def test_what_was_settled_last_is_committed_before_a_worker_ends() -> None:
    scene = Scene()
    scene.runner.done = scene.receive(HERE)
    scene.clock.at += 5.0
    assert scene.loop._idle(5.0)
    assert scene.source.committed == [{HERE: 2}]


@pytest.mark.parametrize(
    ("home", "overdue_s", "stays"),
    [
        (Partition("topic", 7), 0.0, True),
        (Partition("topic", 7), FORSAKEN_S + 1, False),
        (HERE, 0.0, False),
        (Partition("other", 7), 0.0, False),
        (None, 0.0, False),
    ],
    ids=["another's", "forsaken", "ours", "of another topic", "of a queue"],
)
def test_a_worker_stays_for_a_retry_whose_owner_may_be_dead(
    home: Partition | None, overdue_s: float, stays: bool
) -> None:
    scene = Scene()
    scene.store.retrying = {"k": Waiting(Wait.RETRY, 1, 0.0, scene.clock.at - overdue_s, home=home)}
    assert scene.loop._others_wait() is stays


def test_a_full_worker_waits_a_while_before_it_pauses_its_source() -> None:
    scene = Scene(in_flight_events=2)
    (unit,) = scene.receive(HERE)
    scene.loop._turn()
    assert (scene.source.paused, len(scene.runner.waited)) == ([], 1)
    scene.clock.at += FULL_WAIT_S + 0.01
    scene.loop._turn()
    assert scene.source.paused == [HERE, THERE]
    scene.runner.done = [unit]
    scene.loop._turn()
    assert scene.source.paused == []
    scene.receive(HERE, 2)
    scene.loop._turn()
    assert scene.source.paused == [], "it counts anew"


def test_a_message_is_deleted_as_soon_as_it_is_settled_and_forgotten_when_its_lease_is_over() -> None:
    source = Messages()
    scene = Scene(source)
    scene.receive(HERE, 0, 1)
    scene.receive(HERE, 1, 1)
    first, second = (unit for job in scene.runner.jobs for unit in job.units)
    scene.runner.done, scene.runner.over = [first], [second]
    scene.loop._collect()
    assert (source.settled, source.forgotten, source.committed) == ([1], [2], [])
    assert scene.loop._engine.events == 0


def test_a_note_of_what_is_settled_beyond_goes_along_now_and_then() -> None:
    source = Noting()
    scene = Scene(source)
    scene.receive(HERE, 0)
    (beyond,) = scene.receive(HERE, 2)
    scene.runner.done = [beyond]
    scene.clock.at += COMMIT_EVERY_S
    scene.loop._collect()
    assert source.committed == [], "the frontier stands still, and notes can wait"
    scene.clock.at += NOTE_EVERY_S
    scene.loop._collect()
    assert source.committed == [{HERE: 0}]
    assert (list(source.notes[0]), bool(source.notes[0][HERE])) == ([HERE], True)
    (further,) = scene.receive(HERE, 6)
    scene.runner.done = [further]
    scene.clock.at += COMMIT_EVERY_S
    scene.loop._collect()
    assert len(source.notes) == 1, "a note alone is worth a commit a second"
    scene.clock.at += NOTE_EVERY_S - COMMIT_EVERY_S
    scene.loop._collect()
    assert source.committed == [{HERE: 0}] * 2
    assert source.notes[1] != source.notes[0]
    scene.runner.done = [scene.runner.jobs[0].units[0]]
    scene.clock.at += COMMIT_EVERY_S
    scene.loop._collect()
    assert source.committed[2:] == [{HERE: 8}], "what moves is committed at once, with its note"
    assert list(source.notes[2]) == [HERE]


def test_a_store_that_is_away_is_asked_until_it_answers() -> None:
    scene = Scene()
    scene.store.away = 8
    before = scene.owned[HERE]
    scene.runner.watched = 0
    scene.loop.assigned([HERE])
    assert scene.owned[HERE] > before
    assert scene.clock.slept == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert scene.runner.watched == 8, "what keeps the store from us may be a handler of our own"


def test_nothing_is_taken_over_by_a_worker_that_was_stopped_meanwhile() -> None:
    scene = Scene()
    scene.loop.lost([HERE])
    woken = len(scene.runner.woken)
    scene.loop.stop()
    scene.loop.assigned([HERE])
    assert (list(scene.owned), len(scene.runner.woken)) == ([THERE], woken)


def test_how_keys_wait_is_told_to_the_runner_with_their_partition() -> None:
    scene = Scene()
    scene.store.due_now = {"k": Waiting(Wait.RETRY, 1, 0.0, 5.0, home=HERE)}
    scene.loop.assigned([HERE])
    assert scene.runner.woken[-1] == scene.store.due_now
    scene.clock.at += OVERDUE_EVERY_S
    scene.loop._look_for_overdue()
    assert scene.runner.woken[-1] == scene.store.due_now
    told = len(scene.runner.woken)
    scene.store.due_now = {}
    scene.clock.at += OVERDUE_EVERY_S
    scene.loop._look_for_overdue()
    assert len(scene.runner.woken) == told, "nothing is overdue"


def test_a_partition_without_room_is_told_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.runner.without_room = {HERE: "no room for a letter"}
    for _ in range(2):
        scene.loop._look_for_room()
    assert caplog.text.count("is paused: no room for a letter") == 1
    scene.clock.at += NO_ROOM_EVERY_S
    scene.loop._look_for_room()
    assert caplog.text.count("is paused") == 2
    scene.runner.without_room = {}
    scene.loop._look_for_room()
    scene.runner.without_room = {HERE: "no room for a letter"}
    scene.loop._look_for_room()
    assert caplog.text.count("is paused") == 3, "it had gone on in between"


def test_the_store_is_asked_for_room_only_while_that_matters() -> None:
    scene = Scene()
    look_for_room(scene, 7)
    assert scene.room._letters == 0, "nothing was added"
    scene.room.touched = True
    look_for_room(scene, 7)
    assert scene.room._letters == 7
    scene.room.touched = True
    scene.store.letters_now = 9
    scene.loop._look_for_room()
    assert scene.room._letters == 7, "asked a moment ago"


@pytest.mark.parametrize(("why", "stays"), [(Wait.RETRY, True), (Wait.GAP, False)])
def test_a_worker_of_a_queue_stays_for_any_retry(why: Wait, stays: bool) -> None:
    scene = Scene(Messages())
    scene.store.due_now = {
        "a": Waiting(Wait.GAP, 1, 0.0, 5.0, home=HERE),
        "k": Waiting(why, 1, 0.0, 5.0, home=HERE),
    }
    assert scene.loop._others_wait() is stays


@pytest.mark.parametrize("in_time", [True, False])
def test_a_worker_that_ends_lets_its_source_go_and_says_whether_all_was_finished(in_time: bool) -> None:
    scene = Scene()
    (unit,) = scene.receive(HERE)
    scene.runner.in_time, scene.runner.done = in_time, [unit]
    scene.loop.stop()
    assert scene.loop.run() is in_time
    assert (scene.source.closed, scene.source.committed) == (True, [{HERE: 2}])
    scene.loop.revoked([HERE])
    scene.loop.lost([HERE])
    assert scene.runner.dropped == [], "its runner has ended"


def test_handlers_that_run_on_while_a_partition_goes_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.runner.drop = lambda partitions, timeout_s: False  # type: ignore[method-assign]
    scene.loop.revoked([HERE])
    assert "handlers still run after 20 s" in caplog.text
