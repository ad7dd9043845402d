"""Calls of a handler without `tx`: coroutines on the loop, sync functions in threads. Knows nothing of order.

A coroutine is run by a slot, a task that calls the handler again and again for as long as there is something to do: a
task for each event would cost more than all the rest. Each call has a context of its own, as in a task of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from types import coroutine
from typing import Any

from inorder.context import Context
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition
from inorder.declaration import Declaration
from inorder.errors import HandlerTimeout
from inorder.worker.blame import failure
from inorder.worker.pool import Left, Pool

QUICK_CALLS = 16
"""So many calls of one slot may end without having waited for anything, before all others have a turn."""


class Run:
    """One call of the handler: consecutive events of one key.

    `partition` is the one whose owner makes it, under `fence`: where the events came from, or for one that waited the
    home of its key.
    """

    __slots__ = ("attempt", "entity", "epoch", "error", "events", "fence", "partition", "since", "task", "thread")

    def __init__(
        self,
        entity: Entity,
        events: list[Event],
        epoch: int,
        attempt: int,
        partition: Partition,
        fence: int,
        since: float,
    ) -> None:
        self.entity = entity
        self.events = events
        self.epoch = epoch
        self.attempt = attempt
        self.partition = partition
        self.fence = fence
        self.since = since
        self.task: asyncio.Task[None] | None = None
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None


class Calls:
    """The calls that are running, `most` of them at once.

    `begin` says what to call next, None if nothing; `over` is told of a call that has ended; `failed`, of an error in
    either. All are called on the loop.
    """

    def __init__(
        self,
        declared: Declaration,
        most: int,
        loop: asyncio.AbstractEventLoop,
        begin: Callable[[], Run | None],
        over: Callable[[Run], None],
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
        self._failed = failed
        self.runs: set[Run] = set()
        """Those that are running."""
        self._slots: set[asyncio.Task[None]] = set()
        self._pool = None if declared.is_async else Pool(most)
        self._ended: deque[Run] = deque()
        """Calls that have ended, and of which `over` does not know yet."""
        self._told = False
        self._looked_at = time.monotonic()
        self.barred: dict[tuple[str, int], Exception] = {}
        """Events that fail with this error, without being tried: held ones that can no longer be decoded."""

    @property
    def running(self) -> int:
        """How many calls are running."""
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
            if self._pool is not None:
                self._pool.submit(partial(self._in_thread, run))
                continue
            run.task = slot = self._loop.create_task(self._slot(run))
            self._slots.add(slot)
            slot.add_done_callback(self._slot_ended)

    def late(self, limit_s: float) -> list[Run]:
        """Give up on the calls that have been running for longer than `limit_s`, and return them."""
        now = time.monotonic()
        away_s, self._looked_at = now - self._looked_at, now
        if away_s > limit_s / 2:
            # The process was stopped, or a handler kept the loop from the others: they are not to blame.
            for run in self.runs:
                run.since += away_s
        late = [run for run in self.runs if run.since < now - limit_s and run not in self._ended]
        for run in late:
            self.runs.discard(run)
            self._leave(run)
        return late

    def current(self) -> Event | None:
        """From another thread: the event whose handler the event loop is busy with at this moment."""
        task = asyncio.current_task(self._loop)
        return next((run.events[0] for run in list(self.runs) if task is not None and run.task is task), None)

    def close(self) -> None:
        """Let the threads end, and those calls that still run: nothing follows from what becomes of them."""
        left, self.runs = self.runs, set()
        for run in left:
            self._leave(run)
        if self._pool is not None:
            self._pool.close()

    def _leave(self, run: Run) -> None:
        """Do without a call: its slot or its thread is to end."""
        if run.task is not None:
            run.task.cancel()
        elif run.thread is not None and self._pool is not None:
            self._pool.leave(run.thread)

    def _next(self) -> Run | None:
        while len(self.runs) < self._most and (run := self._begin()) is not None:
            self.runs.add(run)
            if not self.barred or not self.bars(run.events[0]):
                return run
            first = run.events[0]
            run.error = self.barred.pop((first.key, first.version))
            self._ended.append(run)
            self._tell_soon(self._loop.call_soon)
        return None

    # Coroutines.

    async def _slot(self, run: Run) -> None:
        """Call the handler, again and again while there is something to do."""
        following: Run | None = run
        function, bare = self._function, self._bare
        me, quick = run.task, 0
        assert me is not None
        while following is not None:
            run = following
            run.task = me
            try:
                call = function(run.events[0].payload) if bare else self._call(run)
                enter = copy_context().run
                try:
                    waits_for = enter(call.send, None)
                except StopIteration:
                    quick += 1
                else:
                    quick = 0
                    await _rest(call, enter, waits_for)
            except asyncio.CancelledError:
                run.error = HandlerTimeout("was cancelled")
            except (Left, GeneratorExit):
                raise
            except BaseException as error:
                run.error = failure(error)
            if run not in self.runs:
                # It was given up on, and this slot with it.
                return
            self.runs.discard(run)
            self._over(run)
            if me.cancelling():
                # Whoever cancelled this task has not taken it back: the next call would be hit.
                self._loop.call_soon(self.fill)
                return
            if quick >= QUICK_CALLS:
                quick = 0
                await asyncio.sleep(0)
            following = self._next()

    def _call(self, run: Run) -> Coroutine[Any, Any, Any]:
        argument, extra = self._arguments(run)
        return self._function(argument, **extra)  # type: ignore[no-any-return]

    def _slot_ended(self, slot: asyncio.Task[None]) -> None:
        self._slots.discard(slot)
        error = None if slot.cancelled() else slot.exception()
        if error is not None and not isinstance(error, Left):
            self._failed(error)

    # Threads.

    def _in_thread(self, run: Run) -> None:
        run.thread = threading.current_thread()
        run.since = time.monotonic()
        if run not in self.runs:
            return
        argument, extra = self._arguments(run)
        try:
            result = self._function(argument, **extra)
            if inspect.isawaitable(result):
                raise TypeError("returned an awaitable; declare the handler with async def")
        except Left:
            raise
        except BaseException as error:
            run.error = failure(error)
        self._ended.append(run)
        # If the loop is closed, the worker has ended before its handler did.
        with suppress(RuntimeError):
            self._tell_soon(self._loop.call_soon_threadsafe)

    def _tell_soon(self, call_soon: Callable[[Callable[[], None]], Any]) -> None:
        """One call for all that have ended by the time it is made."""
        if not self._told:
            self._told = True
            call_soon(self._tell)

    def _tell(self) -> None:
        self._told = False
        try:
            while self._ended:
                run = self._ended.popleft()
                if run in self.runs:
                    self.runs.discard(run)
                    self._over(run)
            self.fill()
        except Exception as error:
            self._failed(error)

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


@coroutine
def _rest(call: Coroutine[Any, Any, Any], enter: Callable[..., Any], waits_for: Any) -> Generator[Any, Any, None]:
    """Go on with a call that waits, in the context that it began in."""
    try:
        while True:
            error: BaseException | None = None
            try:
                yield waits_for
            except GeneratorExit:
                enter(call.close)
                raise
            except BaseException as thrown:
                error = thrown
            waits_for = enter(call.send, None) if error is None else enter(call.throw, error)
    except StopIteration:
        return
