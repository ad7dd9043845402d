"""What a worker of lanes knows: which partitions are its own, and entities, of each one object wherever it is in use.

Two objects of one entity would each be decided on, and the one written last would undo the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from inorder.core.entity import Entity
from inorder.core.event import Partition
from inorder.worker.cache import Cache
from inorder.worker.group import Groups
from inorder.worker.keeper import Keeper


class Known:
    """Used on the event loop. What was decided in an earlier `epoch` was decided on knowledge that turned out old."""

    def __init__(self, keeper: Keeper, groups: Groups, baseline: int, cache_bytes: int) -> None:
        self._keeper = keeper
        self._groups = groups
        self._baseline = baseline
        self._cache = Cache(cache_bytes)
        self._one_by_one = asyncio.Lock()
        self.pinned: dict[str, Entity] = {}
        """Those that stay, however full the cache is: of keys whose held events are being decided."""
        self.fences: dict[Partition, int] = {}
        self.epoch = 0
        self._forgotten = 0
        """How often all was forgotten."""
        self.running: Callable[[], Mapping[str, Entity]] = dict
        """The entities of handlers that run, as they were decided on in this epoch."""

    def find(self, key: str) -> Entity | None:
        """An entity, if it is at hand."""
        return self._cache.get(key) or self.pinned.get(key) or self._groups.entity(key)

    async def load(self, keys: Iterable[str]) -> dict[str, Entity]:
        """Entities, read from the store where they are not at hand. None at all if a new epoch has begun meanwhile."""
        epoch, keys = self.epoch, list(dict.fromkeys(keys))
        # Between the question to the store and its answer nobody else may begin to use another copy.
        async with self._one_by_one:
            while True:
                forgotten = self._forgotten
                found = {key: entity for key in keys if (entity := self.find(key)) is not None}
                missing = [key for key in keys if key not in found]
                if not missing:
                    return found
                running = self.running()
                read = await self._keeper.load([key for key in missing if key not in running])
                if epoch != self.epoch:
                    return {}
                if forgotten == self._forgotten:
                    break
            for key in missing:
                found[key] = entity = running.get(key) or read.get(key) or Entity(key, self._baseline)
                self._cache.keep(entity)
        return found

    def changed(self, due: Iterable[str], now: float) -> list[str]:
        """See `Cache.changed`."""
        return self._cache.changed(due, now, self.fences)

    def drop(self, keys: Iterable[str]) -> None:
        """These may have been changed by somebody else: to be read anew, but where they are in use."""
        self._cache.drop(keys)

    def forget(self) -> None:
        """The same of all of them, those too that the store is being asked for."""
        self._forgotten += 1
        self._cache.clear()

    def begin_anew(self) -> None:
        """All that was known is old."""
        self.epoch += 1
        self._cache.clear()
        self.pinned.clear()
