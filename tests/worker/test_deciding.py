"""Which events lanes call the handler with: in order, each as long as it is theirs, and as it is told to the handler.

Pure: see `tests.worker.lanes`.
"""

from __future__ import annotations

import msgspec
import pytest

import inorder
from inorder.core.waiting import AT_ONCE, Wait
from inorder.worker.commits import CONFIRM_EVERY_S
from tests.worker.lanes import Held, Scene, Seen, played
from tests.worker.played import HERE, THERE

# In order.


@played
async def test_events_take_effect_in_order_and_their_deliveries_are_settled_with_the_commit() -> None:
    it = Scene()
    it.desk.writes.close()
    it.give("a1 b1 a2")
    await it.rest()
    assert it.called == ["a1", "a2", "b1"]
    assert (it.settled, it.applied()) == ([], {}), "nothing is settled before it is committed"
    it.desk.writes.open()
    await it.rest()
    assert (it.settled, it.applied()) == ([(0, 3)], {"a": 2, "b": 1})
    assert it.outcomes() == {"received": 3, "applied": 3}
    assert not it.busy()


@played
async def test_a_key_is_handled_one_by_one_and_only_so_many_keys_at_once() -> None:
    it = Scene(at_once=2)
    it.stop_at("a1", "b1")
    it.give("a1 a2 b1 c1")
    await it.rest()
    assert it.called == ["a1", "b1"]
    it.let("b1")
    await it.rest()
    assert it.called == ["a1", "b1", "c1"]
    it.let("a1")
    await it.rest()
    assert it.called == ["a1", "b1", "c1", "a2"]
    assert it.settled == [(0, 4)]


@played
async def test_a_duplicate_and_an_early_event_are_not_handled_and_what_follows_them_is() -> None:
    it = Scene()
    it.give("a1")
    await it.rest()
    it.give("a1 a3 b1")
    await it.rest()
    assert it.called == ["a1", "b1"]
    assert it.settled == [(0, 1), (0, 4)]
    assert it.outcomes() == {"received": 4, "applied": 2, "duplicate": 1, "held": 1, "early": 1}
    it.give("a2")
    await it.rest()
    assert it.called == ["a1", "b1", "a2", "a3"], "what waited follows"
    assert it.applied() == {"a": 3, "b": 1}
    assert (it.outcomes()["applied"], it.flows("a")) == (4, True)


@played
async def test_what_is_early_waits_for_so_long_and_then_its_key_is_parked() -> None:
    it = Scene(limits=inorder.Limits(gap_s=20.0))
    it.give("a3")
    await it.rest()
    waits = it.waits("a")
    assert (waits.why, waits.version, waits.home) == (Wait.GAP, 1, HERE)
    await it.rest(19.0)
    it.give("a1", THERE)
    await it.rest()
    waits = it.waits("a")
    assert (waits.why, waits.version) == (Wait.GAP, 2)
    assert waits.due_at == pytest.approx(it.now() + 20.0, abs=1.0), "for the next one it waits as long"
    await it.rest(21.0)
    waits = it.waits("a")
    assert (waits.why, waits.missing) == (Wait.PARKED, True)


@played
async def test_what_still_waits_when_a_gap_has_filled_waits_for_the_next_one_as_long_as_ever() -> None:
    it = Scene(limits=inorder.Limits(gap_s=20.0))
    it.give("a2 a4")
    await it.rest()
    it.give("a1", THERE)
    await it.rest()
    assert it.called == ["a1", "a2"]
    waits = it.waits("a")
    assert (waits.why, waits.version) == (Wait.GAP, 3)
    assert waits.due_at == pytest.approx(it.now() + 20.0, abs=1.0)


# Whose events they are.


@played
async def test_an_event_of_a_partition_that_came_to_us_anew_is_left_to_its_next_delivery() -> None:
    """Between our two ownerships somebody else may have handled it."""
    it = Scene(at_once=1)
    it.stop_at("a1")
    it.give("a1")
    it.give("b1")
    it.give("c1", THERE)
    await it.rest()
    it.fences |= it.store.acquire([HERE])
    it.work.own(it.fences, {})
    it.let("a1")
    await it.rest()
    assert it.called == ["a1", "c1"]
    it.give("b1")
    await it.rest()
    assert it.called == ["a1", "c1", "b1"]


