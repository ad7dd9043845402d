"""Calls that wait for a thread are taken back, and decided on again, whenever what they were decided on is over.

Pure: see `tests.worker.lanes`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import inorder
from inorder.worker.threads import LOOK_S, STALLED_S
from tests.worker.callers import run
from tests.worker.lanes import Held, Scene, Seen, played
from tests.worker.played import HERE, THERE
from tests.worker.pools import Pool


async def goes_on(it: Scene, seconds: float = 0.1) -> None:
    """Threads do what there is, again and again."""
    assert it.pool is not None
    for _ in range(round(seconds / 0.05)):
        await it.rest(0.05)
        it.pool.work_all()
    await it.turns()


@played
async def test_of_a_partition_that_goes_no_call_is_made_that_waits_for_a_thread() -> None:
    it = Scene(pool=Pool(0))
    it.give("a1 a2")
    it.give("b1", THERE)
    await it.turns()
    it.work.drop({HERE})
    await asyncio.wait_for(it.work.drained({HERE}), 1.0)
    await goes_on(it)
    assert it.called == ["b1"]


@played
async def test_what_is_ours_under_a_newer_fence_is_not_called_under_the_old_one() -> None:
    it = Scene(pool=Pool(0))
    it.give("a1")
    it.give("b1", THERE)
    await it.turns()
    it.work.own(it.fences | it.store.acquire([HERE]), {})
    await goes_on(it)
    assert it.called == ["b1"]


@played
async def test_after_a_refused_commit_all_that_waits_for_a_thread_is_decided_again() -> None:
    """Somebody else has changed all of what is known here."""
    it = Scene(pool=(pool := Pool(0)))
    it.give("a1 b1")
    await it.turns()
    pool.work_all()
    await it.rest()
    it.give("a2 b2")
    await it.turns()
    it.desk.writes.close()
    pool.work()
    await it.turns()
    it.meddle("a", 2)
    it.meddle("b", 2)
    it.desk.writes.open()
    await goes_on(it)
    assert it.called == ["a1", "b1", "a2"], "b2 was done by somebody else"
    assert it.outcomes()["conflict"] == 2, "known to be another event"
    assert it.settled[-1] == (0, 4)


@played
async def test_while_what_a_handler_needs_is_down_no_call_is_made_that_waits_for_a_thread() -> None:
    it = Scene(pool=(pool := Pool(0)))
    it.fails["a1"] = [inorder.Unavailable("down")]
    it.give("a1 b1")
    await it.turns()
    pool.work()
    await it.turns()
    pool.work_all()
    assert it.called == ["a1"]
    await goes_on(it, 2.0)
    assert it.called == ["a1", "a1", "b1"]


@played
async def test_lanes_that_finish_make_the_calls_that_wait_for_a_thread() -> None:
    """Else all that came with them would be delivered again."""
    it = Scene(at_once=1, pool=Pool(0))
    it.give("a1 b1")
    await it.turns()
    finished = asyncio.Event()
    it.work.finish(finished.set)
    await goes_on(it)
    assert (it.called, finished.is_set(), it.applied()) == (["a1"], True, {"a": 1})


@played
async def test_lanes_that_finish_do_not_wait_for_what_waits_for_busy_threads() -> None:
    it = Scene(at_once=1, pool=(pool := Pool(0)))
    assert it.work._calls._threads is not None
    it.work._calls._threads.ahead = 1
    it.give("a1 b1")
    await it.turns()
    finished = asyncio.Event()
    it.work.finish(finished.set)
    pool.work()
    await it.rest(2 * STALLED_S)
    assert (it.called, finished.is_set()) == (["a1"], True)


@played
async def test_lanes_go_on_after_a_rebalance_that_took_everything_back() -> None:
    it = Scene(pool=Pool(0))
    it.give("b1", THERE)
    await it.turns()
    it.work.drop({HERE})
    await goes_on(it)
    assert it.called == ["b1"]
    it.give("b2", THERE)
    await it.turns()
    it.work.own(it.fences | it.store.acquire([HERE]), {})
    await goes_on(it)
    assert it.called == ["b1", "b2"]


@played
async def test_a_process_that_was_stopped_makes_no_call_that_was_decided_on_before() -> None:
    it = Scene(pool=(pool := Pool(0)))
    it.work.watch(30.0)
    it.give("a1")
    await it.turns()
    loop: Any = it.loop
    loop.now += 20.0
    it.store.acquire([HERE])
    it.work.watch(30.0)
    pool.work_all()
    assert it.called == []


@played
async def test_no_call_is_made_whose_lease_ended_while_it_waited_for_a_thread() -> None:
    it = Scene(queue=True, pool=(pool := Pool(0)))
    lease = Held()
    it.give("a1", lease=lease)
    await it.turns()
    lease.over = True
    pool.work_all()
    await it.rest()
    assert (it.called, it.lapsed) == ([], [1])


@played
async def test_how_long_a_call_took_is_told_as_its_thread_saw_it() -> None:
    seen = Seen()
    it = Scene(at_once=2, pool=(pool := Pool(0)), observer=seen)
    assert it.work._calls._threads is not None
    it.work._calls._threads.ahead = 5
    it.give("a1 b1 c1 d1")
    await it.turns()
    pool.work()
    await it.rest(2 * LOOK_S)
    assert [told for told in seen.told if told[0] == "called"] == [("called", 0, 1_000.0, 1_000.0, False)]


@pytest.mark.parametrize(
    ("held", "old", "left"), [(False, False, 1), (False, True, 1), (True, False, 1), (True, True, 0)]
)
def test_of_an_old_decision_what_came_from_the_store_is_read_anew(held: bool, old: bool, left: int) -> None:
    @played
    async def course() -> None:
        it = Scene()
        one = run("a", 1, held=held)
        one.epoch = it.work._known.epoch - old
        it.lanes.add(one.events[0])
        it.lanes.start()
        it.work._deciding.taken_back(one)
        assert (it.lanes.queued, it.lanes.running) == (left, 0)

    course()


@played
async def test_calls_of_the_busiest_keys_are_known_for_it() -> None:
    it = Scene(at_once=2, pool=Pool(0))
    it.give("a1 a2 a3 a4 b1 c1")
    await it.turns()
    assert {one.entity.key: one.busiest for one in it.work._calls.runs} == {"a": True, "b": False}
