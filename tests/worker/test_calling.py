"""How calls of an async handler begin, end, and are given up on, in slots of an event loop.

Pure: time is played, see `tests.worker.lanes`.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextvars import ContextVar

import inorder
from inorder.errors import HandlerExit
from inorder.worker.pool import Left
from inorder.worker.running import Run
from inorder.worker.slots import QUICK_CALLS
from tests.worker.callers import NAMED, Caller, Doors, run, sync, turns
from tests.worker.consumers import Entry
from tests.worker.lanes import played
from tests.worker.played import HERE, THERE
from tests.worker.pools import Pool

# Slots.


@played
async def test_only_so_many_calls_run_and_each_that_ends_makes_room_for_the_next() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=2)
    doors.closed("a", "b", "c")
    it.start(run("a", 1), run("b", 1), run("c", 1), run("d", 1))
    await turns()
    assert (doors.entered, it.calls.running, it.over) == (["a", "b"], 2, [])
    doors.doors["a"].set_result(None)
    await turns()
    assert (doors.entered, it.calls.running, it.errors()) == (["a", "b", "c"], 2, [None])
    for key in "bc":
        doors.doors[key].set_result(None)
    await turns()
    assert (doors.entered, it.calls.running, it.errors()) == (["a", "b", "c", "d"], 0, [None] * 4)
    assert len(set(map(id, doors.tasks))) == 2, "a slot goes on to the next call"
    assert not it.calls._slots


@played
async def test_what_a_handler_raises_is_the_failure_of_its_call_alone() -> None:
    @inorder.handler(**NAMED)
    async def fails(entry: Entry) -> None:
        if entry.key == "later":
            await asyncio.sleep(1.0)
        if entry.key != "good":
            raise SystemExit(3) if entry.key == "exits" else ValueError(entry.key)

    it = Caller(fails, most=1)
    it.start(*(run(key, 1) for key in ("at once", "later", "exits", "good")))
    await asyncio.sleep(2.0)
    assert it.errors() == ["ValueError", "ValueError", HandlerExit.__name__, None]
    assert it.failed == []


@played
async def test_a_handler_goes_on_with_the_outcome_of_what_it_waits_for() -> None:
    told: list[object] = []

    @inorder.handler(**NAMED)
    async def waits(entry: Entry) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        loop.call_later(0.1, future.set_result, 5)
        told.append(await future)
        failing: asyncio.Future[int] = loop.create_future()
        loop.call_later(0.1, failing.set_exception, ValueError("caught"))
        try:
            await failing
        except ValueError as error:
            told.append(str(error))
        await asyncio.sleep(0)
        told.append(entry.key)

    it = Caller(waits)
    it.start(run("a", 1))
    await asyncio.sleep(1.0)
    assert (told, it.errors()) == ([5, "caught", "a"], [None])


mark: ContextVar[str] = ContextVar("mark", default="unset")


@played
async def test_each_call_has_a_context_of_its_own_from_its_beginning_to_its_end() -> None:
    found: list[tuple[str, str]] = []

    @inorder.handler(**NAMED)
    async def marks(entry: Entry) -> None:
        before = mark.get()
        mark.set(entry.key)
        await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)
        found.append((before, mark.get()))

    it = Caller(marks, most=1)
    it.start(run("a", 1), run("b", 1))
    await asyncio.sleep(1.0)
    assert found == [("unset", "a"), ("unset", "b")]


@played
async def test_a_slot_whose_calls_never_wait_lets_the_others_have_a_turn() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=1)
    seen: list[int] = []
    it.start(*(run(f"k{n}", 1) for n in range(3 * QUICK_CALLS)))
    while len(doors.entered) < 3 * QUICK_CALLS:
        await asyncio.sleep(0)
        seen.append(len(doors.entered))
    assert seen[:3] == [QUICK_CALLS, 2 * QUICK_CALLS, 3 * QUICK_CALLS]


@played
async def test_a_call_that_waited_was_a_turn_for_the_others() -> None:
    entered: list[str] = []

    @inorder.handler(**NAMED)
    async def handle(entry: Entry) -> None:
        entered.append(entry.key)
        if entry.key == "waits":
            await asyncio.sleep(1.0)

    it = Caller(handle, most=1)
    before = [run(f"a{n}", 1) for n in range(QUICK_CALLS - 1)]
    it.start(*before, run("waits", 1), *(run(f"b{n}", 1) for n in range(QUICK_CALLS + 5)))
    await asyncio.sleep(1.0)
    await asyncio.sleep(0)
    assert len(entered) >= 2 * QUICK_CALLS, "as many again, from there on"


@played
async def test_calls_that_fail_at_once_let_others_have_a_turn_too() -> None:
    @inorder.handler(**NAMED)
    async def fails(_: Entry) -> None:
        raise ValueError

    it = Caller(fails, most=1)
    it.start(*(run(f"a{n}", 1) for n in range(2 * QUICK_CALLS)))
    await asyncio.sleep(0)
    assert 0 < len(it.over) <= QUICK_CALLS


@played
async def test_a_slot_that_is_cancelled_between_two_calls_leaves_the_rest_to_another() -> None:
    cancelled: set[object] = set()

    @inorder.handler(**NAMED)
    async def handle(_: Entry) -> None:
        task = asyncio.current_task()
        assert task is not None
        if not cancelled:
            cancelled.add(task)
            asyncio.get_running_loop().call_soon(task.cancel)

    it = Caller(handle, most=1)
    it.start(*(run(f"a{n}", 1) for n in range(3 * QUICK_CALLS)))
    await turns()
    await turns()
    assert it.errors() == [None] * (3 * QUICK_CALLS)


@played
async def test_a_call_that_was_cancelled_is_not_kept_until_garbage_is_searched() -> None:
    kept: list[weakref.ref[object]] = []

    class Large:
        pass

    @inorder.handler(**NAMED)
    async def waits(_: Entry) -> None:
        large = Large()
        kept.append(weakref.ref(large))
        await asyncio.sleep(1.0)

    it = Caller(waits, most=1)
    it.start(run("a", 1))
    await turns()
    gc.disable()
    try:
        for slot in it.calls._slots:
            slot.cancel()
        await turns()
        assert it.errors() == ["HandlerTimeout"]
        assert [reference() for reference in kept] == [None]
    finally:
        gc.enable()


@played
async def test_a_handler_that_is_cancelled_by_others_has_failed() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=1)
    doors.closed("a")
    it.start(run("a", 1), run("b", 1))
    await turns()
    (slot,) = it.calls._slots
    slot.cancel()
    await turns()
    assert it.errors() == ["HandlerTimeout", None]
    assert str(it.over[0].error) == "was cancelled"
    assert doors.tasks[0] is not doors.tasks[1], "the next call would be hit by what is meant for this one"


@played
async def test_an_error_of_inorders_own_in_a_slot_is_told() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=1)
    it.breaks = RuntimeError("broken")
    it.start(run("a", 1))
    await turns()
    assert it.failed == [it.breaks]
    assert not it.calls._slots


@played
async def test_a_slot_that_is_left_behind_ends_in_silence() -> None:
    @inorder.handler(**NAMED)
    async def left(_: Entry) -> None:
        raise Left

    it = Caller(left)
    it.start(run("a", 1))
    await turns()
    assert (it.failed, it.over, it.calls._slots) == ([], [], set())


def begun_and_closed(it: Caller, one: Run) -> None:
    """A call as it is when its loop is closed while the handler waits."""
    slot = it.calls._slot(one)
    it.calls.runs.add(one)
    slot.send(None)
    slot.close()


@played
async def test_a_loop_that_ends_closes_the_handlers_that_wait() -> None:
    ended: list[str] = []

    @inorder.handler(**NAMED)
    async def waits(entry: Entry) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(entry.key)

    it = Caller(waits)
    begun_and_closed(it, run("a", 1))
    assert (ended, it.over) == (["a"], [])


@played
async def test_a_handler_that_fails_as_its_loop_ends_means_nothing() -> None:
    @inorder.handler(**NAMED)
    async def waits(_: Entry) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise ValueError

    it = Caller(waits)
    one = run("a", 1)
    begun_and_closed(it, one)
    assert (it.over, one.error) == ([], None)


# Calls that take too long.


@played
async def test_a_call_that_is_late_is_given_up_on_and_what_becomes_of_it_means_nothing() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=2)
    doors.closed("a", "b")
    late, intime = run("a", 1), run("b", 1, decided_at=1_009.0)
    it.start(late, intime)
    await turns()
    for _ in range(3):
        await asyncio.sleep(4.0)
        found = it.calls.late(10.0)
        assert found == ([late] if asyncio.get_running_loop().time() > 1_010.0 else [])
    assert it.calls.runs == {intime}
    await turns()
    assert (doors.cut, it.over) == (["a"], []), "its task is cancelled, and not asked"
    assert it.calls.late(10.0) == [], "it is told once"
    it.start(run("c", 1))
    await turns()
    assert doors.entered == ["a", "b", "c"], "its place is free"


@played
async def test_the_second_call_of_a_slot_is_given_up_on_like_the_first() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=1)
    doors.closed("b")
    late = run("b", 1, decided_at=900.0)
    it.start(run("a", 1), late)
    await turns()
    assert doors.tasks[0] is doors.tasks[1]
    assert it.calls.late(50.0) == [late]
    await turns()
    assert doors.cut == ["b"]


@played
async def test_a_call_that_ignores_that_it_was_given_up_on_starts_no_other_when_it_ends() -> None:
    over = asyncio.Event()
    entered: list[str] = []

    @inorder.handler(**NAMED)
    async def deaf(entry: Entry) -> None:
        entered.append(entry.key)
        while entry.key == "a" and not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    it = Caller(deaf, most=1)
    it.start(run("a", 1, decided_at=900.0))
    await turns()
    assert len(it.calls.late(50.0)) == 1
    await turns()
    it.queue.append(run("b", 1))
    over.set()
    await turns()
    assert (entered, it.over) == (["a"], [])
    it.calls.fill()
    await turns()
    assert entered == ["a", "b"]


@played
async def test_time_in_which_nobody_could_look_is_not_held_against_a_call() -> None:
    """The process was stopped, or a handler had the loop to itself."""
    doors = Doors()
    it = Caller(doors.handler())
    doors.closed("a")
    it.start(run("a", 1))
    await asyncio.sleep(4.0)
    assert it.calls.late(10.0) == []
    await asyncio.sleep(100.0)
    assert it.calls.late(10.0) == []
    for _ in range(2):
        await asyncio.sleep(4.0)
        found = it.calls.late(10.0)
    assert len(found) == 1, "four seconds before and eight after"


@played
async def test_a_little_more_than_half_of_the_limit_is_a_time_in_which_nobody_looked() -> None:
    doors = Doors()
    it = Caller(doors.handler())
    doors.closed("a")
    it.start(run("a", 1))
    await asyncio.sleep(5.5)
    assert it.calls.late(10.0) == []
    await asyncio.sleep(5.0)
    assert it.calls.late(10.0) == []
    await asyncio.sleep(5.0)
    assert it.calls.late(10.0) == []
    await asyncio.sleep(0.5)
    assert len(it.calls.late(10.0)) == 1


@played
async def test_at_half_of_the_limit_time_counts() -> None:
    doors = Doors()
    it = Caller(doors.handler())
    doors.closed("a")
    it.start(run("a", 1))
    await asyncio.sleep(5.0)
    assert it.calls.late(10.0) == []
    await asyncio.sleep(5.0)
    assert it.calls.late(10.0) == [], "just in time"
    await asyncio.sleep(0.1)
    assert len(it.calls.late(10.0)) == 1


@played
async def test_calls_that_are_closed_are_cut_short_and_told_of_no_more() -> None:
    doors = Doors()
    it = Caller(doors.handler())
    doors.closed("a")
    it.start(run("a", 1))
    await turns()
    it.calls.close()
    await turns()
    assert (doors.cut, it.over, it.calls.running) == (["a"], [], 0)


# What is asked of calls.


@played
async def test_whose_calls_are_running() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=3)
    doors.closed("a", "b")
    it.start(run("a", 1, 2, held=True), run("a", 3), run("b", 1, partition=THERE, held=True))
    await turns()
    assert [it.calls.of({HERE}), it.calls.of({THERE}), it.calls.of({HERE, THERE})] == [True, True, True]
    assert [it.calls.coming_back(key, 0) for key in "abc"] == [2, 1, 0]
    assert it.calls.coming_back("a", 1) == 0, "they were decided in an epoch that is over"
    doors.doors["b"].set_result(None)
    await turns()
    assert [it.calls.of({HERE}), it.calls.of({THERE}), it.calls.of({HERE, THERE})] == [True, False, True]
    assert it.calls.coming_back("b", 0) == 0


@played
async def test_the_event_whose_handler_has_the_loop_is_seen_from_outside() -> None:
    seen: list[tuple[str, int] | None] = []

    def look() -> None:
        event = it.calls.current()
        seen.append(None if event is None else (event.key, event.version))

    @inorder.handler(**NAMED)
    async def handle(entry: Entry) -> None:
        look()
        await asyncio.sleep(0.1)
        look()

    it = Caller(handle, most=2)
    it.start(run("a", 3, 4), run("b", 1))
    await asyncio.sleep(0.05)
    look()
    await asyncio.sleep(0.1)
    assert seen == [("a", 3), ("b", 1), None, ("a", 3), ("b", 1)]


@played
async def test_while_handlers_run_in_threads_none_has_the_loop() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), pool=pool)
    it.start(run("a", 1))
    found: list[object] = []
    asyncio.get_running_loop().call_soon(lambda: found.append(it.calls.current()))
    await turns(2)
    assert found == [None]


@played
async def test_a_call_is_of_the_partition_whose_owner_makes_it() -> None:
    doors = Doors()
    it = Caller(doors.handler())
    doors.closed("a")
    one = run("a", 1, partition=HERE, held=True)
    one.partition = THERE
    it.start(one)
    assert (it.calls.of({HERE}), it.calls.of({THERE})) == (False, True)


# Events that fail without being tried.


@played
async def test_a_barred_event_fails_untried_once_and_others_go_on() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=1)
    error = ValueError("cannot be read")
    it.calls.barred["a", 1] = error
    first, second = run("a", 1), run("b", 1)
    assert [it.calls.bars(one.events[0]) for one in (first, second)] == [True, False]
    it.start(first, second)
    assert it.over == [], "not while whoever asked is still at it"
    await turns()
    assert (it.over, doors.entered) == ([first, second], ["b"])
    assert (first.error, second.error, it.calls.barred) == (error, None, {})
    it.start(run("a", 1))
    await turns()
    assert doors.entered == ["b", "a"]


@played
async def test_a_barred_event_is_known_by_its_key_and_its_version() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=4)
    it.calls.barred["a", 1] = ValueError()
    it.start(run("a", 2), run("b", 1), run("a", 1))
    await turns()
    assert sorted(doors.entered) == ["a", "b"]
    assert sorted(it.errors(), key=str) == [None, None, "ValueError"]
