"""What lanes take in, what a refused commit means to them, and how they let go of partitions and end.

Pure: see `tests.worker.lanes`.
"""

from __future__ import annotations

import asyncio
import logging

import pytest

import inorder
from inorder.core.waiting import AT_ONCE, Wait, Waiting
from inorder.errors import HandlerTimeout
from inorder.worker import commits as committing
from inorder.worker.batch import SHARED_S
from tests.worker.lanes import HERE, THERE, Held, Scene, played

# Taking in.


@played
async def test_under_strict_order_what_is_polled_together_is_handled_in_order_and_nothing_is_held() -> None:
    it = Scene()
    it.give("a3 a1 a2")
    await it.rest()
    assert it.called == ["a1", "a2", "a3"]
    assert it.outcomes() == {"received": 3, "applied": 3}


@played
async def test_under_another_order_what_is_polled_together_is_handled_as_it_came() -> None:
    it = Scene(order="latest")
    it.give("a3 a1 a4")
    await it.rest()
    assert it.called == ["a3", "a4"]
    assert it.outcomes() == {"received": 3, "applied": 2, "stale": 1}


@played
async def test_an_entity_is_read_once_and_then_known() -> None:
    it = Scene()
    it.give("a1 b1")
    await it.rest()
    it.give("a2")
    it.work.own(it.fences, {})
    await it.rest()
    assert it.desk.loaded == [["a", "b"]]
    assert it.called == ["a1", "b1", "a2"]


@played
async def test_what_is_known_is_forgotten_when_a_partition_comes_but_where_we_are_at_work() -> None:
    """Its last owner may have done more since. Of an entity that is in use a second copy would be one too many."""
    it = Scene(at_once=3)
    it.give("i1 r1 c1")
    await it.rest()
    it.give("w2")
    await it.rest()
    it.stop_at("r2", "w1")
    it.desk.writes.close()
    it.give("c2")
    await it.rest()
    it.give("r2")
    await it.turns()
    it.desk.loaded.clear()
    it.work.own(it.fences | it.store.acquire([THERE]), {})
    for key in "irc":
        assert (it.work._known.find(key) is None) is (key == "i"), key
    it.desk.writes.open()
    it.let("r2")
    await it.rest()
    assert it.applied() == {"i": 1, "r": 2, "c": 2, "w": 0}


@played
async def test_what_others_did_with_a_partition_is_seen_when_it_comes_back() -> None:
    it = Scene()
    it.give("a1")
    await it.rest()
    it.work.drop({HERE})
    it.meddle("a", version=3)
    it.fences |= it.store.acquire([HERE])
    it.work.own(it.fences, {})
    it.give("a2 a3 a4")
    await it.rest()
    assert it.called == ["a1", "a4"]


@played
async def test_keys_that_wait_where_a_partition_comes_from_are_woken_at_their_time() -> None:
    it = Scene()
    it.fails["a1"] = [ValueError("no")]
    it.give("a1")
    await it.rest(0.5)
    other = Scene(store=it.store)
    other.work.own(other.fences, it.store.due([HERE, THERE]))
    assert other.busy(), "an event waits for its retry"
    await other.rest(0.4)
    assert other.called == []
    await other.rest(0.5)
    assert (other.called, other.applied(), other.busy()) == (["a1"], {"a": 1}, False)


@played
async def test_all_that_is_to_be_done_counts_as_work() -> None:
    it = Scene(at_once=1)
    assert not it.busy()
    it.desk.loads.close()
    it.give("a1")
    await it.rest()
    assert it.busy(), "it is being read"
    it.desk.loads.open()
    it.stop_at("a1", "b1")
    await it.rest()
    assert (it.called, it.lanes.queued, it.busy()) == (["a1"], 0, True), "it runs"
    it.give("b1")
    await it.rest()
    assert (it.lanes.queued, it.busy()) == (1, True), "another one is queued"
    it.desk.writes.close()
    for name in ("a1", "b1"):
        it.let(name)
        await it.rest()
    assert (it.work._calls.running, it.busy()) == (0, True), "it is being written"
    it.desk.writes.open()
    await it.rest()
    assert (it.applied(), it.busy()) == ({"a": 1, "b": 1}, False)


@played
async def test_what_is_decided_and_not_yet_being_written_counts_as_work() -> None:
    it = Scene()
    it.work._groups.now.changes.count("received")
    assert it.busy()


