"""What a refused commit means to lanes, and what they try again when there is room.

Pure: see `tests.worker.lanes`.
"""

from __future__ import annotations

import inorder
from inorder.worker.batch import SHARED_S
from tests.worker.lanes import Held, Scene, played, refused
from tests.worker.played import HERE, THERE

# A refused commit.


@played
async def test_what_was_decided_on_old_knowledge_is_decided_again_and_nothing_of_it_was_written() -> None:
    it = await refused()
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
    assert it.outcomes() == {"received": 4, "applied": 4, "early": 2, "released": 2}, "each once"


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
    it.desk.writes.close()
    await it.rest(2.0)
    assert it.desk.writes.waiting == 1, "it is being claimed"
    it.meddle("a")
    it.desk.writes.open()
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
async def test_a_lane_that_stood_still_goes_on_when_there_is_room() -> None:
    it = Scene(limits=inorder.Limits(letters=1), retry=inorder.Retry(attempts=1))
    it.room.read(1, 0, ())
    it.fails["a1"] = [ValueError("no")]
    it.give("a1")
    await it.rest()
    assert (it.called, list(it.work.full), it.busy()) == (["a1"], [HERE], False)
    it.room.read(0, 0, ())
    it.work.try_again()
    assert (it.lanes.queued, it.work._calls.running, it.busy()) == (0, 0, True), "its entity is to be read anew"
    await it.rest()
    assert (it.called, it.applied(), it.work.full) == (["a1", "a1"], {"a": 1}, {})


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
    assert it.desk.written == [], "nor is it tried"
