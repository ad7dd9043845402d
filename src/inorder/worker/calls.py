"""Calls of a handler without `tx`: coroutines in slots, sync functions in threads. Knows nothing of order."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from typing import Any

from inorder.context import Context
from inorder.core.event import Event, Partition
from inorder.declaration import Declaration
from inorder.worker.blame import failure
from inorder.worker.pool import Left
from inorder.worker.running import Run
from inorder.worker.slots import slot
from inorder.worker.threads import Threads


class Calls:
    """The calls that are running, `most` of them at once; of a sync handler, some more may wait for a thread.

    `begin` says what to call next, None if nothing; `over` is told of a call that has ended, and `taken_back` of one
    that was not made after all; `failed`, of an error in any of these. All are called on the loop.
    """

    def __init__(
        self,
        declared: Declaration,
        most: int,
        loop: asyncio.AbstractEventLoop,
        begin: Callable[[], Run | None],
        over: Callable[[Run], None],
        taken_back: Callable[[Run], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._declared = declared
        self._function = declared.function
        self._bare = declared.batch == 1 and not declared.wants_context
        """Whether the handler takes the payload of one event, and nothing else."""
        self._most = most
        self._loop = loop
        self._begin = begin
        self._over = over
        self._taken_back = taken_back
        self._failed = failed
        self.runs: set[Run] = set()
        """Those that are running, or wait for a thread."""
        self._slots: set[asyncio.Task[None]] = set()
        self._threads = None if declared.is_async else Threads(most, loop, self._in_thread, self._told)
        self._looked_at = time.monotonic()
        self.barred: dict[tuple[str, int], Exception] = {}
        """Events that fail with this error, without being tried: held ones that can no longer be decoded."""

    @property
    def running(self) -> int:
        """How many calls are running, or wait for a thread."""
        return len(self.runs)

    def of(self, partitions: set[Partition]) -> bool:
        """Whether a call is running that the owner of one of these partitions makes."""
        return any(run.partition in partitions for run in self.runs)

    def bars(self, event: Event) -> bool:
        """Whether this event is to fail without being tried: it is the first of its call, then."""
        return bool(self.barred) and (event.key, event.version) in self.barred

    def coming_back(self, key: str, epoch: int) -> int:
        """How many events of a key are running that came back from the store, and were decided in this epoch."""
        runs = [run for run in self.runs if run.entity.key == key and run.epoch == epoch]
        return sum(event.receiver is not None for run in runs for event in run.events)

    def fill(self) -> None:
        """Begin as much as there is, and as may run at once."""
        while (run := self._next()) is not None:
            if self._threads is not None:
                self._threads.begin(run)
                continue
            run.task = task = self._loop.create_task(self._slot(run))
            self._slots.add(task)
            task.add_done_callback(self._slot_ended)

    def late(self, limit_s: float) -> list[Run]:
        """Give up on the calls that have been running for longer than `limit_s`, and return them."""
        now = time.monotonic()
        away_s, self._looked_at = now - self._looked_at, now
        if away_s > limit_s / 2:
            # The process was stopped, or a handler kept the loop from the others: they are not to blame.
            for run in self.runs:
                if run.made:
                    run.began_at += away_s
        late = [run for run in self.runs if run.began_at < now - limit_s and self._leave(run)]
        self.runs.difference_update(late)
        return late

    def current(self) -> Event | None:
        """From another thread: the event whose handler the event loop is busy with at this moment."""
        task = asyncio.current_task(self._loop)
        return next((run.events[0] for run in list(self.runs) if task is not None and run.task is task), None)

    def close(self) -> None:
        """Let the threads end, and those calls that still run: nothing follows from what becomes of them."""
        left, self.runs = self.runs, set()
        if self._threads is not None:
            self._threads.close(left)
        else:
            for run in left:
                self._leave(run)

    def take_back(self) -> None:
        """Calls that still wait for a thread are to be decided on again. Whoever says so calls `fill` in the end."""
        if self._threads is not None:
            self._not_made(self._threads.take_back())

    def _leave(self, run: Run) -> bool:
        """Do without a call: its slot or its thread is to end. False: it has ended meanwhile."""
        if self._threads is not None:
            return self._threads.leave(run)
        if run.task is not None:
            run.task.cancel()
        return True

    def _next(self) -> Run | None:
        most = self._most if self._threads is None else self._most + self._threads.ahead
        while len(self.runs) < most and (run := self._begin()) is not None:
            self.runs.add(run)
            if not self.barred or not self.bars(run.events[0]):
                return run
            first = run.events[0]
            run.began_at = run.decided_at
            run.error = self.barred.pop((first.key, first.version))
            self._loop.call_soon(self._told, [run])
        return None

    # Coroutines.

    def _slot(self, run: Run) -> Coroutine[Any, Any, None]:
        return slot(run, self._call, self._slot_over, self._next)

    def _call(self, run: Run) -> Coroutine[Any, Any, Any]:
        if self._bare:
            return self._function(run.events[0].payload)  # type: ignore[no-any-return]
        argument, extra = self._arguments(run)
        return self._function(argument, **extra)  # type: ignore[no-any-return]

    def _slot_over(self, run: Run) -> bool:
        """A call of a slot has ended. Returns whether the slot goes on."""
        if run not in self.runs:
            # It was given up on, and its slot with it.
            return False
        self.runs.discard(run)
        self._over(run)
        if run.task is not None and run.task.cancelling():
            # Whoever cancelled this task has not taken it back: the next call would be hit.
            self._loop.call_soon(self.fill)
            return False
        return True

    def _slot_ended(self, slot: asyncio.Task[None]) -> None:
        self._slots.discard(slot)
        if slot.cancelled():
            # Between two calls: there may be something for another slot.
            self._loop.call_soon(self.fill)
            return
        error = slot.exception()
        if error is not None and not isinstance(error, Left):
            self._failed(error)

    # Threads.

    def _in_thread(self, run: Run) -> None:
        argument, extra = self._arguments(run)
        try:
            result = self._function(argument, **extra)
            if inspect.isawaitable(result):
                raise TypeError("returned an awaitable; declare the handler with async def")
        except Left:
            raise
        except BaseException as error:
            run.error = failure(error)

    def _told(self, runs: list[Run]) -> None:
        """These have ended, or were not made."""
        try:
            self._not_made([run for run in runs if not run.made])
            for run in runs:
                if run in self.runs:
                    self.runs.discard(run)
                    self._over(run)
            self.fill()
        except Exception as error:
            self._failed(error)

    def _not_made(self, runs: list[Run]) -> None:
        # The first of them is to be the first again.
        for run in reversed(runs):
            if run in self.runs:
                self.runs.discard(run)
                self._taken_back(run)

    # What a handler is given.

    def _arguments(self, run: Run) -> tuple[Any, dict[str, Any]]:
        argument = [event.payload for event in run.events] if self._declared.batch > 1 else run.events[0].payload
        return argument, {"context": self._context(run)} if self._declared.wants_context else {}

    def _context(self, run: Run) -> Context:
        first = run.events[0]
        return Context(
            stream=self._declared.name,
            key=first.key,
            version=first.version,
            id=first.id,
            attempt=run.attempt,
            fence=run.fence,
            partition=str(run.partition),
        )
