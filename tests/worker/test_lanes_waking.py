"""Keys of lanes that are woken while their live events are being handled: nothing that waits is forgotten."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import inorder
from tests.worker.lanes import Gate, Scene, played
from tests.worker.played import HERE, SET_GOING, THERE


@pytest.mark.parametrize("queue", [False, True])
@played
async def test_what_fills_a_gap_while_its_key_is_rung_for_sets_free_what_waits(queue: bool) -> None:
    it = Scene(queue=queue)
    it.give("a1 a3")
    await it.rest()
    it.stop_at("a2")
    it.give("a2")
    await it.rest()
    it.desk.loads.close()
    it.work.own(it.fences, dict.fromkeys("ab", SET_GOING))
    await it.turns()
    assert it.desk.loads.waiting, "both are rung for, and one is being read"
    it.let("a2")
    await it.rest()
    it.desk.loads.open()
    await it.rest(5.0)
    assert (it.called, it.applied(), it.busy()) == (["a1", "a2", "a3"], {"a": 3}, False)


@played
async def test_a_retry_that_comes_due_while_others_of_its_key_are_still_queued_is_not_forgotten() -> None:
    it = Scene(at_once=1)
    it.fails["a1"] = [ValueError("once")]
    it.give("a1 a2")
    await it.rest(0.5)
    it.stop_at("a1", "b1")
    await it.rest(1.0)
    assert it.called == ["a1", "a1"], "it is tried again, and what waits behind it is queued"
    it.give("b1")
    await it.turns()
    it.let("a1", ValueError("twice"))
    await it.rest(2.0)
    assert it.called == ["a1", "a1", "b1"], "its next retry is due, and the only place is taken"
    it.let("b1")
    await it.rest(1.0)
    assert (it.called[3:], it.applied(), it.busy()) == (["a1", "a2"], {"a": 2, "b": 1}, False)


@played
async def test_a_key_is_not_woken_twice_at_once() -> None:
    """A retry finds its handler's needs away while its partition goes, comes, goes, and comes again."""
    it = Scene()
    it.fails["a1"] = [ValueError("once")]
    it.give("a1")
    await it.rest(0.5)
    it.stop_at("a1")
    await it.rest(1.0)
    assert it.called == ["a1", "a1"], "it is tried again"
    it.work.drop({HERE})
    it.fences |= it.store.acquire([HERE])
    it.work.own(it.fences, {"a": it.waits("a")})
    it.desk.loads.close()
    it.let("a1", inorder.Unavailable("away"))
    await it.rest(0.2)
    assert it.desk.loads.waiting == 1, "it is rung for, and being read"
    it.work.drop({HERE})
    it.fences |= it.store.acquire([HERE])
    it.work.own(it.fences, {"a": it.waits("a")})
    await it.rest(0.2)
    it.desk.loads.open()
    await it.rest(2.0)
    assert it.called == ["a1"] * 3
    assert it.outcomes() == {"applied": 1, "received": 1, "early": 1, "released": 1, "retries": 1}


@played
async def test_what_others_decided_is_not_refused_for_a_key_that_was_woken_and_moved_before_it_was_tried() -> None:
    """The home of a key that is woken is noted in the next commit, although nothing came of it."""
    it = Scene(at_once=1)
    it.fails["a1"] = [ValueError("once")]
    it.give("a1")
    await it.rest(0.5)
    it.stop_at("b1")
    it.give("b1", THERE)
    await it.rest(2.0)
    assert it.called == ["a1", "b1"], "the retry is due, and the only place is taken"
    it.work.drop({HERE})
    await it.work.drained({HERE})
    it.store.acquire([HERE])  # by another worker
    del it.fences[HERE]
    it.work.own(it.fences, {})
    it.let("b1")
    await it.rest()
    assert (it.called, it.applied(), it.lost) == (["a1", "b1"], {"a": 0, "b": 1}, [])


@played
async def test_a_key_is_let_go_of_when_its_handler_was_called_before_a_refusal_and_its_partition_goes() -> None:
    """What a handler of an earlier epoch comes to is not decided, and so never counted down."""
    it = Scene()
    it.fails["a1"] = [ValueError("once")]
    it.give("a1")
    it.give("b1", THERE)
    await it.rest(0.5)
    it.stop_at("a1")
    await it.rest(1.0)
    assert it.called == ["a1", "b1", "a1"], "it is tried again, and takes a while"
    it.meddle("b")
    it.give("b2", THERE)
    await it.rest()
    assert it.work._known.epoch == 1, "a commit was refused: the retry was read again, and is queued behind itself"
    it.work.drop({HERE})
    drained = asyncio.ensure_future(it.work.drained({HERE}))
    await it.rest(0.1)
    it.let("a1")
    await it.rest(0.1)
    assert drained.done()
    it.fences |= it.store.acquire([HERE])
    it.work.own(it.fences, {"a": it.waits("a")})
    await it.rest(60.0)
    assert (it.applied()["a"], dict(it.work._waking._draining), it.busy()) == (1, {}, False)


@played
async def test_nothing_is_lost_when_the_store_says_that_a_partition_went_while_something_is_written() -> None:
    """A question whether all is ours is answered between two commits, as in the store's one thread."""
    it = Scene()
    asked, write = Gate(), it.desk.write

    async def written(rows: Any, changes: Any, fences: Any) -> None:
        if changes:
            await write(rows, changes, fences)
            return
        await asked.passed()
        with it.store.transaction() as tx:
            tx.write(rows, changes, fences)

    it.desk.write = written  # type: ignore[method-assign]
    it.desk.writes.close()
    it.give("b1", THERE)
    await it.rest(1.5)
    asked.close()
    it.give("b3", THERE)
    await it.turns()
    assert (it.called, asked.waiting) == (["b1"], 0), "the store takes its time, and is not asked meanwhile"
    it.store.acquire([HERE])  # by another worker
    it.desk.writes.open()
    it.desk.writes.close()
    await it.rest(0.1)
    assert (it.applied(), asked.waiting) == ({"b": 1}, 1)
    it.give("b4", THERE)
    await it.turns()
    asked.open()
    await it.turns()
    it.desk.writes.open()
    await it.rest()
    assert it.lost == [{HERE: 1}]
    it.give("b2", THERE)
    await it.rest(5.0)
    assert (it.applied(), it.outcomes().get("duplicate")) == ({"b": 4}, None)


@played
async def test_a_retry_of_a_queue_keeps_its_time_when_its_key_is_rung_for_too_early() -> None:
    it = Scene(queue=True, at_once=1, retry=inorder.Retry(attempts=3, delay_s=10.0, factor=1))
    it.fails["a1"] = [ValueError("once")]
    it.give("a1")
    await it.rest(1.0)
    it.work.own(it.fences, {"a": SET_GOING})
    await it.rest(30.0)
    assert it.called == ["a1", "a1"]


@played
async def test_a_key_of_a_queue_is_woken_although_the_store_is_never_at_rest() -> None:
    """Of a queue: each commit is followed at once by the next one, for there is always something decided meanwhile."""
    it = Scene(queue=True)
    it.give("a1 a3")
    await it.rest()
    went_on = it.desk.writes.passed

    async def takes_a_while() -> None:
        await asyncio.sleep(0.25)
        await went_on()

    it.desk.writes.passed = takes_a_while  # type: ignore[method-assign]
    it.give("a2")
    for number in range(600):
        it.give(f"b{number + 1}")
        await asyncio.sleep(0.1)
    assert "a2" in it.called
    assert "a3" in it.called, "its gap was filled a minute ago"
