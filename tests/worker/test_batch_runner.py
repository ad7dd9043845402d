"""The two halves of a batch runner: what its thread does with what is queued, and what the poll loop may ask of it.

Pure: no thread runs. What it would do is called by hand, and whoever waits has something happen meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from inorder.core.engine import Unit
from inorder.core.event import Event, Partition, Record, Slice
from inorder.core.planner import NoRoom, Outage
from inorder.core.waiting import AT_ONCE, NEVER, Wait, Waiting
from inorder.errors import HandlerTimeout, Unreachable
from inorder.worker import runner as running
from inorder.worker.job import Job
from inorder.worker.pool import Left
from inorder.worker.runner import FIRST_PAUSE_S, LONGEST_PAUSE_S, BatchRunner
from inorder.worker.timers import Timers
from tests.worker.played import HERE, THERE, Seen, Still

FENCES = {HERE: 7, THERE: 8}
RETRY = Waiting(Wait.RETRY, 1, 0.0, 1_000.0, home=HERE)
MERGE = 4


class Thread:
    """One that never runs, and ends when it is told to, or not."""

    ends = True

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], name: str, daemon: bool) -> None:
        assert daemon, "a handler that hangs must not keep the process"
        self.target, self.args = target, args
        self.started = 0
        self.joined: list[float] = []

    def start(self) -> None:
        self.started += 1

    def join(self, timeout_s: float) -> None:
        self.joined.append(timeout_s)

    def is_alive(self) -> bool:
        return not self.ends


class Condition:
    """Nobody else is there: whoever waits has `meanwhile` happen."""

    def __init__(self) -> None:
        self.held = False
        self.told = 0
        self.waits: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def __enter__(self) -> None:
        assert not self.held
        self.held = True

    def __exit__(self, *_: object) -> None:
        self.held = False

    def notify_all(self) -> None:
        assert self.held
        self.told += 1

    def wait(self, timeout_s: float) -> None:
        assert self.held
        self.waits.append(timeout_s)
        self.held = False
        self.meanwhile()
        self.held = True

    def wait_for(self, holds: Callable[[], Any], timeout_s: float) -> bool:
        if not holds():
            self.wait(timeout_s)
        return bool(holds())


class Store:
    def __init__(self) -> None:
        self.told: list[str] = []

    def close(self) -> None:
        self.told.append("closed")

    def abandon(self) -> None:
        self.told.append("abandoned")


class Finisher:
    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


class Batches:
    """Notes what it is given. Each run ends as it is told to: with what is returned, or raised."""

    def __init__(self) -> None:
        self.timers, self.observer = Timers(), Seen()
        self.effect = SimpleNamespace(now_at=None, barred={}, finisher=Finisher())
        self.aside: list[tuple[NoRoom, Job]] = []
        self.runs: list[tuple[list[str], list[str], dict[Partition, int]]] = []
        self.ends: list[dict[Partition, int] | BaseException] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def run(self, job: Job, due: list[str], fences: Mapping[Partition, int]) -> dict[Partition, int]:
        self.runs.append(([event.key for event in job.events], due, dict(fences)))
        self.effect.now_at = job.events[0] if job.events else None
        self.meanwhile()
        end = self.ends.pop(0) if self.ends else {}
        if isinstance(end, BaseException):
            raise end
        return end


class Scene:
    """A runner that owns two partitions."""

    def __init__(self) -> None:
        self.clock = Still()
        self.made: list[tuple[Store, Batches]] = []
        self.runner = BatchRunner(self.make, self.clock, MERGE)
        self.runner.own(FENCES)
        self.condition.told = 0

    def make(self) -> Any:
        self.made.append((Store(), Batches()))
        return self.made[-1]

    @property
    def condition(self) -> Any:
        return self.runner._condition

    @property
    def thread(self) -> Any:
        return self.runner._thread

    @property
    def batches(self) -> Batches:
        return self.made[-1][1]

    @property
    def runs(self) -> list[list[str]]:
        """The keys of each run's events."""
        return [keys for keys, _, _ in self.batches.runs]

    def next(self, batches: Batches | None = None) -> bool:
        """One turn of the thread."""
        return self.runner._next(batches or self.batches)  # type: ignore[arg-type]

    def submit(self, keys: str, partition: Partition = HERE) -> Job:
        made = job(keys, partition)
        self.runner.submit(made)
        return made

    def lacks_room(self, keys: str, partition: Partition = HERE) -> Job:
        """A job that found no room is set aside, the partition's first."""
        made = self.submit(keys, partition)
        self.batches.meanwhile = lambda: self.batches.aside.append(no_room(made))
        assert self.next()
        self.batches.meanwhile = lambda: None
        return made


