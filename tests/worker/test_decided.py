"""What lanes make of a call that has ended: tried again, given up on, without room, or on what turned out old.

Pure: see `tests.worker.lanes`.
"""

from __future__ import annotations

import logging
from itertools import pairwise

import msgspec
import pytest

import inorder
from inorder.core.event import Partition
from inorder.core.waiting import Wait
from inorder.worker.runner import FIRST_PAUSE_S, LONGEST_PAUSE_S
from tests.worker.lanes import Scene, Seen, played, refused_beside_a_call
from tests.worker.played import HERE, THERE

# What a call that failed means.


@played
async def test_what_fails_is_tried_again_at_its_time_and_its_lane_waits_for_it() -> None:
    it = Scene()
    it.fails["a1"] = [ValueError("no")]
    it.give("a1 b1")
    it.give("a2")
    await it.rest(0.5)
    assert it.called == ["a1", "b1"]
    assert it.settled == [(0, 2), (0, 3)], "it has a durable place"
    await it.rest(1.0)
    assert it.called == ["a1", "b1", "a1", "a2"]
    assert (it.applied(), it.flows("a"), it.busy()) == ({"a": 2, "b": 1}, True, False)


@played
async def test_what_fails_each_time_is_given_up_on_and_its_key_is_parked() -> None:
    it = Scene()
    it.fails["a1"] = [ValueError("no") for _ in range(3)]
    it.give("a1 a2 b1")
    await it.rest(10.0)
    assert it.called == ["a1", "b1", "a1", "a1"]
    [row] = it.store.letters()
    assert (row.letter.version, row.letter.attempts) == (1, 3)
    waits = it.waits("a")
    assert waits.why is Wait.PARKED
    assert [row.version for row in it.store.held("a", 9)] == [2]
    assert it.settled == [(0, 3)]


@played
async def test_without_parking_a_key_goes_on_past_what_was_given_up_on() -> None:
    it = Scene(order="latest", park=False, retry=inorder.Retry(attempts=1))
    it.fails["a1"] = [ValueError("no")]
    it.give("a1 a2")
    await it.rest()
    assert it.called == ["a1", "a2"]
    assert it.applied() == {"a": 2}


@played
async def test_an_outage_pauses_all_lanes_and_blames_no_event(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "inorder.worker")
    it = Scene()
    it.fails["a1"] = [inorder.Unavailable("away")]
    it.give("a1")
    await it.rest(FIRST_PAUSE_S / 2)
    it.give("b1")
    await it.rest(FIRST_PAUSE_S / 4)
    assert (it.called, it.settled, it.lanes.running) == (["a1"], [], 0), "everything waits"
    await it.rest(FIRST_PAUSE_S / 2)
    assert it.called == ["a1", "a1", "b1"]
    assert (it.applied(), it.outcomes()) == ({"a": 1, "b": 1}, {"received": 2, "applied": 2})
    assert "paused: away" in caplog.text
    assert "goes on after a pause" in caplog.text