@played
async def test_nothing_of_a_partition_that_is_not_ours_is_handled() -> None:
    it = Scene(at_once=1)
    it.stop_at("a1")
    it.give("a1")
    it.give("b1")
    it.give("c1", THERE)
    await it.rest()
    it.work.own({THERE: it.fences[THERE]}, {})
    it.let("a1")
    await it.rest()
    assert it.called == ["a1", "c1"]


@played
async def test_what_is_settled_as_nobodys_business_is_not_handled_though_nobody_owns_its_partition() -> None:
    it = Scene()
    it.work.own({}, {})
    piece = it.piece("a1")
    (event,), _ = it.codec.read(piece)
    it.lanes.add(event)
    it.work.go()
    await it.rest()
    assert it.called == []


@played
async def test_before_a_handler_is_called_a_store_that_was_not_heard_of_is_asked_for_the_fences() -> None:
    it = Scene()
    it.give("a1")
    await it.rest()
    it.desk.written.clear()
    await it.rest(CONFIRM_EVERY_S + 0.1)
    it.desk.writes.close()
    it.give("a2")
    await it.rest()
    assert (it.called, it.desk.written) == (["a1"], [([], it.fences)]), "it has not answered"
    it.desk.writes.open()
    await it.rest()
    assert it.called == ["a1", "a2"]


@played
async def test_a_worker_that_stood_still_while_another_took_its_partition_calls_no_handler() -> None:
    it = Scene()
    await it.rest(CONFIRM_EVERY_S + 0.1)
    it.store.acquire([HERE])
    it.give("a1")
    it.give("c1", THERE)
    await it.rest()
    assert it.called == ["c1"]
    assert it.lost == [{HERE: it.fences[HERE]}]


@played
async def test_an_event_whose_lease_is_over_is_left_to_the_next_and_told_of_once() -> None:
    it = Scene(at_once=1, queue=True)
    leases = Held(), Held(), Held()
    it.stop_at("a1")
    for name, lease in zip(("a1", "b1", "c1"), leases, strict=True):
        it.give(name, lease=lease)
    await it.rest()
    leases[1].over = True
    it.let("a1")
    await it.rest()
    assert it.called == ["a1", "c1"]
    assert (it.lapsed, it.settled) == ([2], [(0, 1), (0, 3)])
    assert it.applied() == {"a": 1, "c": 1}


@played
async def test_a_lease_that_holds_is_not_enough() -> None:
    it = Scene(at_once=1, queue=True)
    it.stop_at("a1")
    for name in ("a1", "b1"):
        it.give(name, lease=Held())
    await it.rest()
    it.work.own({}, {})
    it.let("a1")
    await it.rest()
    assert it.called == ["a1"]


@played
async def test_what_is_not_ours_does_not_hold_up_what_is() -> None:
    it = Scene(queue=True)
    leases = Held(), Held()
    leases[0].over = True
    it.take_in([it.piece("a1", lease=leases[0]), it.piece("c1", lease=leases[1])])
    await it.rest()
    assert (it.called, it.lapsed, it.settled) == (["c1"], [1], [(0, 2)])


@played
async def test_of_a_batch_what_is_still_ours_is_handled_by_itself() -> None:
    it = Scene(at_once=1, queue=True, batch=4)
    it.stop_at("b1")
    it.give("b1")
    leases = [Held() for _ in range(3)]
    for name, lease in zip(("a1", "a2", "a3"), leases, strict=True):
        it.give(name, lease=lease)
    await it.rest()
    leases[2].over = True
    it.let("b1")
    await it.rest()
    assert it.called == ["b1", "a1+a2"]
    assert it.lapsed == [4]


@played
async def test_of_a_batch_from_the_store_all_are_read_anew_if_the_claim_is_over_for_one() -> None:
    it = Scene(queue=True, batch=2)
    it.fails["a1"] = [ValueError("no")]
    it.give("a1", lease=Held())
    await it.rest(0.5)
    it.give("a2", lease=Held())
    await it.rest(0.2)
    may_begin, asked = it.work._waking.may_begin, list[str]()

    def slowly(key: str) -> bool:
        asked.append(key)
        it.ahead_s += 100.0 * (len(asked) == 2)
        return may_begin(key)

    it.work._waking.may_begin = slowly  # type: ignore[method-assign]
    await it.rest(3.0)
    assert asked[:2] == ["a", "a"]
    assert it.called == ["a1", "a1", "a2"], "each once more"
    assert it.outcomes()["applied"] == 2
    assert "held" not in it.outcomes()
    assert "parked" not in it.outcomes()


