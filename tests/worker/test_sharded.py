"""Several batch runners as one: who has which events, and when a unit is settled. The runners are played."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast
from zlib import crc32

import pytest

from inorder.core.engine import Unit
from inorder.core.event import Event, Malformed, Partition, Record, Slice
from inorder.core.order import Order
from inorder.errors import Unreachable
from inorder.observe import metrics
from inorder.observe.watching import Watching
from inorder.ports import Clock
from inorder.worker.assemble import SystemClock
from inorder.worker.job import Job, shard_of
from inorder.worker.runner import BatchRunner
from inorder.worker.sharded import ShardedRunner
from tests.worker.bench import PATIENCE_S, until
from tests.worker.played import HERE, SET_GOING, THERE, Played
from tests.worker.threaded import Batches, Store

FIRST, SECOND = (next(key for key in "abcdefgh" if shard_of(key, 2) == at) for at in range(2))
"""A key of the first runner, and one of the second."""


def job(keys: str, partition: Partition = HERE, fence: int = 1) -> Job:
    """One event of each of these keys, in one slice. Of `?`, none can be read."""
    piece = Slice.of(partition, [Record(partition, at, None, b"") for at in range(len(keys))])
    unit = Unit(partition, fence, piece.next_offset, len(piece), 0)
    made = Job()
    events = [Event(key, at, f"{key}{at}", 1, None, piece, at) for at, key in enumerate(keys) if key != "?"]
    made.add(unit, piece, events, [Malformed("no", piece, at) for at, key in enumerate(keys) if key == "?"])
    return made


class One(Played):
    """A runner, and what it is asked for beside what all are."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self.tell = tell
        self.finishing = False
        self.stopped: list[float] = []
        self.takes_s = 0.0

    def finish(self) -> None:
        self.finishing = True

    def stop(self, timeout_s: float) -> bool:
        self.stopped.append(timeout_s)
        time.sleep(min(self.takes_s, timeout_s))
        return self.takes_s <= timeout_s

    def settle(self) -> None:
        """All that it was given."""
        self.done += [unit for job in self.jobs for unit in job.units]
        self.jobs.clear()
        self.tell()


class Scene:
    def __init__(self) -> None:
        self.ones: list[One] = []

        def make(tell: Callable[[], None]) -> BatchRunner:
            self.ones.append(One(tell))
            return cast(BatchRunner, self.ones[-1])

        self.runner = ShardedRunner(2, make)
        self.runner.own({HERE: 1, THERE: 1})

    def given(self) -> list[list[str]]:
        """The events that each runner has been given, as key and place."""
        return [[event.id for job in one.jobs for event in job.events] for one in self.ones]


def test_when_one_of_them_cannot_begin_the_others_end() -> None:
    stores: list[Store] = []

    def make() -> Any:
        if len(stores) == 2:
            raise Unreachable("too many connections")
        stores.append(Store())
        return stores[-1], Batches()

    before = set(threading.enumerate())
    with pytest.raises(Unreachable, match="too many"):
        ShardedRunner(3, lambda tell: BatchRunner(make, cast(Clock, SystemClock()), 1, tell))
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    assert set(threading.enumerate()) <= before
    assert [store.told for store in stores] == [["closed"]] * 2


def test_the_events_of_a_key_go_to_one_runner_in_their_order() -> None:
    scene = Scene()
    scene.runner.submit(job(FIRST + SECOND + FIRST))
    scene.runner.submit(job(SECOND + FIRST, THERE))
    assert scene.given() == [[f"{FIRST}0", f"{FIRST}2", f"{FIRST}1"], [f"{SECOND}1", f"{SECOND}0"]]


def test_all_shards_have_keys() -> None:
    assert {shard_of(f"account-{number}", 8) for number in range(100)} == set(range(8))


