"""Threads that run handlers, and what is left behind when one of them hangs."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NoReturn, cast

LEAVING = 1_000
"""Milliseconds after which a thread that is about to be told to end does so by itself."""
LEAVING_S = 0.5
"""How long an async handler that is cut short may take to clean up behind itself."""


class Left(BaseException):
    """Thrown into a thread that was left behind, so that it ends as soon as it can."""


def throw(error: type[BaseException], thread: threading.Thread) -> None:
    """Raise `error` in another thread, as soon as it next runs Python code."""
    # The number of a thread that has ended may be another's by now.
    if thread.is_alive():
        assert thread.ident is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(error))


def be_left() -> NoReturn:
    """In a thread that somebody is about to tell to end: it does, here and not in whatever it would do next.

    Not in a compiled module, as no error is thrown into those.
    """
    for _ in range(LEAVING):
        time.sleep(0.001)
    raise Left


def close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Close an event loop, and what outlasted its time to clean up: here, and not where it happens to be collected."""
    for task in asyncio.all_tasks(loop):
        with suppress(Exception):
            cast(Coroutine[Any, Any, Any], task.get_coro()).close()
        # Nobody waits for it, so nobody is to be told that it never ended.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()


Task = Callable[[], None]


class Pool:
    """Up to `most` threads, started when they are needed. Tasks must not raise."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._open = 0
        self._lock = threading.Lock()

    def submit(self, task: Task) -> None:
        """Run `task` in one of the threads."""
        with self._lock:
            self._open += 1
            if self._open > len(self._threads) and len(self._threads) < self._most:
                self._start()
        self._tasks.put(task)

    def leave(self, thread: threading.Thread) -> None:
        """Do without a thread that hangs. It is told to end, which it does when it next runs Python code."""
        with self._lock:
            if thread not in self._threads:
                return
            self._threads.discard(thread)
            self._open -= 1
            self._start()
        throw(Left, thread)

    def abandon(self) -> None:
        """Do without the threads, whatever they hang in. They are told to end."""
        with self._lock:
            left, busy = self._threads, self._open
            self._threads = set()
        for thread in left:
            self._tasks.put(None)
            if busy:
                throw(Left, thread)

    def close(self) -> None:
        """Let the threads end when they are through. Does not wait for them."""
        with self._lock:
            for _ in self._threads:
                self._tasks.put(None)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="inorder-handler", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _run(self) -> None:
        me: Any = threading.current_thread()
        try:
            while me in self._threads:
                task = self._tasks.get()
                if task is None:
                    return
                task()
                with self._lock:
                    if me in self._threads:
                        self._open -= 1
        except Left:
            return
