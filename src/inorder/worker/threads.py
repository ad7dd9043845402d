"""Threads that call a sync handler, a little behind what is decided for them. Knows nothing of order.

Of threads that wait for a call, and of a loop that is woken for each call that has ended, every one takes Python from
another: where calls are short, that costs more than they do. So while calls end fast, some are decided ahead, which
threads go on with at once, and the loop looks now and then what has ended. What no thread has begun with can be taken
back at any time, as if it had not been decided.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from inorder.worker.pool import Pool, be_left
from inorder.worker.running import Run

LOOK_S = 0.005
"""How often the loop looks what has ended, while calls are decided ahead."""
AHEAD_S = 2 * LOOK_S
"""So much work of all threads together is decided ahead: twice what ends between two looks."""
MOST_AHEAD = 1_000
"""But no more calls than this."""
FAST = 1_000.0
"""Where fewer calls than this end in a second, the loop may as well be woken for each."""
RATE_S = 0.05
"""Over how long the rate at which calls end is measured, at least."""
STALLED_S = 0.05
"""When no call has ended for so long, what waits for a thread is taken back: it may be decided again, when one is free,
and a thread may be busy for long."""


class Threads:
    """Up to `most` threads. Used on the loop, but for what says otherwise.

    `call` makes a call, and notes its error; it runs in a thread, and must not raise. `told` is told of those that have
    ended, and of those that were not made.
    """

    def __init__(
        self,
        most: int,
        loop: asyncio.AbstractEventLoop,
        call: Callable[[Run], None],
        told: Callable[[list[Run]], None],
    ) -> None:
        self._pool = Pool(most)
        self._loop = loop
        self._call = call
        self._told = told
        self._first: deque[Run] = deque()
        """Waiting for a thread, of the busiest keys: to wait would delay all that follows of them. One call of a key is
        made at a time, and few keys can be among the busiest, so others have their turn."""
        self._waiting: deque[Run] = deque()
        """The others that wait."""
        self._ended: deque[Run] = deque()
        """Ended, or not made, and not told of yet."""
        self._woken = False
        """Whether the loop has been woken for them."""
        self._looks = False
        """Whether it is about to look by itself."""
        self.ahead = 0
        """How many calls are to be decided ahead of the threads."""
        self._count = 0
        self._count_since = self._ended_at = time.monotonic()

    def begin(self, run: Run) -> None:
        """Make a call as soon as a thread is free."""
        if not (self._first or self._waiting):
            self._ended_at = max(self._ended_at, run.decided_at)
        (self._first if run.busiest else self._waiting).append(run)
        self._pool.submit(self._work)
        self._look_soon()

    def take_back(self) -> list[Run]:
        """What no thread has begun with, nor will: threads that come for it find nothing, and go on."""
        found: list[Run] = []
        for waiting in (self._first, self._waiting):
            with suppress(IndexError):
                while True:
                    found.append(waiting.popleft())
        return found

    def leave(self, run: Run) -> bool:
        """Do without the thread that a call hangs in. False: it has ended meanwhile."""
        if run.thread is None or not run.ending.acquire(blocking=False):
            return False
        self._pool.leave(run.thread)
        return True

    def close(self, left: Iterable[Run] = ()) -> None:
        """Let the threads end, and leave those that are within one of these. From any thread."""
        # First: the threads that take the place of those that are left would begin with it.
        self.take_back()
        for run in left:
            self.leave(run)
        self._pool.close()

    # In a thread.

    def _work(self) -> None:
        run = self._next()
        if run is None:
            return
        now = time.monotonic()
        if run.holds(now):
            run.thread = threading.current_thread()
            run.began_at = now
            self._call(run)
            run.ended_at = time.monotonic()
        if not run.ending.acquire(blocking=False):
            # It was given up on, and this thread is about to be told to end: it must not be within another call then.
            be_left()
        self._ended.append(run)
        # Looked at in this order: whoever is about to look finds what has just been added.
        if self._looks and (self._first or self._waiting) and not run.busiest:
            return
        if not self._woken:
            self._woken = True
            # If the loop is closed, the worker has ended before its handler did.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tell)

    def _next(self) -> Run | None:
        while self._first or self._waiting:
            with suppress(IndexError):  # another thread was faster
                return self._first.popleft() if self._first else self._waiting.popleft()
        return None

    # On the loop.

    def _tell(self) -> None:
        """One call for all that have ended by the time it is made."""
        self._woken = False
        ended = [self._ended.popleft() for _ in range(len(self._ended))]
        self._ended_at = now = time.monotonic()
        self._count += len(ended)
        lasted_s = now - self._count_since
        if lasted_s >= RATE_S:
            ahead, rate = self.ahead, self._count / lasted_s
            self.ahead = min(int(rate * AHEAD_S), MOST_AHEAD) if rate >= FAST else 0
            self._count, self._count_since = 0, now
            if ahead and not self.ahead:
                ended += self.take_back()
        self._told(ended)

    def _look_soon(self) -> None:
        if self.ahead and not self._looks and (self._first or self._waiting):
            self._looks = True
            self._loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._looks = False
        if self._ended:
            self._tell()
        elif time.monotonic() - self._ended_at > STALLED_S:
            self.ahead = 0
            self._told(self.take_back())
        self._look_soon()
