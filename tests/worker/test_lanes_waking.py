"""Keys of lanes that are woken while their live events are being handled: nothing that waits is forgotten."""

from __future__ import annotations

import pytest

from inorder.core.waiting import AT_ONCE, Wait, Waiting
from tests.worker.lanes import Scene, played

SET_GOING = Waiting(Wait.GAP, 0, 0.0, due_at=AT_ONCE)


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