@played
async def test_what_is_queued_for_a_pause_to_end_counts_as_work() -> None:
    it = Scene()
    it.fails["a1"] = [inorder.Unavailable("away")]
    it.give("a1")
    await it.turns()
    assert (it.called, it.work._calls.running, it.busy()) == (["a1"], 0, True)


@played
async def test_of_an_entity_whose_handler_runs_no_second_copy_is_used() -> None:
    """It would be decided on as if nothing had happened."""
    it = Scene(limits=inorder.Limits(cache_bytes=0))
    it.stop_at("a1")
    it.give("a1")
    await it.rest()
    it.give("b1")
    it.give("c1")
    await it.rest()
    it.give("a2")
    await it.rest()
    it.let("a1")
    await it.rest()
    assert it.called == ["a1", "b1", "c1", "a2"]
    assert it.outcomes() == {"received": 4, "applied": 4}


# Commits.


@played
async def test_while_more_runs_or_is_queued_commits_keep_their_distance() -> None:
    it = Scene(at_once=2)
    it.stop_at("b1", "c1", "d1")
    it.give("a1 b1 c1 d1")
    await it.turns()
    assert (it.called, it.desk.written) == (["a1", "c1", "b1"], [(["a"], {HERE: 1})])
    it.let("b1")
    await it.turns()
    assert (it.called, len(it.desk.written)) == (["a1", "c1", "b1", "d1"], 1), "others may end as soon"
    await it.rest(committing.COMMIT_EVERY_S)
    assert [keys for keys, _ in it.desk.written] == [["a"], ["b"]]
    it.let("c1")
    await it.turns()
    assert len(it.desk.written) == 2
    it.let("d1")
    await it.turns()
    assert [keys for keys, _ in it.desk.written] == [["a"], ["b"], ["c", "d"]], "nothing runs any more"


@played
async def test_what_is_queued_for_a_pause_to_end_keeps_commits_apart_too() -> None:
    it = Scene(at_once=1)
    it.stop_at("b1")
    it.fails["c1"] = [inorder.Unavailable("away")]
    it.give("a1 b1 c1")
    await it.turns()
    it.let("b1")
    await it.turns()
    assert (it.called, it.work._calls.running, it.lanes.queued) == (["a1", "b1", "c1"], 0, 1)
    assert len(it.desk.written) == 1
    await it.rest(committing.COMMIT_EVERY_S)
    assert [keys for keys, _ in it.desk.written] == [["a"], ["b"]]


@played
async def test_a_commit_that_settles_nothing_says_nothing() -> None:
    it = Scene()
    told: list[object] = []
    it.work.on_settled = told.append
    it.stop_at("b1")
    it.give("a1 b1")
    await it.rest()
    assert (it.applied(), told) == ({"a": 1}, [])
    it.let("b1")
    await it.rest()
    assert len(told) == 1


# A refused commit.


@played
async def test_what_was_decided_on_old_knowledge_is_decided_again_and_nothing_of_it_was_written() -> None:
    it = Scene()
    it.give("a1 b1")
    await it.rest()
    it.meddle("a")
    it.give("a2 b2")
    await it.rest()
    assert it.called == ["a1", "b1", "a2", "b2", "a2", "b2"]
    assert (it.applied(), it.settled) == ({"a": 2, "b": 2}, [(0, 2), (0, 4)])
    assert it.outcomes() == {"received": 4, "applied": 4}


@played
async def test_what_was_decided_while_a_refused_commit_was_being_written_is_decided_again_too() -> None:
    it = Scene()
    it.give("a1 b1")
    await it.rest()
    it.meddle("a")
    it.desk.writes.close()
    it.give("a2")
    await it.rest()
    it.give("b2 ?", THERE)
    await it.rest()
    it.desk.writes.open()
    await it.rest()
    assert it.called == ["a1", "b1", "a2", "b2", "a2", "b2"]
    assert (it.applied(), sorted(it.settled)) == ({"a": 2, "b": 2}, [(0, 2), (0, 3), (1, 5)])
    assert len(list(it.store.letters())) == 1, "once, of what cannot be read"
    assert it.outcomes() == {"received": 5, "applied": 4, "dead_lettered": 1}


