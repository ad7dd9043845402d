"""How lanes let go of partitions, and how they end.

Pure: see `tests.worker.lanes`.
"""

from __future__ import annotations

import asyncio

import inorder
from inorder.core.waiting import AT_ONCE, Wait, Waiting
from tests.worker.lanes import Scene, paused, played
from tests.worker.played import HERE, THERE

# Letting go.


@played
async def test_of_a_partition_that_goes_nothing_more_starts_and_what_runs_is_written() -> None:
    it = Scene(at_once=2)
    it.stop_at("a1", "b1")
    it.give("a1 a2")
    it.give("b1 b2", THERE)
    it.give("c1")
    await it.rest()
    it.work.drop({HERE})
    drained = asyncio.ensure_future(it.work.drained({HERE}))
    await it.rest()
    assert not drained.done(), "a handler runs"
    it.desk.writes.close()
    it.let("a1")
    await it.rest()
    assert not drained.done(), "what it came to is not written"
    it.desk.writes.open()
    await it.rest()
    assert drained.done()
    assert it.applied() == {"a": 1}
    it.let("b1")
    await it.rest()
    assert it.called == ["a1", "b1", "b2"]
    assert it.settled == [(1, 4)]


@played
async def test_letting_go_waits_for_what_was_decided_and_for_nothing_of_others() -> None:
    it = Scene()
    it.stop_at("b1")
    it.give("b1", THERE)
    it.give("a1")
    it.desk.writes.close()
    await it.rest()
    it.give("a2")
    await it.rest()
    it.work.drop({HERE})
    drained = asyncio.ensure_future(it.work.drained({HERE}))
    await it.rest()
    assert (drained.done(), it.settled) == (False, [])
    it.desk.writes.open()
    await it.rest()
    assert (drained.done(), it.settled) == (True, [(0, 2), (0, 3)])
    assert it.applied() == {"a": 2}
    assert it.work._calls.running == 1


@played
async def test_what_ends_after_its_partition_was_let_go_of_settles_nothing() -> None:
    it = Scene()
    it.stop_at("a1", "b1")
    it.give("a1 b1")
    await it.rest()
    it.let("b1")
    await it.rest()
    it.work.drop({HERE})
    it.let("a1")
    await it.work.drained({HERE})
    await it.rest()
    it.fences |= it.store.acquire([HERE])
    it.work.own(it.fences, {})
    assert it.work._groups._open == {}


@played
async def test_letting_go_does_not_wait_for_what_others_are_writing() -> None:
    it = Scene()
    it.desk.writes.close()
    it.give("a1")
    await it.rest()
    it.work.drop({HERE})
    drained = asyncio.ensure_future(it.work.drained({HERE}))
    await it.rest()
    it.give("b1", THERE)
    await it.rest()
    it.desk.writes.open()
    it.desk.writes.close()
    await it.rest()
    assert (it.settled, it.desk.writes.waiting) == ([(0, 1)], 1), "the next commit is of others alone"
    assert drained.done()


@played
async def test_letting_go_ends_when_what_was_decided_is_refused() -> None:
    it = Scene()
    it.desk.writes.close()
    it.give("a1")
    await it.rest()
    it.give("b1")
    await it.rest()
    it.store.acquire([HERE])
    it.work.drop({HERE})
    drained = asyncio.ensure_future(it.work.drained({HERE}))
    it.desk.writes.open()
    await it.rest()
    assert drained.done()
    assert (it.applied(), it.settled) == ({}, [])


@played
async def test_letting_go_waits_for_a_commit_that_has_not_begun() -> None:
    it = Scene()
    it.stop_at("a1", "z1")
    it.give("a1")
    it.give("b1 z1", THERE)
    await it.turns()
    it.let("a1")
    await it.turns()
    assert (len(it.desk.written), bool(it.work._groups.now.changes)) == (1, True)
    it.work.drop({HERE})
    await it.work.drained({HERE})
    assert (it.applied(), it.settled) == ({"a": 1, "b": 1}, [(0, 1)])


@played
async def test_nothing_is_kept_of_deliveries_that_were_let_go_of() -> None:
    it = Scene(at_once=1)
    it.stop_at("a1")
    it.give("a1 a2")
    await it.rest()
    it.work.drop({HERE})
    it.let("a1")
    await it.work.drained({HERE})
    assert (it.applied(), it.settled, it.work._groups._open) == ({"a": 1}, [], {})


@played
async def test_held_events_of_a_key_whose_home_goes_are_left_to_its_next_owner() -> None:
    it = Scene(at_once=1)
    it.give("a2 a3")
    it.give("c1")
    await it.rest()
    it.stop_at("a2")
    it.give("a1", THERE)
    await it.rest()
    assert it.called == ["c1", "a1", "a2"]
    it.work.drop({THERE})
    it.let("a2")
    await it.work.drained({THERE})
    await it.rest()
    assert it.called == ["c1", "a1", "a2"]
    assert it.applied() == {"a": 2, "c": 1}
    it.give("c2")
    await it.rest()
    assert it.called[3:] == ["c2"], "what is at home elsewhere goes on"