def test_a_unit_is_settled_when_all_are_through_that_have_part_in_it() -> None:
    scene = Scene()
    both, second = job(FIRST + SECOND), job(SECOND, THERE)
    both.absorb(second)
    whole, part = both.units
    scene.runner.submit(both)
    first, other = scene.ones
    assert [unit.partition for unit in first.jobs[0].units] == [HERE], "the other slice has nothing of its keys"
    assert [unit.partition for unit in other.jobs[0].units] == [HERE, THERE]
    other.settle()
    assert scene.runner.settled() == [part]
    first.settle()
    assert scene.runner.settled() == [whole]
    assert scene.runner.settled() == []
    assert scene.runner._open == {}, "nothing is remembered of what is over"


def test_what_no_event_can_be_read_from_is_one_runners() -> None:
    scene = Scene()
    given = job(f"?{SECOND}?")
    scene.runner.submit(given)
    assert [[len(job.malformed) for job in one.jobs] for one in scene.ones] == [[2], [0]]
    scene.ones[1].settle()
    assert scene.runner.settled() == []
    scene.ones[0].settle()
    assert scene.runner.settled() == given.units


def test_a_slice_that_nothing_came_of_is_settled_too() -> None:
    scene = Scene()
    given = Job()
    piece = Slice.of(HERE, [Record(HERE, 0, None, b"")])
    given.add(Unit(HERE, 1, 1, 1, 0), piece, [], [])
    scene.runner.submit(given)
    assert [len(one.jobs) for one in scene.ones] == [1, 0]
    scene.ones[0].settle()
    assert scene.runner.settled() == given.units


def test_what_is_settled_late_of_a_partition_that_went_is_nobodys_business() -> None:
    scene = Scene()
    scene.runner.submit(job(FIRST + SECOND))
    scene.ones[0].settle()
    scene.runner.own({THERE: 1})
    scene.ones[1].settle()
    assert scene.runner.settled() == []


def test_each_wakes_its_own_keys_under_all_fences() -> None:
    scene = Scene()
    scene.runner.own({HERE: 2}, {FIRST: SET_GOING, SECOND: SET_GOING})
    assert [one.woken[-1] for one in scene.ones] == [{FIRST: SET_GOING}, {SECOND: SET_GOING}]
    assert [one.fences for one in scene.ones] == [{HERE: 2}] * 2


def test_what_one_of_them_says_all_of_them_say() -> None:
    scene = Scene()
    first, second = scene.ones
    assert not scene.runner.busy()
    second.is_busy = True
    assert scene.runner.busy()
    first.refused, second.refused = {HERE: 1}, {THERE: 2}
    assert scene.runner.lost() == {HERE: 1, THERE: 2}
    second.without_room = {THERE: "no room"}
    assert scene.runner.full() == {THERE: "no room"}
    scene.runner.try_again()
    assert scene.runner.watch(30.0) is False
    assert [(one.tries, one.watched) for one in scene.ones] == [(1, 1)] * 2
    assert scene.runner.lapsed() == []


def test_all_let_go_at_once_and_are_waited_for_within_one_limit() -> None:
    scene = Scene()
    assert scene.runner.drop({HERE}, 5.0)
    assert [one.dropped[0] for one in scene.ones] == [({HERE}, 0)] * 2, "nobody starts anything more"
    assert all(4.0 < one.dropped[1][1] <= 5.0 for one in scene.ones)


def test_all_are_told_to_finish_before_one_is_waited_for() -> None:
    scene = Scene()
    first, second = scene.ones
    first.takes_s = 0.2
    assert scene.runner.stop(30.0)
    assert (first.finishing, second.finishing) == (True, True)
    assert second.stopped[0] < first.stopped[0] - 0.1
    first.takes_s = 0.4
    assert not scene.runner.stop(0.2)
    assert second.stopped[1] == 0.0


def test_whoever_waits_hears_of_news_of_any_of_them() -> None:
    scene, given = Scene(), job(SECOND)
    scene.runner.submit(given)
    threading.Timer(0.05, scene.ones[1].settle).start()
    began = time.monotonic()
    scene.runner.wait(30.0)
    assert scene.runner.settled() == given.units
    assert time.monotonic() - began < 15.0


