"""What the poll loop may ask of the lanes' thread, and how another takes over from one whose loop is blocked.

The lanes are played; their thread and its loop are real.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

import pytest

from inorder.core.engine import Unit
from inorder.core.event import Event, Partition, Record, Slice
from inorder.core.waiting import Wait, Waiting
from inorder.errors import HandlerTimeout, InorderError, Unreachable
from inorder.worker.job import Job
from inorder.worker.lane_runner import LaneRunner
from inorder.worker.lane_work import LaneWork
from inorder.worker.pool import Left
from tests.worker.played import HERE, THERE

RETRY = Waiting(Wait.RETRY, 1, 0.0, 5.0)


class Work:
    """Lanes that note what they are told, and that they are told it on their loop."""

    def __init__(self, told: list[tuple[Any, ...]], number: int) -> None:
        self.told = told
        self.number = number
        self.loop: asyncio.AbstractEventLoop
        self.on_settled: Callable[[list[Unit]], None]
        self.on_lapsed: Callable[[list[Unit]], None]
        self.on_lost: Callable[[Mapping[Partition, int]], None]
        self.on_failure: Callable[[BaseException], None]
        self.busy = False
        self.full: dict[Partition, str] = {}
        self.stuck: Event | None = None
        self.reading: Slice | None = None
        self.ends = True
        self.drains = True
        self.left = threading.Event()
        self.on_own: Callable[[], None] = lambda: None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        assert not loop.is_running()
        self.loop = loop

    def _note(self, *what: Any) -> None:
        assert asyncio.get_running_loop() is self.loop
        self.told.append((self.number, *what))

    def own(self, fences: Mapping[Partition, int], due: Mapping[str, Waiting]) -> None:
        self.on_own()
        self._note("own", dict(fences), dict(due))

    def take_in(self, jobs: list[Job]) -> None:
        self._note("take in", [[unit.next_offset - 1 for unit in job.units] for job in jobs])

    def try_again(self) -> None:
        self._note("try again")

    def drop(self, partitions: set[Partition]) -> None:
        self._note("drop", partitions)

    async def drained(self, partitions: set[Partition]) -> None:
        self._note("drained", partitions)
        if not self.drains:
            await asyncio.sleep(60)

    def watch(self, limit_s: float) -> None:
        self._note("watch", limit_s)

    def finish(self, finished: Callable[[], None]) -> None:
        self._note("finish")
        if self.ends:
            finished()

    def leave(self) -> None:
        self._note("leave")
        self.left.set()

    def close(self) -> None:
        self.told.append((self.number, "closed"))

    def abandon(self) -> None:
        self.told.append((self.number, "abandoned"))

    def stuck_in(self) -> Event | None:
        return self.stuck

    def bar(self, event: Event, error: Exception) -> None:
        self.told.append((self.number, "bar", event.key, type(error), str(error)))


class Stage:
    """A runner, its lanes, and a clock for whoever watches."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.works: list[Work] = []
        self.away: list[Exception] = []
        """What the next ones fail with when they open their store."""
        self.runner = LaneRunner(self._make)

    def _make(self) -> LaneWork:
        if self.away:
            raise self.away.pop()
        self.works.append(Work(self.told, len(self.works)))
        return cast(LaneWork, self.works[-1])

    @property
    def work(self) -> Work:
        return self.works[-1]

    def on_loop(self, what: Callable[[], Any], work: Work | None = None) -> None:
        """Done by the lanes themselves, and it is over."""
        done = threading.Event()
        loop = (work or self.work).loop
        loop.call_soon_threadsafe(what)
        loop.call_soon_threadsafe(done.set)
        assert done.wait(30)

    def heard(self) -> list[tuple[Any, ...]]:
        """What the lanes were told since the last time, once they have heard all of it."""
        self.on_loop(lambda: None)
        found, self.told[:] = list(self.told), []
        return found


