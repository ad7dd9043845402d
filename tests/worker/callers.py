"""Calls of a handler, with what is to be called in a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import inorder
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Record, Slice
from inorder.declaration import declaration_of
from inorder.worker import threads
from inorder.worker.calls import Calls
from inorder.worker.pool import Pool as Threaded
from inorder.worker.running import Run
from tests.worker.consumers import Entry
from tests.worker.played import HERE
from tests.worker.pools import Pool

NAMED: dict[str, Any] = {"key": "key", "version": "version", "id": "id", "name": "stream"}


def run(key: str, *versions: int, partition: Partition = HERE, held: bool = False, decided_at: float = 1_000.0) -> Run:
    piece = Slice.of(partition, [Record(partition, version, b"", b"") for version in versions])
    receiver = (1, "held") if held else None
    events = [
        Event(key, version, f"id{version}", 1, Entry(key, version, ""), piece, at, receiver)
        for at, version in enumerate(versions)
    ]
    return Run(Entity(key), events, 0, 4, partition, 7, decided_at)


class Caller:
    """Calls with what is queued, and what they tell."""

    def __init__(self, function: Callable[..., Any], most: int = 2, pool: Pool | Threaded | None = None) -> None:
        self.queue: list[Run] = []
        self.over: list[Run] = []
        self.taken_back: list[Run] = []
        self.failed: list[BaseException] = []
        self.breaks: Exception | None = None
        loop = asyncio.get_running_loop()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(threads, "Pool", lambda most: pool)
            self.calls = Calls(
                declaration_of(function),
                most,
                loop,
                self._begin,
                self._over,
                self.taken_back.append,
                self.failed.append,
            )
        if isinstance(pool, Pool):
            pool.most = most

    def start(self, *runs: Run) -> None:
        self.queue += runs
        self.calls.fill()

    def _begin(self) -> Run | None:
        return self.queue.pop(0) if self.queue else None

    def _over(self, run: Run) -> None:
        if self.breaks is not None:
            raise self.breaks
        assert run not in self.calls.runs
        self.over.append(run)

    def errors(self) -> list[str | None]:
        return [None if one.error is None else type(one.error).__name__ for one in self.over]


class Doors:
    """Handlers that wait, each until its own door is opened."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.tasks: list[object] = []
        self.doors: dict[str, asyncio.Future[None]] = {}
        self.cut: list[str] = []

    def closed(self, *keys: str) -> None:
        for key in keys:
            self.doors[key] = asyncio.get_running_loop().create_future()

    def handler(self) -> Callable[..., Any]:
        @inorder.handler(**NAMED)
        async def enter(entry: Entry) -> None:
            self.entered.append(entry.key)
            self.tasks.append(asyncio.current_task())
            if entry.key in self.doors:
                try:
                    await self.doors[entry.key]
                except asyncio.CancelledError:
                    self.cut.append(entry.key)
                    raise

        return enter


async def turns(n: int = 20) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


def sync(act: Callable[[Entry], Any]) -> Callable[..., Any]:
    @inorder.handler(**NAMED)
    def handle(entry: Entry) -> None:
        return act(entry)  # type: ignore[no-any-return]

    return handle
