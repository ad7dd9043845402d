"""Calls in threads: how far ahead of them calls are decided, when the loop is told of ends, and what is taken back.

Pure but for the last test: time is played, and so are the threads: what one is given runs when the test says so.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any

import pytest

from inorder.worker import threads as under_test
from inorder.worker.running import OLD_S, Run
from inorder.worker.threads import AHEAD_S, FAST, LOOK_S, MOST_AHEAD, RATE_S, STALLED_S, Threads
from tests.worker.bench import PATIENCE_S
from tests.worker.callers import run, turns
from tests.worker.lanes import Held, played
from tests.worker.pools import Pool


class Scene:
    """Two threads, what they have called, and what the loop was told."""

    def __init__(self) -> None:
        self.pool = Pool(0)
        self.called: list[Run] = []
        self.told: list[list[Run]] = []
        self.loop: Any = asyncio.get_running_loop()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(under_test, "Pool", lambda most: self.pool)
            self.threads = Threads(2, self.loop, self.called.append, self.told.append)

    def begin(self, *names: str, busiest: bool = False) -> list[Run]:
        """Give these to the threads."""
        runs = [run(name, 1, decided_at=self.loop.time()) for name in names]
        for one in runs:
            one.busiest = busiest
            self.threads.begin(one)
        return runs

    def names(self) -> list[str]:
        """The calls that were made."""
        return [one.entity.key for one in self.called]

    async def at_rate(self, rate: float, seconds: float = 2 * RATE_S) -> None:
        """So many calls end in a second, for so long, and the loop is told of each."""
        for _ in range(round(rate * seconds)):
            self.begin("x")
            self.pool.work()
            await asyncio.sleep(1 / rate)
        self.called.clear()
        self.told.clear()


@played
async def test_where_calls_end_slowly_none_is_decided_ahead() -> None:
    it = Scene()
    assert it.threads.ahead == 0
    await it.at_rate(0.9 * FAST)
    assert it.threads.ahead == 0


@played
async def test_where_calls_end_fast_as_many_are_decided_ahead_as_end_in_a_short_time() -> None:
    it = Scene()
    await it.at_rate(2_000)
    assert it.threads.ahead == pytest.approx(2_000 * AHEAD_S, abs=1)
    await it.at_rate(8_000)
    assert it.threads.ahead == pytest.approx(8_000 * AHEAD_S, abs=1)
    await it.at_rate(150_000)
    assert it.threads.ahead == MOST_AHEAD
    await it.at_rate(0.9 * FAST)
    assert it.threads.ahead == 0


@played
async def test_of_what_ends_while_more_waits_the_loop_is_not_told_but_looks() -> None:
    it = Scene()
    it.threads.ahead = 5
    runs = it.begin("a", "b", "c", "d")
    it.pool.work()
    it.pool.work()
    await turns()
    assert (it.names(), it.told) == (["a", "b"], []), "two more wait for a thread"
    await asyncio.sleep(LOOK_S)
    await turns()
    assert it.told == [runs[:2]]


@played
async def test_of_the_last_that_waits_the_loop_is_told_at_once() -> None:
    it = Scene()
    it.threads.ahead = 5
    runs = it.begin("a", "b")
    it.pool.work()
    it.pool.work()
    await turns()
    assert it.told == [runs], "or threads would have nothing to do"
    await asyncio.sleep(2 * LOOK_S)
    assert it.told == [runs]


@played
async def test_while_the_loop_does_not_look_it_is_told_of_each_that_ends() -> None:
    it = Scene()
    runs = it.begin("a", "b", "c")
    it.pool.work()
    await turns()
    assert it.told == [runs[:1]], "though more wait for a thread"


@played
async def test_the_busiest_keys_go_before_others_and_are_told_of_at_once() -> None:
    it = Scene()
    it.threads.ahead = 5
    it.begin("a", "b", "c")
    hot = it.begin("hot", busiest=True)
    it.pool.work()
    await turns()
    assert (it.names(), it.told) == (["hot"], [hot])
    it.pool.work()
    assert it.names() == ["hot", "a"]


@played
async def test_the_loop_goes_on_looking_while_something_waits() -> None:
    it = Scene()
    it.threads.ahead = 5
    runs = it.begin("a", "b", "c")
    await asyncio.sleep(4.5 * LOOK_S)
    it.pool.work()
    assert it.told == []
    await asyncio.sleep(LOOK_S)
    assert it.told == [runs[:1]]


@played
async def test_what_waits_for_threads_that_are_busy_for_long_is_taken_back() -> None:
    it = Scene()
    it.threads.ahead = 5
    runs = it.begin("a", "b", "c")
    it.pool.work()
    await asyncio.sleep(STALLED_S)
    assert it.told == [runs[:1]]
    await asyncio.sleep(3 * LOOK_S)
    assert (it.told, it.threads.ahead) == ([runs[:1], runs[1:]], 0)
    assert [one.made for one in runs] == [True, False, False]
    it.pool.work()
    assert it.names() == ["a"], "nobody calls it now"


@played
async def test_what_waits_is_taken_back_when_calls_have_become_slow() -> None:
    it = Scene()
    await it.at_rate(2_000)
    await asyncio.sleep(2 * RATE_S)
    runs = it.begin("a", "b", "c")
    it.pool.work()
    await asyncio.sleep(2 * LOOK_S)
    assert (it.told, it.threads.ahead) == ([runs], 0)
    assert [one.made for one in runs] == [True, False, False]


@played
async def test_after_a_rest_what_waits_is_not_taken_back_at_the_first_look() -> None:
    it = Scene()
    await it.at_rate(2_000)
    await asyncio.sleep(20 * STALLED_S)
    it.begin("a", "b", "c")
    await asyncio.sleep(2 * LOOK_S)
    assert (it.told, it.threads.ahead > 0) == ([], True)


@played
@pytest.mark.parametrize("busiest", [False, True])
async def test_what_comes_while_others_wait_does_not_put_off_that_they_are_taken_back(busiest: bool) -> None:
    it = Scene()
    it.threads.ahead = 5
    runs = it.begin("a", busiest=busiest)
    for _ in range(3):
        await asyncio.sleep(STALLED_S / 2)
        runs += it.begin("b")
    assert it.told == [runs[:3]]


@played
async def test_what_waits_is_left_alone_while_calls_are_as_fast_as_they_were() -> None:
    it = Scene()
    await it.at_rate(2_000)
    it.begin("a", "b")
    for _ in range(200):
        it.begin("c")
        it.pool.work()
        await asyncio.sleep(1 / 2_000)
    assert it.threads.ahead > 0
    assert all(one.made for told in it.told for one in told)


@played
async def test_what_waits_is_left_alone_while_calls_are_as_slow_as_they_were() -> None:
    it = Scene()
    await it.at_rate(0.5 * FAST)
    await asyncio.sleep(2 * RATE_S)
    runs = it.begin("a", "b")
    it.pool.work()
    await turns()
    assert it.told == [runs[:1]]


@played
async def test_what_was_decided_too_long_ago_is_not_called() -> None:
    """The process may have been stopped since."""
    it = Scene()
    runs = it.begin("a", "b")
    it.loop.now += OLD_S
    it.pool.work()
    it.loop.now += 0.01
    it.pool.work()
    await turns()
    assert (it.names(), it.told) == (["a"], [runs])
    assert [one.made for one in runs] == [True, False]


@played
async def test_what_is_not_ours_any_more_is_not_called() -> None:
    """Its lease was over while it waited for a thread."""
    it = Scene()
    runs, leases = it.begin("a", "b"), [Held(), Held()]
    for one, lease in zip(runs, leases, strict=True):
        one.events[0].slice.lease = lease
    leases[1].over = True
    it.pool.work_all()
    await turns()
    assert (it.names(), it.told) == (["a"], [runs])
    assert [one.made for one in runs] == [True, False]


@played
async def test_what_no_thread_has_begun_with_can_be_taken_back() -> None:
    it = Scene()
    it.begin("a", "b")
    it.begin("hot", busiest=True)
    it.pool.work()
    assert [one.entity.key for one in it.threads.take_back()] == ["a", "b"]
    assert it.threads.take_back() == []
    it.begin("c")
    while it.pool.tasks:
        it.pool.work()
    assert it.names() == ["hot", "c"]


@played
async def test_closed_threads_begin_with_nothing() -> None:
    it = Scene()
    it.begin("a")
    it.threads.close()
    it.pool.work()
    await turns()
    assert (it.pool.closed, it.names(), it.told) == (True, [], [])


def test_real_threads_lose_nothing_and_call_nothing_twice() -> None:
    """Calls of all lengths, decided ahead, some of which are taken back and decided again."""
    chance, most, lock = random.Random(1), 8, threading.Lock()
    calls: list[str] = []
    at_once = [0, 0]

    def call(one: Run) -> None:
        with lock:
            at_once[0] += 1
            at_once[1] = max(at_once)
        time.sleep(int(one.entity.key) % 5 / 2_000)
        calls.append(one.entity.key)
        with lock:
            at_once[0] -= 1

    async def course() -> None:
        todo, running = [str(number) for number in range(4_000)], 0
        over = asyncio.Event()

        def fill() -> None:
            nonlocal running
            while todo and running < most + threads.ahead:
                running += 1
                name = todo.pop()
                threads.begin(run(name, 1, decided_at=time.monotonic()))

        def through(runs: list[Run]) -> None:
            nonlocal running
            if chance.random() < 0.1:
                runs = runs + threads.take_back()
            running -= len(runs)
            todo.extend(one.entity.key for one in runs if not one.made)
            fill()
            if not todo and not running:
                over.set()

        threads = Threads(most, asyncio.get_running_loop(), call, through)
        fill()
        await asyncio.wait_for(over.wait(), PATIENCE_S)
        threads.close()

    asyncio.run(course())
    assert sorted(calls, key=int) == [str(number) for number in range(4_000)]
    assert 1 < at_once[1] <= most
