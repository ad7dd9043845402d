"""A store used from an event loop: in one thread of its own, and with patience while it is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Partition
from inorder.core.rows import EntityRow, HeldRow
from inorder.errors import Unreachable
from inorder.observe.nobody import NOBODY
from inorder.ports import Observer, Store
from inorder.worker.runner import FIRST_PAUSE_S, LONGEST_PAUSE_S

log = logging.getLogger("inorder.worker")

ENDING_S = 1.0
"""A store that is abandoned has so long to end what it is in the middle of. Its worker polls no broker meanwhile."""

Answer = TypeVar("Answer")


class Keeper:
    """Asks the store, again and again while it is unreachable. Its refusals are raised to whoever asked."""

    def __init__(self, store: Store, observer: Observer = NOBODY) -> None:
        self._store = store
        self._observer = observer
        self._thread = ThreadPoolExecutor(1, "inorder-store")

    async def load(self, keys: Sequence[str]) -> dict[str, Entity]:
        """See `Store.load`."""
        return await self._ask(lambda: self._store.load(keys))

    async def held(self, key: str, most: int) -> list[HeldRow]:
        """See `Store.held`."""
        return await self._ask(lambda: self._store.held(key, most))

    async def write(self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int]) -> None:
        """Write in a transaction. Raises `Mismatch` or `Fenced`."""

        def write() -> None:
            with self._store.transaction() as tx:
                tx.write(rows, changes, fences)

        await self._ask(write)

    def abandon(self) -> None:
        """From another thread: close the store, whatever is being done with it.

        It is not the store's thread that hangs, as a rule: what it is writing is not undone, unless it takes too long.
        """
        through = self._thread.submit(int)
        self._thread.shutdown(wait=False)
        with suppress(TimeoutError):
            through.result(ENDING_S)
        self._store.abandon()

    def close(self) -> None:
        """Close the store when its thread is through with what it does."""
        self._thread.submit(self._store.close)
        self._thread.shutdown(wait=True)

    async def _ask(self, question: Callable[[], Answer]) -> Answer:
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                answer = await loop.run_in_executor(self._thread, question)
                self._observer.paused("store", None)
                return answer
            except Unreachable as error:
                log.error("paused: %s", error)
                self._observer.paused("store", str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
