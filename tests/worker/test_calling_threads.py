"""How calls of a sync handler begin, end, and are given up on, in threads, and what any handler is given.

Pure: time is played, and so are the threads: what one is given runs when the test says so.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any
from unittest.mock import patch

import pytest

import inorder
from inorder.worker.pool import Left
from inorder.worker.pool import Pool as Threaded
from inorder.worker.running import OLD_S
from inorder.worker.threads import LOOK_S
from tests.worker.bench import PATIENCE_S
from tests.worker.callers import NAMED, Caller, run, sync, turns
from tests.worker.consumers import Entry
from tests.worker.lanes import played
from tests.worker.pools import Pool

# Threads.


@played
async def test_sync_handlers_are_given_to_threads_and_told_of_on_the_loop() -> None:
    entered: list[str] = []
    pool = Pool(0)
    it = Caller(sync(lambda entry: entered.append(entry.key)), most=2, pool=pool)
    runs = [run(key, 1) for key in "abc"]
    it.start(*runs)
    assert (pool.most, len(pool.tasks), it.calls.running) == (2, 2, 2)
    pool.work()
    pool.work()
    assert (entered, it.over) == (["a", "b"], []), "the thread itself tells nobody"
    await turns(2)
    assert (it.over, len(pool.tasks)) == (runs[:2], 1)
    pool.work()
    await turns(2)
    assert (entered, it.over, it.calls.running) == (["a", "b", "c"], runs, 0)
    assert [one.error for one in runs] == [None] * 3


@played
async def test_what_ends_in_threads_meanwhile_is_told_in_one_go() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), most=3, pool=pool)
    it.start(*(run(key, 1) for key in "abc"))
    loop = asyncio.get_running_loop()
    with patch.object(loop, "call_soon_threadsafe", side_effect=loop.call_soon_threadsafe) as told:
        pool.work()
        pool.work()
        await turns(2)
        pool.work()
        await turns(2)
    assert (told.call_count, len(it.over)) == (2, 3)


@played
async def test_what_a_sync_handler_raises_or_returns_wrongly_is_its_failure() -> None:
    def act(entry: Entry) -> Any:
        if entry.key == "exits":
            raise SystemExit(3)
        if entry.key == "awaitable":
            return asyncio.get_running_loop().create_future()
        raise ValueError("no")

    pool = Pool(0)
    it = Caller(sync(act), most=3, pool=pool)
    it.start(*(run(key, 1) for key in ("fails", "exits", "awaitable")))
    for _ in range(3):
        pool.work()
    await turns(2)
    assert it.errors() == ["ValueError", "HandlerExit", "TypeError"]
    assert "async def" in str(it.over[2].error)


@played
async def test_a_thread_that_is_told_to_end_is_not_taken_for_a_failure() -> None:
    def act(_: Entry) -> None:
        raise Left

    pool = Pool(0)
    it = Caller(sync(act), pool=pool)
    it.start(run("a", 1))
    with pytest.raises(Left):
        pool.work()
    await turns(2)
    assert it.over == []


@played
async def test_a_call_in_a_thread_counts_from_when_the_thread_began_with_it() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), pool=pool)
    one = run("a", 1)
    it.start(one)
    await asyncio.sleep(0.25)
    pool.work()
    assert (one.began_at, one.thread) == (1_000.25, threading.current_thread())


@played
async def test_a_thread_that_is_late_is_left_behind_and_what_it_ends_with_means_nothing() -> None:
    pool = Pool(0)
    one, other = run("a", 1), run("b", 1)

    def hangs(_: Entry) -> None:
        loop: Any = asyncio.get_running_loop()
        for found in ([], [], [one]):
            loop.now += 4.0
            assert it.calls.late(10.0) == found

    it = Caller(sync(hangs), most=1, pool=pool)
    it.start(one, other)
    with patch.object(time, "sleep"), pytest.raises(Left):
        pool.work()
    assert pool.left == [threading.current_thread()]
    it.calls.fill()
    await turns(2)
    assert (it.over, len(pool.tasks), it.calls.runs) == ([], 1, {other}), "its place is the next one's"


@played
async def test_a_call_that_has_ended_is_not_late_though_it_was_not_told_of_yet() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), pool=pool)
    one = run("a", 1)
    it.start(one)
    pool.work()
    assert one.made
    one.began_at -= 100.0
    assert it.calls.late(10.0) == []
    await turns(2)
    assert it.over == [one]


@played
async def test_a_thread_does_not_begin_with_a_call_that_was_given_up_on() -> None:
    entered: list[str] = []
    pool = Pool(0)
    it = Caller(sync(lambda entry: entered.append(entry.key)), pool=pool)
    it.start(run("a", 1))
    it.calls.close()
    assert (pool.closed, pool.left) == (True, [])
    pool.work()
    await turns(2)
    assert (entered, it.over) == ([], [])


@played
async def test_a_worker_that_has_ended_before_its_handler_did_is_told_nothing() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), pool=pool)
    it.start(run("a", 1))
    loop = asyncio.new_event_loop()
    loop.close()
    it.calls._loop = loop
    pool.work()
    assert it.over == []


@played
async def test_an_error_of_inorders_own_after_a_thread_is_told() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), pool=pool)
    it.breaks = RuntimeError("broken")
    it.start(run("a", 1))
    pool.work()
    await turns(2)
    assert it.failed == [it.breaks]


@played
async def test_a_call_that_waits_for_a_thread_is_not_late() -> None:
    it = Caller(sync(lambda entry: None), pool=Pool(0))
    one = run("a", 1)
    it.start(one)
    for _ in range(4):
        await asyncio.sleep(4.0)
        assert it.calls.late(10.0) == []
    assert it.calls.runs == {one}


@played
async def test_some_calls_may_wait_for_a_thread_and_are_taken_back_in_their_order() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), most=1, pool=pool)
    assert it.calls._threads is not None
    it.calls._threads.ahead = 2
    runs = [run(key, 1) for key in "abcd"]
    it.start(*runs)
    assert it.calls.runs == set(runs[:3])
    pool.work()
    it.calls.take_back()
    assert (it.taken_back, it.calls.runs) == ([runs[2], runs[1]], {runs[0]})
    await asyncio.sleep(2 * LOOK_S)
    assert (it.over, it.calls.runs) == (runs[:1], set(runs[3:])), "and what is next takes the place"


@played
async def test_a_call_that_was_decided_too_long_ago_is_taken_back_by_its_thread() -> None:
    pool = Pool(0)
    entered: list[str] = []
    it = Caller(sync(lambda entry: entered.append(entry.key)), pool=pool)
    runs = [run("a", 1), run("b", 1, decided_at=1_000.0 - OLD_S - 0.1)]
    it.start(*runs)
    pool.work_all()
    await turns(2)
    assert (entered, it.over, it.taken_back, it.calls.runs) == (["a"], runs[:1], runs[1:], set())


@played
async def test_closed_calls_begin_nothing_in_the_place_of_one_that_hangs() -> None:
    entered: list[str] = []

    class Starting(Pool):
        def leave(self, thread: threading.Thread) -> None:
            super().leave(thread)
            self.work_all()  # as the thread does that takes its place

    def act(entry: Entry) -> None:
        entered.append(entry.key)
        if entry.key == "a":
            it.calls.close()

    pool = Starting(0)
    it = Caller(sync(act), most=2, pool=pool)
    it.start(run("a", 1), run("b", 1))
    with patch.object(time, "sleep"), pytest.raises(Left):
        pool.work()
    assert (entered, pool.left) == (["a"], [threading.current_thread()])


def test_a_call_that_ends_while_it_is_given_up_on_does_not_take_the_next_one_with_it() -> None:
    begun, ends = threading.Event(), threading.Event()
    cut: list[str] = []

    def act(entry: Entry) -> None:
        if entry.key == "a":
            begun.set()
            ends.wait(PATIENCE_S)
            return
        try:
            time.sleep(0.2)
        except Left:
            cut.append(entry.key)
            raise

    class Late(Threaded):
        def leave(self, thread: threading.Thread) -> None:
            ends.set()  # at this very moment
            time.sleep(0.1)
            super().leave(thread)

    async def course() -> None:
        it = Caller(sync(act), most=1, pool=Late(1))
        assert it.calls._threads is not None
        it.calls._threads.ahead = 1
        a, b = run("a", 1, decided_at=time.monotonic()), run("b", 1, decided_at=time.monotonic())
        it.start(a)
        begun.wait(PATIENCE_S)
        assert a.made
        a.began_at -= 10
        it.start(b)
        assert it.calls.late(5.0) == [a]
        until = time.monotonic() + PATIENCE_S
        while b in it.calls.runs and time.monotonic() < until:
            await asyncio.sleep(0.01)
        assert (cut, [one.entity.key for one in it.over + it.taken_back]) == ([], ["b"])
        it.calls.close()

    asyncio.run(course())


@played
async def test_calls_that_are_closed_take_nothing_back() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), pool=pool)
    it.start(run("a", 1, decided_at=0.0))
    pool.work()
    it.calls.close()
    await turns(2)
    assert (it.over, it.taken_back) == ([], [])


@played
async def test_what_cannot_be_taken_back_is_inorders_own_error() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), pool=pool)
    it.calls._taken_back = it._over
    it.breaks = RuntimeError("broken")
    it.start(run("a", 1, decided_at=0.0))
    pool.work()
    await turns(2)
    assert it.failed == [it.breaks]


# What a handler is given.


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("wants", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_handler_is_given_its_events_and_where_it_wants_its_context(batch: int, wants: bool, is_async: bool) -> None:
    given: list[Any] = []
    named: dict[str, Any] = NAMED | ({"batch": batch} if batch > 1 else {})
    payload: Any = list[Entry] if batch > 1 else Entry
    space: dict[str, Any] = {"given": given, "Payload": payload, "Context": inorder.Context}
    arguments = "event: Payload, context: Context" if wants else "event: Payload"
    noted = "(event, context)" if wants else "event"
    exec(f"{'async ' if is_async else ''}def handle({arguments}) -> None: given.append({noted})", space)
    function = inorder.handler(**named)(space["handle"])

    @played
    async def course() -> None:
        pool = None if is_async else Pool(0)
        it = Caller(function, pool=pool)
        it.start(run("a", *range(5, 5 + batch)))
        if pool is not None:
            pool.work()
        await turns()
        assert it.errors() == [None]

    course()
    [found] = given
    argument, context = found if wants else (found, None)
    entries = argument if batch > 1 else [argument]
    assert [(entry.key, entry.version) for entry in entries] == [("a", 5 + n) for n in range(batch)]
    if wants:
        assert context == inorder.Context(
            stream="stream", key="a", version=5, id="id5", attempt=4, fence=7, partition="topic/0"
        )