@played
async def test_a_letter_of_a_refused_commit_is_written_with_the_next() -> None:
    it = Scene()
    it.give("a1")
    await it.rest()
    it.meddle("a")
    it.give("a2 ?")
    await it.rest()
    assert it.outcomes() == {"received": 3, "applied": 2, "dead_lettered": 1}
    assert len(list(it.store.letters())) == 1
    assert it.settled == [(0, 1), (0, 3)]


@played
async def test_of_a_commit_that_is_fenced_only_what_is_ours_is_decided_again() -> None:
    it = Scene()
    it.store.acquire([THERE])
    it.desk.writes.close()
    it.stop_at("z1")
    it.give("a1 ? z1")
    it.give("b1 ?", THERE)
    await it.rest()
    it.give("c1", THERE)
    await it.rest()
    it.desk.writes.open()
    await it.rest()
    assert it.lost == [{THERE: it.fences[THERE]}]
    assert it.called == ["a1", "z1", "b1", "c1", "a1"]
    assert it.applied() == {"a": 1}
    assert it.outcomes() == {"received": 2, "applied": 1, "dead_lettered": 1}
    it.let("z1")
    await it.rest()
    assert it.work._groups._open == {}
    it.give("d1", THERE)
    await it.rest()
    assert "d1" not in it.called, "it is the new owner's"
    assert it.settled == [(0, 3)]


@played
async def test_a_fence_that_was_refused_takes_nothing_from_a_partition_that_came_back_meanwhile() -> None:
    it = Scene()
    old = it.fences[THERE]
    it.store.acquire([THERE])
    it.desk.writes.close()
    it.give("b1", THERE)
    await it.rest()
    it.fences |= it.store.acquire([THERE])
    it.work.own(it.fences, {})
    it.desk.writes.open()
    await it.rest()
    assert it.lost == [{THERE: old}], "the poll loop knows that this is old"
    it.give("b1", THERE)
    await it.rest()
    assert (it.called, it.applied(), it.settled) == (["b1", "b1"], {"b": 1}, [(1, 2)])


@played
async def test_what_came_back_from_the_store_is_read_anew_after_a_refusal() -> None:
    it = Scene(limits=inorder.Limits(cache_bytes=0))
    it.give("a2 a3 b1")
    await it.rest()
    it.stop_at("a3")
    it.give("a1", THERE)
    await it.rest()
    assert it.called == ["b1", "a1", "a2", "a3"]
    it.meddle("a")
    it.let("a3")
    await it.rest()
    assert it.called == ["b1", "a1", "a2", "a3", "a3"]
    assert (it.applied(), it.flows("a"), it.busy()) == ({"a": 3, "b": 1}, True, False)


@played
async def test_what_a_queues_worker_knows_is_not_trusted_for_a_while_after_others_changed_it() -> None:
    it = Scene(queue=True)
    it.give("a1 b1 c1", lease=Held())
    await it.rest()
    it.meddle("a")
    it.give("a2", lease=Held())
    await it.rest()
    it.give("b2", lease=Held())
    await it.rest()
    assert it.applied() == {"a": 2, "b": 2, "c": 1}
    it.desk.loaded.clear()
    it.meddle("b", version=3)
    it.give("b3 b4", lease=Held())
    await it.rest()
    assert it.desk.loaded == [["b"]]
    assert (it.called.count("b3"), it.called.count("b4"), it.applied()["b"]) == (0, 1, 4)
    await it.rest(SHARED_S)
    it.desk.loaded.clear()
    it.give("b5", lease=Held())
    await it.rest()
    assert (it.desk.loaded, it.applied()["b"]) == ([], 5), "it goes by what it knows again"


@played
async def test_what_is_at_work_is_not_read_anew_though_others_may_change_it() -> None:
    it = Scene(queue=True)
    it.give("a1", lease=Held())
    await it.rest()
    it.meddle("a")
    it.give("a2 b1", lease=Held())
    await it.rest()
    it.stop_at("b2")
    it.give("b2", lease=Held())
    await it.rest()
    it.desk.loaded.clear()
    it.give("b3", lease=Held())
    await it.rest()
    it.let("b2")
    await it.rest()
    assert (it.desk.loaded, it.applied()["b"]) == ([], 3)


