"""Threads for handlers: how many there are, which of them works, and how one that hangs is left behind.

Pure but for the last tests: no thread runs. What one would do is called by hand.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from inorder.worker import pool as pooling
from inorder.worker.pool import Left, Pool, throw
from tests.worker.bench import PATIENCE_S


class Idle(Exception):
    """A thread would wait here for something to do."""


class Queue:
    def __init__(self) -> None:
        self.tasks: deque[Any] = deque()

    def put(self, task: Any) -> None:
        self.tasks.append(task)

    def get(self) -> Any:
        if not self.tasks:
            raise Idle
        return self.tasks.popleft()


class Thread:
    def __init__(self, target: Callable[[], None], name: str, daemon: bool) -> None:
        assert daemon, "a handler that hangs must not keep the process"
        self.target, self.started = target, 0

    def start(self) -> None:
        self.started += 1


class Scene:
    """A pool of at most two threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[Thread] = []
        self.me: Thread | None = None
        self.thrown: list[Any] = []
        self.done: list[str] = []

        def thread(**given: Any) -> Thread:
            self.threads.append(Thread(**given))
            return self.threads[-1]

        played = SimpleNamespace(Thread=thread, Lock=threading.Lock, current_thread=lambda: self.me)
        monkeypatch.setattr(pooling, "threading", played)
        monkeypatch.setattr(pooling, "SimpleQueue", Queue)
        monkeypatch.setattr(pooling, "throw", lambda error, thread: self.thrown.append((error, thread)))
        self.pool = Pool(2)

    def submit(self, *names: str, then: Callable[[], None] = lambda: None) -> None:
        for name in names:

            def task(name: str = name) -> None:
                self.done.append(name)
                then()

            self.pool.submit(task)

    def run(self, thread: Thread) -> bool:
        """Until it would wait, or ends. Returns whether it has ended."""
        before, self.me = self.me, thread
        try:
            thread.target()
        except Idle:
            return False
        finally:
            self.me = before
        return True

    def leave(self, thread: Thread) -> None:
        left: Any = thread
        self.pool.leave(left)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_threads_are_started_when_they_are_needed_and_no_more_than_so_many(scene: Scene) -> None:
    assert scene.threads == []
    scene.submit("a")
    assert [thread.started for thread in scene.threads] == [1]
    scene.submit("b", "c")
    assert [thread.started for thread in scene.threads] == [1, 1]
    assert not scene.run(scene.threads[0])
    assert scene.done == ["a", "b", "c"], "in their order"


def test_a_thread_that_is_through_does_the_next_task(scene: Scene) -> None:
    for name in ("a", "b"):
        scene.submit(name)
        scene.run(scene.threads[0])
    assert (scene.done, len(scene.threads)) == (["a", "b"], 1)
    scene.submit("c", "d")
    assert len(scene.threads) == 2, "one is busy with the first"


def test_another_thread_takes_the_place_of_one_that_hangs(scene: Scene) -> None:
    scene.submit("hangs", then=lambda: scene.leave(scene.threads[0]))
    scene.submit("b", "c")
    assert len(scene.threads) == 2
    assert scene.run(scene.threads[0]), "it ends when it comes back, and does nothing more"
    assert scene.done == ["hangs"]
    assert scene.thrown == [(Left, scene.threads[0])]
    assert [thread.started for thread in scene.threads] == [1, 1, 1]
    scene.run(scene.threads[2])
    assert scene.done == ["hangs", "b", "c"]
    scene.submit("d")
    assert len(scene.threads) == 3, "two are there, and both are free"


def test_a_thread_that_was_left_does_not_count(scene: Scene) -> None:
    scene.submit("hangs", then=lambda: scene.leave(scene.threads[0]))
    scene.run(scene.threads[0])
    scene.submit("b", "c")
    assert len(scene.threads) == 3, "each has one of its own"


def test_a_thread_is_left_once(scene: Scene) -> None:
    def leave_twice() -> None:
        for _ in range(2):
            scene.leave(scene.threads[0])

    scene.submit("hangs", then=leave_twice)
    scene.run(scene.threads[0])
    assert (len(scene.threads), len(scene.thrown)) == (2, 1)


def test_a_thread_that_is_told_to_end_does(scene: Scene) -> None:
    def hear() -> None:
        scene.leave(scene.threads[0])
        raise Left

    scene.submit("hangs", then=hear)
    assert scene.run(scene.threads[0])
    scene.submit("b")
    scene.run(scene.threads[1])
    assert (scene.done, len(scene.threads)) == (["hangs", "b"], 2)


def test_threads_end_when_they_are_through(scene: Scene) -> None:
    scene.submit("a", "b", "c")
    scene.pool.close()
    assert all(scene.run(thread) for thread in scene.threads)
    assert scene.done == ["a", "b", "c"]


def test_of_an_abandoned_pool_threads_that_work_are_told_to_end(scene: Scene) -> None:
    scene.submit("hangs", "b", "c", then=scene.pool.abandon)
    assert scene.run(scene.threads[0]), "it ends when it comes back, and does nothing more"
    assert scene.done == ["hangs"]
    assert len(scene.thrown) == len(scene.threads) == 2
    assert {(Left, thread) for thread in scene.threads} == set(scene.thrown)
    assert scene.run(scene.threads[1])
    assert scene.done == ["hangs"]


def test_of_an_abandoned_pool_threads_that_wait_for_something_to_do_end_by_themselves(scene: Scene) -> None:
    scene.submit("a")
    assert not scene.run(scene.threads[0])
    scene.pool.abandon()
    assert scene.thrown == []
    assert scene.pool._tasks.get() is None, "which ends one that is waiting for it"


@pytest.fixture
def spinning() -> Iterator[threading.Thread]:
    """A thread that runs Python code for ever, and is caught when it is told to end."""
    began, caught = threading.Event(), threading.Event()

    def spin() -> None:
        try:
            began.set()
            until = time.monotonic() + PATIENCE_S
            while time.monotonic() < until:
                time.sleep(0.001)
        except Left:
            caught.set()

    found = threading.Thread(target=spin, daemon=True)
    found.start()
    assert began.wait(PATIENCE_S)
    yield found
    assert caught.wait(PATIENCE_S)


def test_an_error_is_raised_in_another_thread(spinning: threading.Thread) -> None:
    throw(Left, spinning)
    spinning.join(PATIENCE_S)
    assert not spinning.is_alive()


def test_nothing_is_raised_in_a_thread_that_has_not_begun() -> None:
    throw(Left, threading.Thread(target=print))


def test_nothing_is_raised_in_a_thread_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one may have its number by now."""
    ended = threading.Thread(target=len, args=("",))
    ended.start()
    ended.join()
    assert ended.ident is not None
    monkeypatch.delattr(pooling, "ctypes")
    throw(Left, ended)