@played
async def test_while_an_outage_lasts_the_pauses_grow_and_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    it, times = Scene(observer=(seen := Seen())), list[float]()
    it.on_call = lambda: times.append(it.now())
    it.fails["a1"] = [inorder.Unavailable("away")] * 9
    it.give("a1")
    await it.rest(60.0)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([min(FIRST_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(9)])
    assert [one for one in seen.told if one[0] == "handler"] == [("handler", "away"), ("handler", None)]
    assert caplog.text.count("paused") == 1


@played
async def test_after_an_outage_the_next_one_begins_with_a_short_pause() -> None:
    seen = Seen()
    it = Scene(observer=seen)
    for _ in range(2):
        it.fails["a1"] = [inorder.Unavailable("away")] * 3
        it.give("a1")
        await it.rest(FIRST_PAUSE_S * 8)
        assert it.called == ["a1"] * 4
        it.called.clear()
        it.store.tables.entities.clear()
        it.work.own(it.store.acquire([HERE, THERE]), {})
        it.fences = dict(it.store.tables.fences)
    told = [one for one in seen.told if one[0] == "handler"]
    assert told == [("handler", "away"), ("handler", None)] * 2


@played
async def test_several_that_find_an_outage_at_once_pause_once() -> None:
    it = Scene(batch=2)
    it.stop_at("a1+a2", "b1")
    it.give("a1 a2 b1")
    await it.rest()
    it.let("a1+a2", inorder.Unavailable("away"))
    it.let("b1", inorder.Unavailable("away"))
    await it.rest(FIRST_PAUSE_S + 0.01)
    assert sorted(it.called) == ["a1+a2", "a1+a2", "b1", "b1"], "after the first pause, and in the same batches"
    assert it.applied() == {"a": 2, "b": 1}


@played
async def test_whoever_gives_up_on_an_event_wakes_what_waits_behind_it() -> None:
    it = Scene(order="latest", park=False)
    it.fails["a1"] = [ValueError("no")]
    it.give("a1")
    await it.rest(0.5)
    elsewhere = msgspec.structs.replace(it.waits("a"), why=Wait.GAP, home=Partition("topic", 9))
    it.store.tables.waits["a"] = elsewhere
    it.meddle("a")
    it.fences |= it.store.acquire([HERE])
    it.work.own(it.fences, {})
    it.fails["a2"] = [inorder.Poison("never")]
    it.give("a2")
    await it.rest(0.2)
    assert it.called == ["a1", "a2", "a1"]
    assert it.outcomes() == {"received": 2, "applied": 1, "dead_lettered": 1, "early": 1, "released": 1, "retries": 1}


# Want of room.


def crowd(it: Scene, letters: int = 0, held: int = 0) -> None:
    """The store has so many of these."""
    it.room.read(letters, held, ())


@played
async def test_an_early_event_without_room_stays_with_the_broker_and_its_lane_goes_on() -> None:
    it = Scene(limits=inorder.Limits(held=1))
    crowd(it, held=1)
    it.give("a3")
    await it.rest()
    assert (it.settled, list(it.work.full)) == ([], [HERE])
    it.give("a1 a2", THERE)
    await it.rest()
    assert it.called == ["a1", "a2"]
    assert it.settled == [(1, 3)]
    it.work.try_again()
    await it.rest()
    assert it.called == ["a1", "a2", "a3"]
    assert (it.settled, it.work.full, it.busy()) == ([(1, 3), (0, 1)], {}, False)


@played
async def test_what_failed_and_finds_no_room_stops_its_lane_alone() -> None:
    it = Scene(limits=inorder.Limits(letters=1), retry=inorder.Retry(attempts=1))
    crowd(it, letters=1)
    it.fails["a1"] = [ValueError("no"), ValueError("no")]
    it.give("a1 a2 b1 b2")
    await it.rest()
    assert it.called == ["a1", "b1", "b2"]
    assert (it.settled, list(it.work.full)) == ([], [HERE])
    it.work.try_again()
    await it.rest()
    assert it.called == ["a1", "b1", "b2", "a1"], "tried again in vain"
    assert list(it.work.full) == [HERE]
    crowd(it, letters=0)
    it.work.try_again()
    await it.rest()
    assert it.called == ["a1", "b1", "b2", "a1", "a1", "a2"]
    assert it.applied() == {"a": 2, "b": 2}
    assert (it.settled, it.work.full) == ([(0, 4)], {})


@played
async def test_what_cannot_be_read_becomes_a_letter_or_waits_for_room() -> None:
    it = Scene(limits=inorder.Limits(letters=1))
    it.give("? a1 ?")
    await it.rest()
    assert len(list(it.store.letters())) == 1
    assert (it.called, it.settled, list(it.work.full)) == (["a1"], [], [HERE])
    crowd(it)
    it.work.try_again()
    await it.rest()
    assert [row.letter.reason for row in it.store.letters()] == ["malformed"] * 2
    assert (it.settled, it.work.full) == ([(0, 3)], {})


# When what was decided turned out old.


@played
async def test_a_call_that_ends_after_a_refusal_is_decided_again_and_not_counted() -> None:
    it = await refused_beside_a_call()
    assert it.applied() == {"a": 1, "b": 2}, "b was read anew"
    it.meddle("a", version=2)
    it.let("a2")
    await it.rest()
    assert it.called.count("a2") == 1, "somebody else has done it meanwhile"
    assert it.outcomes() == {"received": 4, "applied": 3, "conflict": 1}, "it did so with another event"
    assert it.settled == [(0, 2), (0, 4)]


@played
async def test_an_event_from_the_store_that_ends_after_a_refusal_is_read_from_there_again() -> None:
    it = Scene()
    it.fails["a1"] = [ValueError("no")]
    it.give("a1 b1")
    await it.rest()
    it.stop_at("a1")
    await it.rest(1.0)
    assert it.called == ["a1", "b1", "a1"]
    it.meddle("b")
    it.give("b2")
    await it.rest()
    assert it.applied() == {"a": 0, "b": 2}
    it.let("a1")
    await it.rest(2.0)
    assert it.applied() == {"a": 1, "b": 2}
    assert it.called.count("a1") == 3, "not more often: it was in the lane once"
    assert it.outcomes() == {"received": 3, "applied": 3, "early": 1, "released": 1, "retries": 1}


@played
async def test_what_an_observer_does_not_want_to_know_is_not_told() -> None:
    class Blind(Seen):
        watches = False

    seen = Blind()
    it = Scene(observer=seen)
    it.give("a1")
    await it.rest()
    assert (it.called, seen.told) == (["a1"], [])


@played
async def test_an_entity_that_a_long_lane_comes_to_is_committed_while_others_run() -> None:
    it = Scene()
    it.stop_at("z1")
    it.give("z1")
    await it.rest()
    it.give("a1", THERE)
    await it.rest()
    assert (it.applied(), it.settled) == ({"a": 1}, [(1, 2)])
    it.give("a1", THERE)
    await it.rest()
    assert it.settled == [(1, 2), (1, 3)], "a duplicate too, for which no handler runs"


@played
async def test_what_turns_out_to_be_done_by_others_is_settled_though_nothing_else_happens() -> None:
    it = await refused_beside_a_call()
    it.meddle("a", version=2)
    it.give("a2")
    await it.rest()
    it.let("a2")
    await it.rest()
    assert (it.called.count("a2"), it.settled) == (1, [(0, 2), (0, 4), (0, 5)])


@played
async def test_a_worker_that_stops_calls_no_handler_with_what_a_failed_call_leaves() -> None:
    it = Scene(batch=2, order="latest", park=False, retry=inorder.Retry(attempts=1))
    it.stop_at("a1+a2")
    it.give("a1 a2")
    await it.rest()
    ended: list[bool] = []
    it.work.finish(lambda: ended.append(True))
    it.let("a1+a2", ValueError("no"))
    await it.rest()
    assert (it.called, ended) == (["a1+a2"], [True])
    assert it.outcomes() == {"received": 1, "dead_lettered": 1}, "what came of it is written"