@played
async def test_an_entity_that_the_cache_has_let_go_of_is_read_again_in_one_go() -> None:
    it = Scene(at_once=1, limits=inorder.Limits(cache_bytes=0))
    it.stop_at("z1")
    it.give("z1")
    await it.rest()
    for names in ("a1 a2", "b1 b2", "c1"):
        it.give(names)
        await it.rest()
    it.desk.loaded.clear()
    it.let("z1")
    await it.rest()
    assert it.desk.loaded[0] == ["a", "b"]
    assert it.called[:2] == ["z1", "c1"], "what is at hand need not wait for them"
    assert sorted(it.called[2:]) == ["a1", "a2", "b1", "b2"]
    assert it.applied() == {"z": 1, "a": 2, "b": 2, "c": 1}


@played
async def test_while_an_entity_is_read_the_others_go_on() -> None:
    it = Scene(at_once=1, limits=inorder.Limits(cache_bytes=0))
    it.stop_at("z1")
    it.give("z1")
    await it.rest()
    for names in ("a1", "c1"):
        it.give(names)
        await it.rest()
    it.desk.loads.close()
    it.let("z1")
    await it.rest()
    assert it.called == ["z1", "c1"]
    it.desk.loads.open()
    await it.rest()
    assert it.called == ["z1", "c1", "a1"]


@played
async def test_what_an_entity_is_read_for_counts_as_work() -> None:
    it = Scene(limits=inorder.Limits(cache_bytes=0))
    piece = it.piece("a1")
    it.work._groups.opened(it.unit(piece), piece)
    (event,), _ = it.codec.read(piece)
    it.lanes.add(event)
    it.work.go()
    assert it.work._deciding.unknown
    assert (it.lanes.queued, it.busy()) == (0, True)
    await it.rest()
    assert (it.called, it.busy()) == (["a1"], False)


@played
async def test_a_claim_is_renewed_with_each_event_of_its_key_that_is_written() -> None:
    it = Scene(queue=True, limits=inorder.Limits(handler_s=30.0))
    it.fails["a1"] = [ValueError("no")]
    for name in ("a1", "a2", "a3"):
        it.give(name, lease=Held())
        await it.rest(0.2)
    it.stop_at("a1", "a2")
    it.desk.written.clear()
    for name in ("a1", "a2"):
        await it.rest(10.0)
        it.let(name)
    await it.rest()
    assert it.called == ["a1", "a1", "a2", "a3"]
    written = [keys for keys, _ in it.desk.written if keys]
    assert written == [["a"]] * 4, "one claim, and the three events"


@played
async def test_a_held_event_that_can_no_longer_be_read_fails_without_being_tried() -> None:
    it = Scene(retry=inorder.Retry(attempts=1))
    it.give("a2")
    await it.rest()
    row = it.store.tables.held["a"][2]
    garbled = msgspec.structs.replace(row, record=msgspec.structs.replace(row.record, value=b"{"))
    it.store.tables.held["a"] = {2: garbled}
    it.give("a1")
    await it.rest()
    assert it.called == ["a1"]
    [letter] = it.store.letters()
    assert (letter.letter.key, letter.letter.version) == ("a", 2)
    assert letter.letter.detail.startswith("Poison: value: "), "it says why"


# What a handler is told.


@played
async def test_a_handler_is_told_the_fence_of_its_partition_and_which_attempt_it_is() -> None:
    it = Scene()
    it.store.acquire([THERE])
    it.fences |= it.store.acquire([THERE])
    it.work.own(it.fences, {})
    it.fails["a1"] = [ValueError("no"), ValueError("no")]
    it.give("a1")
    it.give("b1", THERE)
    await it.rest(10.0)
    told = [(one.key, one.attempt, one.partition, one.fence) for one in it.contexts]
    assert told == [("a", 1, "topic/0", 1), ("b", 1, "topic/1", 3), ("a", 2, "topic/0", 1), ("a", 3, "topic/0", 1)]