def test_whoever_waits_hears_of_news_once() -> None:
    scene = Scene()
    scene.ones[0].tell()
    scene.ones[1].tell()
    scene.runner.settled()
    began = time.monotonic()
    scene.runner.wait(0.1)
    assert time.monotonic() - began > 0.09


def test_what_one_of_them_died_of_is_raised() -> None:
    scene = Scene()

    def died() -> list[Unit]:
        raise ZeroDivisionError

    scene.ones[1].settled = died  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        scene.runner.settled()


def test_keys_of_one_partition_of_a_topic_written_by_librdkafka_are_shared_by_all_connections() -> None:
    """Its own partitioner is crc32 % partitions: a worker that has partition 0 of 8 has keys of one connection only."""
    keys = [key for key in map("account-{}".format, range(10_000)) if crc32(key.encode()) % 8 == 0]
    assert {shard_of(key, 4) for key in keys} == {0, 1, 2, 3}


def test_of_two_fences_of_a_partition_that_were_refused_the_newer_one_is_told() -> None:
    """One connection is through with a turn of long ago, the other one with one of now."""
    it = Scene()
    first, second = it.ones
    first.refused, second.refused = {HERE: 7}, {HERE: 5}
    assert it.runner.lost() == {HERE: 7}


def job_of(key: str) -> Any:
    piece = Slice.of(THERE, [Record(THERE, 0, None, b"")])
    made = Job()
    made.add(Unit(THERE, 1, 1, 1, 0), piece, [Event(key, 1, key, 1, None, piece, 0)], [])
    return made


def test_a_worker_waits_for_the_store_until_none_of_its_connections_does() -> None:
    watching, made = Watching(Order.STRICT), list[Batches]()
    tries, go_on = threading.Event(), threading.Event()

    def make() -> Any:
        batches = Batches()
        batches.observer = cast(Any, watching)
        batches.ends = [Unreachable("away")] * 100
        made.append(batches)
        return Store(), batches

    runner = ShardedRunner(2, lambda tell: BatchRunner(make, cast(Clock, SystemClock()), 1, tell))
    runner.own({HERE: 1, THERE: 1})
    runner.submit(job(FIRST))
    runner.submit(job(SECOND, THERE))
    until("both wait", lambda: all(one.outage for one in runner._runners))
    first, second = made

    def stop() -> None:
        tries.set()
        go_on.wait(PATIENCE_S)

    second.meanwhile = stop
    assert tries.wait(PATIENCE_S), "it says nothing more until it goes on"
    first.ends = [{}] * 100
    until("the first is back", runner.settled)
    assert watching.snapshot().value(metrics.PAUSED, "store") == 1
    second.ends = [{}] * 100
    go_on.set()
    until("the second is back", runner.settled)
    assert watching.snapshot().value(metrics.PAUSED, "store") == 0
    runner.stop(5.0)


def test_letting_go_waits_for_one_turn_of_each_connection_and_not_for_one_after_the_other() -> None:
    turn_s = 0.5

    def make() -> Any:
        batches = Batches()
        batches.meanwhile = lambda: time.sleep(turn_s)
        batches.ends = [{}] * 100
        return Store(), batches

    runner = ShardedRunner(8, lambda tell: BatchRunner(make, cast(Clock, SystemClock()), 1, tell))
    runner.own({HERE: 1, THERE: 1})
    keys = [next(key for key in map(str, range(999)) if shard_of(key, 8) == at) for at in range(8)]
    for one, key in reversed(list(zip(runner._runners, keys, strict=True))):
        for _ in range(20):
            one.submit(job_of(key))
        time.sleep(0.05)
    began = time.monotonic()
    runner.drop({HERE}, 20.0)
    took = time.monotonic() - began
    runner.stop(5.0)
    assert took < 2 * turn_s, f"{took:.2f} s, of turns of {turn_s} s each"
