"""Calls of a handler without `tx`: coroutines on the loop, sync functions in threads. Knows nothing of order."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from inorder.context import Context
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition
from inorder.declaration import Declaration
from inorder.errors import HandlerTimeout
from inorder.worker.pool import Pool


class Run:
    """One call of the handler: consecutive events of one key.

    `partition` is the one whose owner makes it, under `fence`: where the events came from, or for one that waited the
    home of its key.
    """

    __slots__ = ("attempt", "entity", "epoch", "error", "events", "fence", "partition", "since", "task", "thread")

    def __init__(
        self, entity: Entity, events: list[Event], epoch: int, attempt: int, partition: Partition, fence: int
    ) -> None:
        self.entity = entity
        self.events = events
        self.epoch = epoch
        self.attempt = attempt
        self.partition = partition
        self.fence = fence
        self.since = time.monotonic()
        self.task: asyncio.Task[Any] | None = None
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None


class Calls:
    """The calls that are running. `returned` is told, on the loop, of those that ended, several at once."""

    def __init__(
        self,
        declared: Declaration,
        most: int,
        loop: asyncio.AbstractEventLoop,
        returned: Callable[[list[Run]], None],
    ) -> None:
        self._declared = declared
        self._loop = loop
        self._returned = returned
        self._runs: set[Run] = set()
        self._pool = None if declared.is_async else Pool(most)
        self._over: deque[Run] = deque()
        self._looked_at = time.monotonic()
        self._told = False
        self.barred: dict[tuple[str, int], Exception] = {}
        """Events that fail with this error, without being tried: held ones that can no longer be decoded."""

    @property
    def running(self) -> int:
        """How many calls are running."""
        return len(self._runs)

    def of(self, partitions: set[Partition]) -> bool:
        """Whether a call is running that the owner of one of these partitions makes."""
        return any(run.partition in partitions for run in self._runs)

    def bars(self, event: Event) -> bool:
        """Whether this event is to fail without being tried: it is the first of its call, then."""
        return bool(self.barred) and (event.key, event.version) in self.barred

    def coming_back(self, key: str) -> int:
        """How many events of a key are running that came back from the store."""
        return sum(event.receiver is not None for run in self._runs if run.entity.key == key for event in run.events)

    def start(self, run: Run) -> None:
        """Call the handler."""
        self._runs.add(run)
        declared, first = self._declared, run.events[0]
        if self.bars(first):
            run.error = self.barred.pop((first.key, first.version))
            self._end(run)
            return
        argument = [event.payload for event in run.events] if declared.batch > 1 else first.payload
        extra = {"context": self._context(run)} if declared.wants_context else {}
        if self._pool is None:
            run.task = self._loop.create_task(declared.function(argument, **extra))
            run.task.add_done_callback(partial(self._ended, run))
        else:
            self._pool.submit(partial(self._in_thread, run, argument, extra))

    def late(self, limit_s: float) -> list[Run]:
        """Give up on the calls that have been running for longer than `limit_s`, and return them."""
        now = time.monotonic()
        away_s, self._looked_at = now - self._looked_at, now
        if away_s > limit_s / 2:
            # The process was stopped, or a handler kept the loop from the others: they are not to blame.
            for run in self._runs:
                run.since += away_s
        late = [run for run in self._runs if run.since < now - limit_s and run not in self._over]
        for run in late:
            self._runs.discard(run)
            if run.task is not None:
                run.task.cancel()
            elif run.thread is not None and self._pool is not None:
                self._pool.leave(run.thread)
        return late

    def current(self) -> Event | None:
        """From another thread: the event whose handler the event loop is busy with at this moment."""
        task = asyncio.current_task(self._loop)
        return next((run.events[0] for run in list(self._runs) if task is not None and run.task is task), None)

    def close(self) -> None:
        """Let the threads end, and those calls that still run."""
        for run in list(self._runs):
            if run.task is not None:
                run.task.cancel()
            elif run.thread is not None and self._pool is not None:
                self._pool.leave(run.thread)
        if self._pool is not None:
            self._pool.close()

    def _in_thread(self, run: Run, argument: Any, extra: dict[str, Any]) -> None:
        run.thread = threading.current_thread()
        run.since = time.monotonic()
        if run not in self._runs:
            return
        try:
            result = self._declared.function(argument, **extra)
            if inspect.isawaitable(result):
                raise TypeError("returned an awaitable; declare the handler with async def")
        except Exception as error:
            run.error = error
        self._over.append(run)
        if not self._told:
            self._told = True
            self._loop.call_soon_threadsafe(self._tell)

    def _ended(self, run: Run, task: asyncio.Task[Any]) -> None:
        run.error = HandlerTimeout("was cancelled") if task.cancelled() else task.exception()
        self._end(run)

    def _end(self, run: Run) -> None:
        self._over.append(run)
        if not self._told:
            self._told = True
            self._loop.call_soon(self._tell)

    def _tell(self) -> None:
        self._told = False
        ended: list[Run] = []
        while self._over:
            run = self._over.popleft()
            if run in self._runs:
                self._runs.discard(run)
                ended.append(run)
        if ended:
            self._returned(ended)

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
