"""What lanes take in, when they commit it, and what they make of handlers that hang or block.

Pure: see `tests.worker.lanes`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

import inorder
from inorder.codecs.json import JsonCodec
from inorder.core.entity import Entity
from inorder.core.event import Event, Malformed, Slice
from inorder.core.waiting import Wait
from inorder.declaration import Declaration
from inorder.errors import HandlerTimeout
from inorder.worker import commits as committing
from inorder.worker.lane_work import CANCELLED, READ_AT_ONCE
from tests.worker.lanes import Scene, paused, played
from tests.worker.played import HERE, THERE

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


def some(key: str, versions: int) -> str:
    """So many events of a key."""
    return " ".join(f"{key}{version}" for version in range(1, versions + 1))


class Noting(JsonCodec):
    """Notes how many records it read at once."""

    def __init__(self, declared: Declaration) -> None:
        super().__init__(declared)
        self.found: list[int] = []

    def read(self, piece: Slice, start: int = 0, stop: int | None = None) -> tuple[list[Event], list[Malformed]]:
        events, malformed = super().read(piece, start, stop)
        self.found.append(len(events) + len(malformed))
        return events, malformed


async def at_work() -> tuple[Scene, Noting]:
    """One handler runs, another may, and what comes from now on is noted as it is read."""
    it = Scene(at_once=1)
    it.stop_at("w1")
    it.give("w1 x1")
    await it.turns()
    codec = it.work._codec = Noting(it.declared)
    return it, codec


@played
async def test_handlers_have_turns_while_what_came_is_read() -> None:
    it, codec = await at_work()
    events = some("a", 2 * READ_AT_ONCE + 2).split()
    it.give(" ".join(events[:-1]))
    it.give(events[-1])
    for read in ([], [READ_AT_ONCE], [READ_AT_ONCE] * 2, [READ_AT_ONCE] * 2 + [1]):
        assert codec.found == read
        await asyncio.sleep(0)
    it.let("w1")
    await it.rest()
    assert it.called == ["w1", "x1", *events], "in the order in which they came"
    assert it.outcomes() == {"received": len(events) + 2, "applied": len(events) + 2}


@played
async def test_handlers_have_turns_while_nothing_of_what_came_can_be_read() -> None:
    it, codec = await at_work()
    it.give(" ".join("?" * 3 * READ_AT_ONCE))
    for reads in range(4):
        assert codec.found == [READ_AT_ONCE] * reads
        await asyncio.sleep(0)


@played
async def test_a_call_that_may_go_on_does_while_what_came_is_read() -> None:
    it = Scene()
    codec = it.work._codec = Noting(it.declared)
    it.stop_at("w1")
    it.give("w1")
    await it.turns()
    read: list[int] = []
    it.give(some("a", 20 * READ_AT_ONCE))
    it.stops["w1"].add_done_callback(lambda _: read.append(len(codec.found)))
    it.let("w1")
    await it.rest()
    assert read[0] <= 3, "of 20"


@played
async def test_while_nothing_runs_and_nothing_is_queued_reading_is_all_there_is_to_do() -> None:
    it = Scene()
    codec = it.work._codec = Noting(it.declared)
    it.give(some("a", 3 * READ_AT_ONCE))
    await asyncio.sleep(0)
    assert codec.found == [READ_AT_ONCE] * 3


@played
async def test_what_came_first_need_not_wait_until_all_that_came_is_read() -> None:
    it = Scene()
    codec = it.work._codec = Noting(it.declared)
    read: list[int] = []
    it.on_call = lambda: read.append(len(codec.found))
    for key in "abcdefghij":
        it.give(some(key, READ_AT_ONCE))
    await it.rest()
    assert read[0] <= 3, "of 10"


@played
async def test_what_is_read_while_the_store_answers_is_asked_for_together() -> None:
    it = Scene()
    it.desk.loads.close()
    for key in "abcd":
        it.give(f"{key}1")
    await it.turns()
    it.desk.loads.open()
    await it.rest()
    assert (it.called, it.desk.loaded) == (["a1", "b1", "c1", "d1"], [["a"], ["b", "c", "d"]])


@played
@pytest.mark.parametrize("abandoned", [False, True])
async def test_at_the_end_nothing_more_is_read(abandoned: bool) -> None:
    it = Scene(at_once=1)
    codec = it.work._codec = Noting(it.declared)
    it.stop_at("w1")
    it.give("w1 x1")
    await it.turns()
    it.give(some("a", 20 * READ_AT_ONCE))
    await asyncio.sleep(0)
    read, ended = len(codec.found), list[bool]()
    if abandoned:
        it.work.abandon()
    else:
        it.work.finish(lambda: ended.append(True))
        it.let("w1")
    await it.rest()
    assert bool(ended) != abandoned
    assert len(codec.found) <= read + 1


@played
async def test_what_cannot_be_read_is_found_wherever_it_is_in_its_slice() -> None:
    it = Scene()
    it.give(some("a", READ_AT_ONCE + 5) + " ?")
    await it.rest()
    [row] = it.store.letters()
    assert row.letter.record.offset == READ_AT_ONCE + 5
    assert it.applied() == {"a": READ_AT_ONCE + 5}
    assert it.settled == [(HERE.number, READ_AT_ONCE + 6)]


@played
async def test_what_is_read_when_its_partition_has_gone_is_left_to_whoever_has_it_now() -> None:
    it = Scene()
    it.desk.loads.close()
    it.give("a1 ?")
    it.give("b1 ?", THERE)
    await it.turns()
    codec = it.work._codec = Noting(it.declared)
    it.give("c1 ?")
    it.work.drop({HERE})
    await it.work.drained({HERE})
    it.desk.loads.open()
    await it.rest()
    assert it.called == ["b1"]
    assert codec.found == [], "what was not read by then never is"
    assert [row.letter.record.partition for row in it.store.letters()] == [THERE]
    assert not it.work._groups._open, "nothing of it is kept"


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
    it.give("i2 r3 c3")
    await it.turns()
    it.desk.writes.open()
    it.let("r2")
    await it.rest()
    assert it.desk.loaded == [["i"]]
    assert it.applied() == {"i": 2, "r": 3, "c": 3, "w": 0}


@played
async def test_what_the_store_is_being_asked_for_when_a_partition_comes_is_not_acted_on() -> None:
    it = Scene()
    read = it.store.load

    async def load(keys: Sequence[str]) -> dict[str, Entity]:
        found = read(keys)
        await it.desk.loads.passed()
        return found

    it.desk.load = load  # type: ignore[method-assign]
    it.desk.loads.close()
    it.give("a1 a2")
    await it.turns()
    it.work.drop({HERE})
    await it.work.drained({HERE})
    other = Scene(store=it.store)
    other.give("a1 a2")
    await other.rest()
    it.fences = it.fences | it.store.acquire([HERE])
    it.work.own(it.fences, {})
    it.give("a1 a2 a3")
    await it.turns()
    it.desk.loads.open()
    await it.rest()
    assert (other.called, it.called) == (["a1", "a2"], ["a3"])


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
    it = await paused()
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


# What goes wrong.


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
    caplog.set_level(logging.ERROR, "inorder.worker")
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
@pytest.mark.parametrize("at_the_end", [False, True])
async def test_work_of_the_worker_that_is_cancelled_is_a_failure_but_at_the_end(at_the_end: bool) -> None:
    it = Scene()
    it.desk.loads.close()
    it.give("a1")
    await it.turns()
    if at_the_end:
        it.work.leave()
    for task in list(it.work._tasks):
        task.cancel()
    await it.turns()
    assert [str(error) for error in it.failures] == ([] if at_the_end else [CANCELLED])
    assert not it.busy()