def job(keys: str, partition: Partition = HERE) -> Job:
    """One slice, with an event of each key."""
    made = Job()
    piece = Slice.of(partition, [Record(partition, n, b"", b"") for n in range(len(keys))])
    unit = Unit(partition, FENCES[partition], piece.next_offset, len(piece), 0)
    made.add(unit, piece, [Event(key, 3, key, 1, None, piece, n) for n, key in enumerate(keys)], [])
    return made


def no_room(of: Job) -> tuple[NoRoom, Job]:
    error = NoRoom(of.events[0], "no room")
    return error, of.split(error.partition, error.first)


@pytest.fixture
def thrown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was thrown into which thread."""
    found: list[Any] = []
    monkeypatch.setattr(running, "throw", lambda error, thread: found.append((error, thread)))
    return found


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, thrown: list[Any]) -> Scene:
    monkeypatch.setattr(running, "threading", SimpleNamespace(Thread=Thread, Condition=Condition))
    return Scene()


# What is queued, and settled.


def test_jobs_run_in_their_order_under_the_fences_we_have(scene: Scene) -> None:
    assert scene.thread.started == 1
    scene.submit("abc")
    scene.submit("de")
    assert scene.condition.told == 2, "the thread may be waiting for them"
    assert scene.next()
    assert scene.next()
    assert scene.batches.runs == [(["a", "b", "c"], [], FENCES), (["d", "e"], [], FENCES)]


def test_what_has_queued_up_goes_together_up_to_so_many_events(scene: Scene) -> None:
    for keys in ("ab", "cd", "e", "fghij", "k"):
        scene.submit(keys)
    while scene.runner.busy():
        scene.next()
        scene.runner.settled()
    assert scene.runs == [list("abcd"), list("e"), list("fghij"), list("k")]


def test_units_are_settled_when_the_batch_is_written_and_not_before(scene: Scene) -> None:
    units = [*scene.submit("a").units, *scene.submit("b", THERE).units]
    seen: list[Any] = []
    scene.batches.meanwhile = lambda: seen.append((scene.runner.settled(), scene.runner.busy()))
    scene.condition.told = 0
    scene.next()
    assert seen == [([], True)]
    assert scene.runner.busy(), "there is something to take over"
    assert scene.condition.told == 1, "the poll loop may be waiting for it"
    assert scene.runner.settled() == units
    assert scene.runner.settled() == []
    assert not scene.runner.busy()
    assert scene.batches.effect.now_at is None, "nothing is there that could hang"


def test_what_the_store_refuses_is_told_once_with_the_fence_it_refused(scene: Scene) -> None:
    lost = scene.submit("a")
    scene.batches.meanwhile = lambda: lost.without([HERE])
    scene.batches.ends = [{HERE: 7}]
    scene.next()
    assert scene.runner.settled() == []
    assert (scene.runner.lost(), scene.runner.lost()) == ({HERE: 7}, {})


def test_a_refusal_is_of_the_fence_that_was_refused_whatever_is_ours_by_then(scene: Scene) -> None:
    scene.submit("a")
    scene.batches.meanwhile = lambda: scene.runner.own({HERE: 9, THERE: 8})
    scene.batches.ends = [{HERE: 7}]
    scene.next()
    assert scene.runner.lost() == {HERE: 7}


def test_nothing_lapses(scene: Scene) -> None:
    assert scene.runner.lapsed() == []


def test_a_runner_whose_thread_has_died_says_of_what(scene: Scene) -> None:
    scene.submit("a")
    scene.batches.ends = [ValueError("a bug")]
    scene.condition.told = 0
    scene.thread.target(*scene.thread.args)
    assert scene.condition.told == 1, "the poll loop may be waiting"
    with pytest.raises(ValueError, match="a bug"):
        scene.runner.settled()
    scene.runner.wait(5.0)
    assert scene.runner.drop({HERE}, 9.0)
    assert scene.condition.waits == [], "there is nothing more to wait for"


def test_a_thread_that_ends_closes_its_store(scene: Scene) -> None:
    scene.submit("a")
    scene.batches.meanwhile = lambda: setattr(scene.runner, "_stopping", True)
    scene.thread.target(*scene.thread.args)
    assert scene.made[0][0].told == ["closed"]
    assert len(scene.runner.settled()) == 1, "what was written counts, whoever has stopped it"


# Due times.


def test_a_thread_sleeps_until_something_is_due_or_comes(scene: Scene) -> None:
    scene.runner.own(FENCES, {"k": Waiting(Wait.RETRY, 1, 0.0, 1_000.5)})

    def pass_time() -> None:
        scene.clock.at += scene.condition.waits[-1]

    scene.condition.meanwhile = pass_time
    assert scene.next()
    assert (scene.condition.waits, scene.batches.runs) == ([0.5], [([], ["k"], FENCES)])
    scene.condition.waits.clear()
    scene.condition.meanwhile = lambda: scene.runner.submit(job("a"))
    assert scene.next()
    assert scene.condition.waits == [60.0], "and looks at the clock now and then, which may have been set"
    assert scene.runs[1] == ["a"]


def test_what_is_due_goes_with_what_is_queued(scene: Scene) -> None:
    scene.runner.own(FENCES, {"k": RETRY, "later": Waiting(Wait.GAP, 1, 0.0, 1_000.1)})
    assert scene.condition.told == 1, "it may be due before what the thread waits for"
    scene.submit("a")
    scene.next()
    assert scene.batches.runs == [(["a"], ["k"], FENCES)]
    assert scene.condition.waits == []


def test_a_runner_is_busy_while_an_event_waits_for_its_retry(scene: Scene) -> None:
    assert not scene.runner.busy()
    scene.runner.own(FENCES, {"k": Waiting(Wait.GAP, 1, 0.0, 5_000.0)})
    assert not scene.runner.busy(), "a gap may never be filled"
    scene.runner.own(FENCES, {"k": Waiting(Wait.RETRY, 1, 0.0, 5_000.0)})
    assert scene.runner.busy()
    scene.runner.own(FENCES, {"k": None})  # type: ignore[dict-item]
    scene.submit("a")
    assert scene.runner.busy(), "a job is queued"


def test_the_fences_of_a_batch_are_those_of_the_moment_it_begins(scene: Scene) -> None:
    mine = {HERE: 7}
    scene.runner.own(mine)
    mine[THERE] = 8
    scene.submit("a")
    scene.batches.meanwhile = lambda: scene.runner.own({HERE: 9})
    scene.next()
    assert scene.batches.runs == [(["a"], [], {HERE: 7})]


# Partitions that go.


def test_what_is_queued_of_a_partition_that_goes_is_forgotten(scene: Scene) -> None:
    scene.submit("ab")
    scene.submit("c", THERE)
    assert scene.runner.drop({HERE}, 9.0)
    assert scene.condition.waits == [], "nothing runs"
    scene.next()
    assert scene.runs == [["c"]]
    assert [unit.partition for unit in scene.runner.settled()] == [THERE]


@pytest.mark.parametrize("ends", [True, False])
def test_what_runs_while_a_partition_goes_is_waited_for(scene: Scene, ends: bool) -> None:
    scene.submit("a")
    said: list[bool] = []

    def end() -> None:
        scene.runner._current = None if ends else scene.runner._current

    scene.condition.meanwhile = end
    scene.batches.meanwhile = lambda: said.append(scene.runner.drop({HERE}, 9.0))
    scene.next()
    assert (said, scene.condition.waits) == ([ends], [9.0])


def test_what_begins_after_a_partition_went_is_not_waited_for(scene: Scene) -> None:
    scene.submit("a")
    said: list[bool] = []
    scene.condition.meanwhile = lambda: setattr(scene.runner, "_current", job("b"))
    scene.batches.meanwhile = lambda: said.append(scene.runner.drop({HERE}, 9.0))
    scene.next()
    assert said == [True]


# Without room.


def test_what_found_no_room_is_kept_with_all_that_follows_it_there_until_it_is_tried_again(scene: Scene) -> None:
    scene.lacks_room("ab")
    assert scene.runner.settled() == [], "it stays with the broker"
    assert scene.runner.full() == {HERE: "no room"}
    scene.submit("c")
    scene.submit("d", THERE)
    scene.next()
    assert scene.runs[1:] == [["d"]]
    assert [unit.partition for unit in scene.runner.settled()] == [THERE]
    assert scene.runner.full() == {HERE: "no room"}
    scene.submit("e", THERE)
    scene.condition.told = 0
    scene.runner.try_again()
    assert scene.condition.told == 1, "the thread may be waiting"
    assert scene.runner.full() == {HERE: "no room"}, "it is being tried"
    scene.next()
    assert scene.runs[2:] == [["a", "b", "c", "e"]], "in the order it came"
    assert scene.runner.full() == {}
    assert len(scene.runner.settled()) == 3
    scene.runner.try_again()
    assert not scene.runner.busy()


def test_what_finds_no_room_again_stays_aside(scene: Scene) -> None:
    scene.lacks_room("a")
    scene.runner.try_again()
    (queued,) = scene.runner._queue
    scene.batches.meanwhile = lambda: scene.batches.aside.append(no_room(queued))
    scene.next()
    assert scene.runner.full() == {HERE: "no room"}
    assert scene.batches.aside == [], "taken over once"
    scene.runner.try_again()
    assert [event.key for event in scene.runner._queue[0].events] == ["a"]


def test_nothing_is_kept_aside_of_a_partition_that_goes(scene: Scene) -> None:
    scene.lacks_room("a")
    scene.lacks_room("b", THERE)
    told = scene.runner.full()
    scene.runner.drop({HERE}, 0)
    assert sorted(told) == [HERE, THERE], "whoever was told may be looking through it"
    assert scene.runner.full() == {THERE: "no room"}
    scene.runner.try_again()
    assert [[event.key for event in one.events] for one in scene.runner._queue] == [["b"]]


@pytest.mark.parametrize("why", ["went", "came again", "refused"])
def test_what_found_no_room_is_not_kept_when_its_partition_went_meanwhile(scene: Scene, why: str) -> None:
    made = scene.submit("a")

    def meanwhile() -> None:
        scene.batches.aside.append(no_room(made))
        if why != "refused":
            scene.runner.own({THERE: 8} if why == "went" else {HERE: 9, THERE: 8})

    scene.batches.meanwhile = meanwhile
    scene.batches.ends = [{HERE: 7} if why == "refused" else {}]
    scene.next()
    assert scene.runner.full() == {}
    scene.runner.try_again()
    assert not scene.runner._queue
    assert scene.batches.aside == []


# Outages.


@pytest.mark.parametrize(
    ("error", "cause"), [(Unreachable("store: away"), "store"), (Outage("mail: away"), "handler")], ids=str
)
def test_during_an_outage_a_batch_is_tried_again_until_it_is_through(
    scene: Scene, error: Exception, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    scene.runner.own(FENCES, {"k": RETRY})
    scene.submit("a")
    scene.batches.ends = [error] * 8
    seen: list[Any] = []
    scene.condition.meanwhile = lambda: seen.append((scene.runner.outage, scene.batches.effect.now_at))
    scene.next()
    assert scene.runs == [["a"]] * 9
    assert scene.condition.waits == pytest.approx([FIRST_PAUSE_S * 2**n for n in range(6)] + [LONGEST_PAUSE_S] * 2)
    assert seen == [(str(error), None)] * 8, "what waits for the end of an outage does not hang"
    assert [due for _, due, _ in scene.batches.runs] == [["k"]] * 9, "and what was due with it"
    assert (caplog.text.count(f"paused: {error}"), caplog.text.count(f"goes on after: {error}")) == (1, 1)
    assert scene.batches.observer.told == [(cause, str(error))] * 8 + [("store", None), ("handler", None)]
    assert scene.runner.outage is None
    assert len(scene.runner.settled()) == 1


def test_without_an_outage_nobody_is_told_of_its_end(scene: Scene) -> None:
    scene.submit("a")
    scene.next()
    assert scene.batches.observer.told == []


def test_what_an_outage_has_kept_from_being_written_is_not_settled_by_a_stop(scene: Scene) -> None:
    scene.submit("a")
    scene.batches.ends = [Unreachable("store: away")]
    scene.condition.meanwhile = lambda: setattr(scene.runner, "_stopping", True)
    scene.next()
    assert (scene.runner.settled(), len(scene.runs)) == ([], 1)
    assert not scene.next(), "the thread ends"


def test_a_stop_in_an_outage_keeps_nothing_aside_of_a_batch_that_was_not_written(scene: Scene) -> None:
    made = scene.submit("a")
    scene.batches.meanwhile = lambda: scene.batches.aside.append(no_room(made))
    scene.batches.ends = [Unreachable("store: away")]
    scene.condition.meanwhile = lambda: setattr(scene.runner, "_stopping", True)
    assert scene.next()
    assert (scene.runner.settled(), scene.runner.lost()) == ([], {})


# A handler that hangs.


class Watched:
    """A runner in the middle of a batch, and the time it takes."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scene, self.at = scene, 50.0
        monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: self.at))

    def watch(self, after_s: float = 0.0) -> int:
        """How many threads there have been, after so much more time."""
        self.at += after_s
        assert self.scene.runner.watch(10.0) is False
        return len(self.scene.made)

    def hang(self, meanwhile: Callable[[], Any]) -> None:
        """A batch is run, in which this happens."""
        self.scene.batches.meanwhile = meanwhile
        self.scene.next()