@played
async def test_a_worker_that_was_outrun_to_a_key_reads_it_anew_and_trusts_what_it_knows_less() -> None:
    it = Scene(queue=True)
    it.fails["a1"] = [ValueError("no")]
    it.give("a1 b1", lease=Held())
    await it.rest(0.5)
    it.meddle("a")
    await it.rest(2.0)
    assert it.called == ["a1", "b1", "a1"], "read anew, it was ours to wake"
    assert (it.applied(), it.failures, it.busy()) == ({"a": 1, "b": 1}, [], False)
    it.give("b2", lease=Held())
    await it.rest()
    it.meddle("b", version=3)
    it.give("b3", lease=Held())
    await it.rest()
    assert "b3" not in it.called


@played
async def test_the_owner_of_a_partition_knows_what_it_has_read_after_a_refusal() -> None:
    it = Scene()
    it.give("a1")
    await it.rest()
    it.meddle("a")
    it.give("a2")
    await it.rest()
    it.desk.loaded.clear()
    it.give("a3")
    await it.rest()
    assert (it.desk.loaded, it.applied()) == ([], {"a": 3})


@played
async def test_a_key_that_another_worker_of_the_queue_woke_is_read_anew_and_left_to_it() -> None:
    it = Scene(queue=True)
    other = Scene(queue=True, store=it.store)
    it.fails["a1"] = [ValueError("no")]
    it.give("a1 b1", lease=Held())
    await it.rest(0.5)
    other.work.own(other.fences, dict(it.store.tables.waits))
    it.stop_at("a1")
    other.stop_at("a1")
    await it.rest(5.0)
    assert it.called.count("a1") + other.called.count("a1") == 2, "one of them"
    (it if it.called.count("a1") == 2 else other).let("a1")
    await it.rest()
    assert it.applied() == {"a": 1, "b": 1}
    assert it.outcomes()["applied"] == 2


# Handlers that hang.


@played
async def test_a_handler_that_hangs_is_given_up_on_and_its_event_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    it = Scene(at_once=2)
    it.stop_at("a1", "b1")
    it.give("a1 b1")
    await it.rest(2.0)
    it.give("c1")
    it.work.watch(30.0)
    await it.rest()
    assert it.called == ["a1", "b1"]
    it.let("b1")
    await it.turns()
    it.stop_at("c1")
    await it.rest()
    assert it.called == ["a1", "b1", "c1"]
    del it.stops["a1"]
    it.work.watch(2.9)
    it.work.watch(2.9)
    it.work.watch(2.9)
    waits = it.work._groups.now.changes.waits["a"]
    assert waits is not None
    assert (waits.why, waits.attempts) == (Wait.RETRY, 1)
    assert waits.reason.startswith(HandlerTimeout.__name__)
    assert "2.9 s" in waits.reason
    assert "key a version 1: the handler hangs" in caplog.text
    it.let("c1")
    await it.rest(2.0)
    assert it.called == ["a1", "b1", "c1", "a1"]
    assert it.applied() == {"a": 1, "b": 1, "c": 1}


@played
async def test_a_handler_that_hangs_gives_its_place_to_the_next() -> None:
    it = Scene(at_once=1)
    it.stop_at("a1")
    it.give("a1 b1")
    for _ in range(3):
        await it.rest(1.0)
        it.work.watch(2.5)
    assert it.cut == []
    await it.rest()
    assert (it.called, it.cut) == (["a1", "b1"], ["a1"])


@played
async def test_a_handler_that_hangs_and_was_called_on_old_knowledge_is_decided_again() -> None:
    it = Scene(at_once=2)
    it.give("b1")
    await it.rest()
    it.stop_at("a1")
    it.give("a1")
    it.meddle("b")
    it.give("b2")
    await it.rest(1.0)
    assert it.called == ["b1", "a1", "b2", "b2"]
    while not it.cut:
        await it.rest(1.0)
        it.work.watch(2.5)
        it.stops.pop("a1", None)
        await it.turns()
    assert it.called == ["b1", "a1", "b2", "b2", "a1"]
    await it.rest()
    assert (it.applied(), it.outcomes()) == ({"a": 1, "b": 2}, {"received": 3, "applied": 3})


# Room.