def job(*offsets: int, partition: Partition = HERE) -> Job:
    """Of each offset a slice of its own."""
    found = Job()
    for offset in offsets:
        piece = Slice.of(partition, [Record(partition, offset, b"k", b"")])
        found.add(Unit(partition, 1, offset + 1, 1, 0), piece)
    return found


def event(offset: int) -> Event:
    """What is at an offset, a key named like it."""
    piece = Slice.of(HERE, [Record(HERE, offset, b"k", b"")])
    return Event(f"k{offset}", 1, "id", 1, None, piece, 0)


@pytest.fixture
def stage() -> Iterator[Stage]:
    found = Stage()
    yield found
    for work in found.works:
        work.stuck, work.ends = None, True
    with suppress(RuntimeError):
        found.runner.stop(30)


def test_what_is_being_handed_over_keeps_the_worker_busy(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    busy: list[bool] = []
    monkeypatch.setattr(stage.work, "take_in", lambda jobs: busy.append(stage.runner.busy()))
    stage.runner.submit(job(0))
    stage.heard()
    assert busy == [True]
    assert not stage.runner.busy()


def test_jobs_and_partitions_come_to_the_lanes_in_their_order(stage: Stage) -> None:
    gate = threading.Event()
    stage.work.loop.call_soon_threadsafe(gate.wait, 30)
    stage.runner.own({HERE: 1}, {"a": RETRY})
    stage.runner.submit(job(0, 1))
    stage.runner.submit(job(2))
    stage.runner.own({HERE: 1, THERE: 2})
    assert stage.runner.busy()
    gate.set()
    assert stage.heard() == [
        (0, "own", {HERE: 1}, {"a": RETRY}),
        (0, "take in", [[0, 1], [2]]),
        (0, "own", {HERE: 1, THERE: 2}, {}),
    ]
    assert not stage.runner.busy()


@pytest.mark.parametrize("what", ["own", "submit"])
def test_what_the_lanes_have_not_taken_in_yet_counts_as_work(stage: Stage, what: str) -> None:
    gate = threading.Event()
    stage.work.loop.call_soon_threadsafe(gate.wait, 30)
    if what == "own":
        stage.runner.own({HERE: 1})
    else:
        stage.runner.submit(job(0))
    assert stage.runner.busy()
    gate.set()
    assert len(stage.heard()) == 1
    assert not stage.runner.busy()


def test_keys_that_wait_are_known_to_the_lanes_before_they_count_as_taken_in(stage: Stage) -> None:
    seen: list[bool] = []
    stage.work.on_own = lambda: seen.append(stage.runner.busy())
    stage.runner.own({HERE: 1}, {"a": RETRY})
    stage.heard()
    assert (seen, stage.runner.busy()) == ([True], False)


def test_what_is_settled_or_lapsed_is_told_once(stage: Stage) -> None:
    one, other = job(0).units + job(1).units
    assert (stage.runner.settled(), stage.runner.lapsed(), stage.runner.busy()) == ([], [], False)
    stage.on_loop(lambda: stage.work.on_settled([one]))
    stage.on_loop(lambda: stage.work.on_settled([other]))
    assert stage.runner.busy(), "the poll loop does not know of it yet"
    assert (stage.runner.settled(), stage.runner.settled(), stage.runner.busy()) == ([one, other], [], False)
    stage.on_loop(lambda: stage.work.on_lapsed([one, other]))
    assert (stage.runner.lapsed(), stage.runner.lapsed()) == ([one, other], [])


def test_partitions_that_are_lost_are_told_once(stage: Stage) -> None:
    stage.on_loop(lambda: stage.work.on_lost({HERE: 1}))
    stage.on_loop(lambda: stage.work.on_lost({THERE: 5}))
    assert (stage.runner.lost(), stage.runner.lost()) == ({HERE: 1, THERE: 5}, {})


def test_what_the_lanes_die_of_is_raised(stage: Stage) -> None:
    stage.on_loop(lambda: stage.work.on_failure(RuntimeError("broken")))
    stage.runner.wait(30)
    with pytest.raises(RuntimeError, match="broken"):
        stage.runner.settled()


@pytest.mark.parametrize("what", ["settled", "lapsed", "failure"])
def test_whoever_waits_is_woken_by_news_and_once_it_is_known_by_no_more(stage: Stage, what: str) -> None:
    units = job(0).units
    told: dict[str, Callable[[], None]] = {
        "settled": lambda: stage.work.on_settled(units),
        "lapsed": lambda: stage.work.on_lapsed(units),
        "failure": lambda: stage.work.on_failure(RuntimeError()),
    }
    for _ in range(2):
        stage.work.loop.call_soon_threadsafe(told[what])
    began = time.monotonic()
    stage.runner.wait(3_000)
    assert time.monotonic() - began < 1_000
    if what != "failure":
        stage.on_loop(lambda: None)
        assert stage.runner.settled() == (units * 2 if what == "settled" else [])
        known = time.monotonic()
        stage.runner.wait(0.1)
        assert time.monotonic() - known >= 0.09, "known by now"


def test_nobody_waits_longer_than_the_time_given(stage: Stage) -> None:
    began = time.monotonic()
    stage.runner.wait(0.001)
    assert time.monotonic() - began < 1_000


def test_what_the_lanes_say_is_passed_on(stage: Stage) -> None:
    stage.work.full = {HERE: "no room"}
    assert stage.runner.full() == {HERE: "no room"}
    assert stage.runner.full() is not stage.work.full
    assert not stage.runner.busy()
    stage.work.busy = True
    assert stage.runner.busy()
    stage.runner.try_again()
    assert stage.heard() == [(0, "try again")]


def test_a_partition_goes_after_what_came_before_and_is_waited_for(stage: Stage) -> None:
    gate = threading.Event()
    stage.work.loop.call_soon_threadsafe(gate.wait, 30)
    stage.runner.submit(job(0))
    stage.runner.submit(job(7, partition=THERE))
    threading.Timer(0.01, gate.set).start()
    assert stage.runner.drop({HERE}, 30)
    assert stage.heard() == [
        (0, "take in", [[0], [7]]),
        (0, "drop", {HERE}),
        (0, "drained", {HERE}),
    ]
    assert list(stage.runner._under_way) == job(7, partition=THERE).units


def test_what_does_not_end_in_time_is_said(stage: Stage) -> None:
    stage.work.drains = False
    assert not stage.runner.drop({HERE}, 0.001)


def test_the_end_waits_for_what_runs_and_closes_everything(stage: Stage) -> None:
    thread = stage.runner._thread
    assert thread.daemon, "a handler that never ends does not keep the process"
    assert stage.runner.stop(30)
    assert stage.told == [(0, "finish"), (0, "leave"), (0, "closed")]
    assert not thread.is_alive()
    assert stage.work.loop.is_closed()


def test_the_end_comes_though_something_still_runs(stage: Stage) -> None:
    cleaned: list[str] = []

    async def cleans(seconds: float) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(seconds)
            cleaned.append("up")

    async def told_already() -> None:
        task = asyncio.ensure_future(cleans(0.02))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run_coroutine_threadsafe(told_already(), stage.work.loop).result(30)
    asyncio.run_coroutine_threadsafe(cleans(0.0), stage.work.loop)
    stage.work.ends = False
    assert not stage.runner.stop(0.001)
    assert cleaned == ["up", "up"], "both were told once, and had time for it"
    assert stage.told == [(0, "finish"), (0, "leave"), (0, "closed")]
    assert stage.work.loop.is_closed()


def test_what_outlasts_its_time_is_closed_where_it_ran(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("inorder.worker.lane_runner.LEAVING_S", 0.01)
    closed: list[threading.Thread] = []
    tasks: list[asyncio.Future[None]] = []

    async def goes_on() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            try:
                await asyncio.sleep(60)
            finally:
                closed.append(threading.current_thread())

    async def deaf() -> None:
        for _ in range(4):
            with suppress(BaseException):
                await asyncio.sleep(60)

    stage.on_loop(lambda: tasks.extend(map(asyncio.ensure_future, (goes_on(), deaf(), goes_on()))))
    thread = stage.runner._thread
    stage.runner.stop(30)
    thread.join(30)
    assert closed == [thread, thread]
    assert stage.work.loop.is_closed()
    tasks.clear()
    gc.collect()
    assert caplog.text == ""


def test_a_handler_that_exits_in_a_task_of_its_own_does_not_end_the_lanes(stage: Stage) -> None:
    async def exits() -> None:
        raise SystemExit(3)

    tasks: list[asyncio.Future[None]] = []
    stage.on_loop(lambda: tasks.append(asyncio.ensure_future(exits())))
    stage.runner.try_again()
    assert stage.heard() == [(0, "try again")]
    stage.on_loop(tasks[0].exception)


# When a handler blocks the loop.


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the runner goes by."""
    found = [100.0]
    monkeypatch.setattr("inorder.worker.lane_runner.time.monotonic", lambda: found[0])
    return found


def test_the_lanes_watch_their_own_handlers_once_for_each_time_they_answer(stage: Stage) -> None:
    assert not stage.runner.watch(5.0)
    assert stage.heard() == [(0, "watch", 5.0)]
    assert not stage.runner.watch(6.0)
    assert stage.heard() == [(0, "watch", 6.0)]


class Blocked:
    """A handler that has the loop to itself until it is told to end, or `Left` is thrown at it and it heeds that."""

    def __init__(self, stage: Stage, event: Event, heeds: bool = True) -> None:
        self.over = threading.Event()
        self.left = threading.Event()
        entered = threading.Event()

        def block() -> None:
            entered.set()
            while not self.over.is_set():
                try:
                    while not self.over.is_set():
                        self.over.wait(0.002)
                except Left:
                    self.left.set()
                    if heeds:
                        break

        stage.work.loop.call_soon_threadsafe(block)
        assert entered.wait(30)
        stage.work.stuck = event


def test_a_loop_that_is_busy_is_not_given_up_on_before_its_time(stage: Stage, now: list[float]) -> None:
    blocked = Blocked(stage, event(0))
    assert not stage.runner.watch(5.0)
    now[0] += 5.0
    assert not stage.runner.watch(5.0)
    stage.work.stuck = None
    now[0] += 5.0
    assert not stage.runner.watch(5.0), "it is nobody's handler that has it"
    blocked.over.set()
    assert stage.heard() == [(0, "watch", 5.0)], "asked once"
    now[0] += 5.0
    assert not stage.runner.watch(5.0)
    assert stage.heard() == [(0, "watch", 5.0)]


def test_from_a_loop_that_is_blocked_another_takes_over_what_was_under_way(
    stage: Stage, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    first = job(0, 1, 2, 3)
    stage.runner.own({HERE: 1}, {"a": RETRY})
    stage.runner.submit(first)
    stage.runner.submit(job(4))
    stage.heard()
    stage.on_loop(lambda: stage.work.on_settled(first.units[:1]))
    assert stage.runner.settled() == first.units[:1]
    stage.on_loop(lambda: stage.work.on_settled(first.units[1:2]))
    stage.on_loop(lambda: stage.work.on_lapsed(first.units[2:3]))
    assert stage.runner.lapsed() == first.units[2:3]
    blocked = Blocked(stage, event(3), heeds=False)
    old, thread = stage.work, stage.runner._thread
    stage.runner.submit(job(5))
    stage.runner.own({HERE: 1, THERE: 2}, {"b": RETRY})
    assert not stage.runner.watch(5.0)
    now[0] += 5.1
    assert stage.runner.watch(5.0)
    assert stage.work is not old
    assert stage.heard() == [
        (0, "abandoned"),
        (1, "bar", "k3", HandlerTimeout, "ran for more than 5 s"),
        (1, "own", {HERE: 1, THERE: 2}, {}),
        (1, "take in", [[3, 4, 5]]),
    ]
    assert "key k3 version 1: the handler blocks its event loop" in caplog.text
    assert stage.runner.settled() == first.units[1:2], "it was committed"
    assert blocked.left.wait(30), "the thread that was left behind is told to end"
    gate = threading.Event()
    stage.work.loop.call_soon_threadsafe(gate.wait, 30)
    stage.runner.own({HERE: 1})
    stage.runner.submit(job(6))
    assert not stage.runner.watch(5.0), "the new one is asked anew"
    blocked.over.set()
    thread.join(30)
    assert not thread.is_alive()
    assert old.loop.is_closed()
    assert stage.told == [(0, "leave")], "the old one is given nothing of what is the new one's"
    gate.set()
    assert stage.heard() == [
        (0, "leave"),
        (1, "own", {HERE: 1}, {}),
        (1, "take in", [[6]]),
        (1, "watch", 5.0),
    ]


def test_while_the_store_is_away_none_takes_over_from_a_loop_that_is_blocked(
    stage: Stage, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    blocked = Blocked(stage, event(0))
    stage.runner.own({HERE: 1})
    stage.runner.submit(job(0, 1))
    assert not stage.runner.watch(5.0)
    now[0] += 5.1
    stage.away += [Unreachable("away"), Unreachable("away")]
    assert not stage.runner.watch(5.0)
    stage.runner.submit(job(2))
    assert not stage.runner.watch(5.0)
    assert not blocked.left.is_set()
    assert stage.told == [(0, "abandoned")]
    assert caplog.text.count("paused: away") == 1
    assert stage.runner.watch(5.0)
    assert blocked.left.wait(30)
    assert [one for one in stage.heard() if one[0]] == [
        (1, "bar", "k0", HandlerTimeout, "ran for more than 5 s"),
        (1, "own", {HERE: 1}, {}),
        (1, "take in", [[0, 1, 2]]),
    ]
    assert not stage.runner.watch(5.0), "the new one is asked anew"
    assert stage.heard() == [(1, "watch", 5.0)]


def test_what_is_read_for_too_long_is_a_failure(stage: Stage, now: list[float]) -> None:
    blocked = Blocked(stage, event(0))
    stage.work.stuck, stage.work.reading = None, job(7, partition=THERE).pieces[0][1]
    assert not stage.runner.watch(5.0)
    now[0] += 5.0
    assert not stage.runner.watch(5.0)
    assert stage.runner.settled() == []
    now[0] += 0.1
    assert not stage.runner.watch(5.0)
    with pytest.raises(InorderError, match=f"^{THERE} from offset 7: reading its events takes more than 5 s: "):
        stage.runner.settled()
    assert not stage.runner.stop(0.001)
    assert blocked.left.is_set(), "and is left behind"


def test_at_the_end_a_handler_that_blocks_the_loop_is_left_behind(stage: Stage) -> None:
    blocked = Blocked(stage, event(0))
    thread = stage.runner._thread
    assert not stage.runner.stop(0.001)
    assert blocked.left.is_set()
    assert not thread.is_alive()
    assert stage.told[-1] == (0, "closed")


def test_at_the_end_who_has_finished_is_not_left_behind(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    thrown: list[object] = []
    monkeypatch.setattr("inorder.worker.lane_runner.throw", lambda *given: thrown.append(given))
    stage.work.stuck = event(0)
    assert stage.runner.stop(30)
    assert thrown == []


def test_at_the_end_what_only_takes_long_is_left_alone(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "inorder.worker")
    blocked = Blocked(stage, event(0))
    stage.work.stuck = None
    threading.Timer(0.02, blocked.over.set).start()
    assert not stage.runner.stop(0.001)
    assert not blocked.left.is_set()