def test_a_handler_is_given_up_on_when_one_event_takes_longer_than_its_limit(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(scene, monkeypatch)
    events = job("ab").events

    def meanwhile() -> None:
        effect = scene.batches.effect
        assert watched.watch() == 1
        assert watched.watch(9.0) == 1
        effect.now_at = events[1]
        assert watched.watch(9.0) == 1, "this is another one"
        effect.now_at = None
        assert watched.watch(9.0) == 1
        assert watched.watch(20.0) == 1, "none is running"
        effect.now_at = events[1]
        assert watched.watch(9.0) == 1
        assert watched.watch(10.0) == 1, "it has its time"
        assert watched.watch(0.1) == 2
        scene.batches.effect.now_at = events[1]
        assert watched.watch(9.0) == 2, "the same once more, from the beginning"
        scene.batches.effect.now_at = None
        assert watched.watch(30.0) == 2, "the new one has nothing to do"

    scene.submit("a")
    watched.hang(meanwhile)


def test_another_thread_takes_over_from_one_that_hangs(
    scene: Scene, thrown: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(scene, monkeypatch)
    (store, batches), old = scene.made[0], scene.thread
    scene.runner.own(FENCES, {"k": RETRY, "later": Waiting(Wait.GAP, 1, 0.0, 5_000.0)})
    given = scene.submit("ab")
    scene.submit("cdef")

    def meanwhile() -> None:
        watched.watch()
        scene.condition.told = 0
        watched.watch(10.1)

    batches.meanwhile = meanwhile
    batches.ends = [{HERE: 7}]
    assert not scene.next(batches), "whatever it has come to, it is too late"
    assert (scene.runner.settled(), scene.runner.lost()) == ([], {})
    assert store.told == ["abandoned"], "what it wrote is undone"
    assert thrown == [(Left, old)]
    assert batches.effect.finisher.woken == 1, "an async handler hears of it too"
    assert scene.condition.told == 1, "whoever waits for the batch need not wait for it"
    assert "key a version 3: the handler hangs past 10 s" in caplog.text

    assert (len(scene.made), scene.thread.started) == (2, 1)
    assert scene.thread.args == scene.made[1]
    barred = scene.batches.effect.barred
    assert (list(barred), type(barred["a", 3])) == ([("a", 3)], HandlerTimeout)
    assert "more than 10 s" in str(barred["a", 3])
    assert scene.runner._current is None
    scene.next()
    keys, due, fences = scene.batches.runs[0]
    assert (keys, sorted(due), fences) == (["a", "b"], ["a", "k"], FENCES), "the same once more, and first"
    assert scene.runner.settled() == given.units
    assert scene.batches.timers.all() == {"later": 5_000.0}


def test_a_key_that_is_looked_at_again_at_once_keeps_a_runner_busy(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(scene, monkeypatch)
    scene.batches.effect.now_at = job("a").events[0]
    watched.watch()
    watched.watch(10.1)
    assert scene.batches.timers.all() == {"a": AT_ONCE}
    assert scene.runner.busy()
    assert not scene.runner._queue, "no job was under way: it hung in what was woken"


def test_an_outage_does_not_keep_a_thread_that_was_abandoned(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(scene, monkeypatch)
    batches = scene.batches
    scene.submit("a")

    def meanwhile() -> None:
        watched.watch()
        watched.watch(10.1)

    batches.meanwhile, batches.ends = meanwhile, [Unreachable("the store was abandoned")]
    assert not scene.next(batches)
    assert (scene.condition.waits, batches.observer.told, scene.runner.outage) == ([], [], None)


@pytest.mark.parametrize("end", [Left(), ValueError("closed under it")], ids=["left", "an error"])
def test_what_an_abandoned_thread_ends_of_is_no_failure(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    watched = Watched(scene, monkeypatch)
    (store, batches), old = scene.made[0], scene.thread
    scene.submit("a")

    def meanwhile() -> None:
        watched.watch()
        watched.watch(10.1)

    batches.meanwhile, batches.ends = meanwhile, [end]
    old.target(*old.args)
    assert scene.runner.settled() == []
    assert store.told == ["abandoned"], "whoever abandoned it has closed it"


def test_an_abandoned_thread_that_comes_back_takes_nothing_more(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(scene, monkeypatch)
    batches = scene.batches
    batches.effect.now_at = job("a").events[0]
    watched.watch()
    watched.watch(10.1)
    scene.submit("b")
    assert not scene.next(batches)
    assert (batches.runs, len(scene.runner._queue)) == ([], 1)
    scene.next()
    assert not scene.next(batches)
    assert scene.condition.waits == [], "nor does it wait for anything"


# The end.


def test_a_stop_lets_what_runs_end_and_starts_nothing_more(scene: Scene, thrown: list[Any]) -> None:
    scene.submit("a")
    scene.submit("bcde")
    scene.batches.meanwhile = lambda: seen.append(scene.runner.stop(9.0))
    seen: list[bool] = []
    scene.condition.told = 0
    scene.next()
    assert (seen, scene.thread.joined) == ([True], [9.0])
    assert not scene.next()
    assert (scene.runs, len(scene.runner.settled())) == ([["a"]], 1)
    assert scene.condition.told == 2, "the thread may have been waiting for something to do"
    assert (thrown, scene.made[0][0].told) == ([], [])


def test_a_thread_that_waits_for_something_to_do_ends_when_it_is_stopped(scene: Scene) -> None:
    scene.condition.meanwhile = lambda: setattr(scene.runner, "_stopping", True)
    assert not scene.next()
    assert scene.condition.waits == [60.0]
    assert scene.batches.runs == []


def test_a_thread_that_does_not_end_in_time_is_abandoned(
    scene: Scene, thrown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Thread, "ends", False)
    scene.batches.effect.finisher = None
    assert not scene.runner.stop(9.0)
    assert scene.made[0][0].told == ["abandoned"], "what it writes later is not to take effect"
    assert (thrown, len(scene.made)) == ([(Left, scene.thread)], 1)


def test_whoever_waits_does_so_until_something_is_settled(scene: Scene) -> None:
    scene.runner.wait(0.5)
    scene.submit("a")
    scene.next()
    scene.runner.wait(0.7)
    assert scene.condition.waits == [0.5]


def test_a_timer_that_is_due_now_is_not_waited_for(scene: Scene) -> None:
    assert scene.batches.timers.next() == NEVER
    scene.runner.own(FENCES, {"k": RETRY})
    assert scene.next()
    assert (scene.condition.waits, scene.batches.runs) == ([], [([], ["k"], FENCES)])