@played
async def test_keys_that_found_no_room_are_read_anew_before_they_are_tried_again() -> None:
    """Whoever made room may have changed them."""
    it = Scene(limits=inorder.Limits(held=1))
    it.give("a1")
    await it.rest()
    it.room.read(0, 1, ())
    it.give("a3")
    await it.rest()
    it.meddle("a", version=2)
    it.room.read(0, 1, ())
    it.work.try_again()
    await it.rest()
    assert it.called == ["a1", "a3"]
    assert it.applied() == {"a": 3}


@played
async def test_an_entity_that_is_at_work_is_not_forgotten_when_there_is_room() -> None:
    it = Scene(limits=inorder.Limits(held=1))
    it.give("a1 b1")
    await it.rest()
    it.room.read(0, 1, ())
    it.give("a4")
    it.give("b4")
    await it.rest()
    it.desk.writes.close()
    it.give("a2")
    await it.rest()
    it.desk.loaded.clear()
    it.work.try_again()
    await it.rest()
    assert it.desk.loaded == [], "while something is being written nothing is forgotten"
    it.desk.writes.open()
    await it.rest()
    it.stop_at("c1")
    it.give("c1")
    await it.rest()
    it.stop_at("a3")
    it.give("a3")
    await it.rest()
    it.let("a3")
    await it.turns()
    it.work.try_again()
    await it.rest()
    assert it.applied()["a"] == 4


@played
async def test_what_found_no_room_and_is_not_ours_any_more_is_not_tried_again() -> None:
    it = Scene(limits=inorder.Limits(letters=1), retry=inorder.Retry(attempts=1))
    it.room.read(1, 0, ())
    it.fails["a1"] = [ValueError("no")] * 2
    it.give("? a1 a2")
    it.give("? b1", THERE)
    await it.rest()
    assert sorted(it.work.full) == [HERE, THERE]
    it.work.drop({HERE})
    assert list(it.work.full) == [THERE]
    it.room.read(0, 0, ())
    it.work.try_again()
    await it.rest()
    assert it.called == ["a1", "b1"]
    assert [row.letter.record.partition for row in it.store.letters()] == [THERE]
    assert it.settled == [(1, 5)]


@played
async def test_what_cannot_be_read_and_came_under_an_old_fence_makes_no_letter() -> None:
    it = Scene(limits=inorder.Limits(letters=1))
    it.room.read(1, 0, ())
    it.give("?")
    await it.rest()
    it.fences |= it.store.acquire([HERE])
    it.work.own(it.fences, {})
    it.room.read(0, 0, ())
    it.work.try_again()
    await it.rest()
    assert (list(it.store.letters()), it.settled) == ([], [])


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
    it = Scene(at_once=1)
    it.stop_at("b1")
    it.fails["c1"] = [inorder.Unavailable("away")]
    it.give("a1 b1 c1")
    await it.turns()
    it.let("b1")
    await it.turns()
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


@played
async def test_an_event_that_blocked_the_loop_fails_without_being_tried() -> None:
    it = Scene(retry=inorder.Retry(attempts=1))
    piece = it.piece("a1 b1")
    (event, _), _ = it.codec.read(piece)
    it.work.bar(event, HandlerTimeout("ran for more than 1 s"))
    it.take_in([piece])
    await it.rest()
    assert it.called == ["b1"]
    [row] = it.store.letters()
    assert (row.letter.key, row.letter.detail) == ("a", "HandlerTimeout: ran for more than 1 s")


@played
async def test_whoever_looks_from_outside_sees_whose_handler_has_the_loop() -> None:
    it, seen = Scene(), list[object]()
    it.on_call = lambda: seen.append(it.work.stuck_in())
    it.give("a1")
    await it.rest()
    [event] = seen
    assert isinstance(event, inorder.core.event.Event)
    assert (event.key, event.version) == ("a", 1)
    assert it.work.stuck_in() is None


@played
async def test_what_goes_wrong_within_is_told_and_not_taken_for_an_outcome(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    it = Scene()
    error = RuntimeError("broken")

    async def broken(_: object) -> dict[str, object]:
        raise error

    it.desk.load = broken  # type: ignore[method-assign,assignment]
    it.give("a1")
    await it.rest()
    assert it.failures == [error]
    assert not it.work._tasks


@played
async def test_work_that_is_cancelled_is_no_failure() -> None:
    it = Scene()
    it.desk.loads.close()
    it.give("a1")
    await it.rest()
    for task in list(it.work._tasks):
        task.cancel()
    await it.rest()
    assert (it.failures, it.busy()) == ([], False)