@played
async def test_held_events_of_a_key_at_home_here_stay_when_the_partition_they_came_from_goes() -> None:
    it = Scene(at_once=1)
    it.give("a2 a3")
    await it.rest()
    it.stop_at("a2")
    it.give("a1", THERE)
    await it.rest()
    it.work.drop({HERE})
    it.let("a2")
    await it.rest()
    assert it.called == ["a1", "a2", "a3"]
    assert it.applied() == {"a": 3}


@played
async def test_a_lane_that_stood_still_for_a_partition_that_goes_goes_on_with_the_rest() -> None:
    it = Scene(limits=inorder.Limits(letters=1), retry=inorder.Retry(attempts=1), batch=2)
    it.room.read(1, 0, ())
    it.fails["a1"] = [ValueError("no")]
    it.give("a1")
    await it.rest()
    it.room.read(0, 0, ())
    it.give("a1", THERE)
    await it.rest()
    assert it.called == ["a1"]
    it.work.drop({HERE})
    it.work.go()
    await it.rest()
    assert it.called == ["a1", "a1"]
    assert it.settled == [(1, 2)]


# The end.


@played
async def test_a_worker_that_ends_finishes_what_runs_and_commits_it() -> None:
    it = Scene(at_once=2)
    it.stop_at("a1", "b1")
    it.give("a1 a2")
    it.give("b1 c1")
    await it.rest()
    ended: list[float] = []
    it.work.finish(lambda: ended.append(it.now()))
    it.give("d1")
    await it.rest()
    assert (ended, it.lanes.queued) == ([], 0)
    it.desk.writes.close()
    it.let("a1")
    await it.rest()
    it.let("b1")
    await it.rest()
    assert ended == [], "it is not written"
    it.desk.writes.open()
    await it.rest()
    assert (len(ended), it.applied(), it.called) == (1, {"a": 1, "b": 1}, ["a1", "b1"])


@played
async def test_a_worker_does_not_end_before_its_last_commit_is_through() -> None:
    it = Scene()
    it.desk.writes.close()
    it.give("a1")
    await it.rest()
    ended: list[bool] = []
    it.work.finish(lambda: ended.append(True))
    await it.rest()
    assert ended == []
    it.desk.writes.open()
    await it.rest()
    assert (ended, it.applied()) == ([True], {"a": 1})


@played
async def test_a_worker_does_not_end_before_its_last_commit_has_begun() -> None:
    it = await paused()
    ended: list[int] = []
    it.work.finish(lambda: ended.append(len(it.store.tables.entities)))
    assert (ended, len(it.desk.written)) == ([], 1)
    await it.rest()
    assert (ended, it.applied()) == ([2], {"a": 1, "b": 1})


@played
async def test_a_worker_with_nothing_to_do_ends_at_once_and_wakes_nobody() -> None:
    it = Scene()
    ended: list[bool] = []
    it.work.finish(lambda: ended.append(True))
    assert ended == [True]
    it.work.own(it.fences, {"a": Waiting(Wait.RETRY, 1, 0.0, AT_ONCE)})
    await it.rest()
    assert it.desk.loaded == []


@played
async def test_a_call_that_is_cut_short_at_the_end_has_no_consequence() -> None:
    it = Scene()
    it.stop_at("a1")
    it.give("a1")
    await it.rest()
    it.work.leave()
    await it.rest()
    assert (it.cut, it.applied(), it.outcomes(), it.failures) == (["a1"], {}, {}, [])
    assert it.desk.ends == []
    it.work.close()
    assert it.desk.ends == ["closed"]


@played
async def test_what_is_closed_runs_no_more() -> None:
    it = Scene()
    it.stop_at("a1")
    it.give("a1")
    await it.rest()
    it.work.close()
    await it.rest()
    assert (it.cut, it.outcomes(), it.desk.ends) == (["a1"], {}, ["closed"])


@played
async def test_lanes_that_are_abandoned_say_nothing_and_start_nothing() -> None:
    it = Scene(at_once=1)
    it.stop_at("a1")
    it.give("a1 b1")
    await it.rest()
    it.desk.writes.close()
    it.let("a1")
    await it.rest()
    it.stop_at("c1")
    it.give("c1")
    await it.rest()
    assert it.called == ["a1", "b1", "c1"]
    it.work.abandon()
    it.desk.writes.open()
    await it.rest()
    assert (it.settled, it.desk.ends, it.cut) == ([], ["abandoned"], ["c1"])
    it.give("d1")
    await it.rest()
    assert it.called == ["a1", "b1", "c1"]
    for tell in (it.work.on_settled, it.work.on_lapsed):
        tell([])
    it.work.on_lost({})
    it.work.on_failure(ValueError())
    assert (it.lost, it.lapsed, it.failures) == ([], [], [])