@played
async def test_attempts_of_one_version_are_not_those_of_the_next() -> None:
    it = Scene()
    it.fails["a1"] = [ValueError("no")]
    it.give("a1 a2")
    await it.rest(10.0)
    assert [(one.version, one.attempt) for one in it.contexts] == [(1, 1), (1, 2), (2, 1)]


@played
async def test_a_held_event_is_handled_under_the_fence_of_its_keys_home() -> None:
    it = Scene()
    it.fences |= it.store.acquire([THERE])
    it.work.own(it.fences, {})
    it.give("a2")
    await it.rest()
    it.give("a1", THERE)
    await it.rest()
    told = [(one.version, one.partition, one.fence) for one in it.contexts]
    assert told == [(1, "topic/1", 2), (2, "topic/1", 2)]


@played
async def test_a_held_event_whose_key_has_no_home_is_handled_under_the_fence_of_where_it_came_from() -> None:
    it = Scene()
    it.give("a2", THERE)
    it.give("b2")
    await it.rest()
    for key in "ab":
        it.store.tables.waits[key] = msgspec.structs.replace(it.waits(key), home=None, due_at=AT_ONCE, version=2)
        it.meddle(key, version=1)
    del it.fences[THERE]
    it.work.own(it.fences | it.store.acquire([HERE]), it.store.tables.waits)
    await it.rest()
    told = sorted((one.key, one.version, one.partition, one.fence) for one in it.contexts)
    assert told == [("a", 2, "topic/1", 0), ("b", 2, "topic/0", 2)], "0: it is nobody's that we know of"


@played
async def test_an_observer_is_told_of_each_call_and_how_it_went() -> None:
    seen = Seen()
    it = Scene(observer=seen)
    it.stop_at("a1")
    it.fails["b1"] = [ValueError("no")]
    it.give("a1")
    it.give("b1", THERE)
    await it.rest(0.25)
    it.let("a1")
    await it.rest(0.25)
    told = [one for one in seen.told if one[0] != "store"]
    assert told == [("called", 1, 1_000.0, 1_000.0, True), ("called", 0, 1_000.0, 1_000.25, False)]


# Batches.


@played
async def test_a_batch_is_what_follows_in_order_and_the_rest_comes_next() -> None:
    it = Scene(batch=3)
    it.give("a1 a2 a3 a4 a6 a7")
    await it.rest()
    assert it.called == ["a1+a2+a3", "a4"]
    it.give("a5")
    await it.rest()
    assert it.called == ["a1+a2+a3", "a4", "a5", "a6", "a7"], "what waited comes one by one"


@played
async def test_of_a_batch_that_fails_the_first_is_blamed_and_the_others_wait_for_it() -> None:
    it = Scene(batch=3)
    it.fails["a1+a2+a3"] = [ValueError("no")]
    it.give("a1 a2 a3")
    await it.rest(0.5)
    waits = it.waits("a")
    assert (waits.why, waits.version, waits.attempts) == (Wait.RETRY, 1, 1)
    assert [row.version for row in it.store.held("a", 9)] == [1, 2, 3], "behind the first"
    await it.rest(5.0)
    assert it.applied() == {"a": 3}
    assert it.called[0] == "a1+a2+a3"
    assert it.outcomes()["applied"] == 3


@played
async def test_an_event_that_is_to_fail_untried_is_the_first_of_its_batch() -> None:
    it = Scene(batch=5, retry=inorder.Retry(attempts=1))
    piece = it.piece("a1 a2 a3 a4")
    events, _ = it.codec.read(piece)
    it.work.bar(events[2], ValueError("it hung"))
    it.take_in([piece])
    await it.rest()
    assert it.called == ["a1+a2"]
    [row] = it.store.letters()
    assert (row.letter.version, row.letter.detail) == (3, "ValueError: it hung")
    assert it.applied() == {"a": 2}
    outcomes = {"received": 4, "applied": 2, "dead_lettered": 1, "parked": 1, "early": 1}
    assert it.outcomes() == outcomes, "what follows it comes after it"
