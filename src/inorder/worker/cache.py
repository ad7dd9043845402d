"""Entities kept in memory between batches, so that most batches read nothing. Bounded in bytes."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from collections.abc import Set as AbstractSet

from inorder.core.entity import Entity
from inorder.core.event import Partition

_FIXED_BYTES = 700
"""An entity's objects without its key and state, as sys.getsizeof adds them up."""


class Cache:
    """Two generations: what is used moves to the young one; when that is full it becomes the old one.

    So whatever was used since the last turn stays, at the cost of one dictionary look-up, and half of the room is
    freed at once.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._young: dict[str, Entity] = {}
        self._old: dict[str, Entity] = {}
        self._young_bytes = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def all(self) -> Iterator[Entity]:
        """Every entity that is kept."""
        yield from self._young.values()
        yield from self._old.values()

    def find(self, keys: AbstractSet[str]) -> tuple[dict[str, Entity], list[str]]:
        """The entities that are known (perhaps with others), and the keys of those that are not."""
        young = self._young
        if young.keys() >= keys:
            return young, []
        found: dict[str, Entity] = {}
        missing: list[str] = []
        for key in keys:
            entity = self.get(key)
            if entity is None:
                missing.append(key)
            else:
                found[key] = entity
        return found, missing

    def get(self, key: str) -> Entity | None:
        """One entity, if it is known."""
        entity = self._young.get(key)
        if entity is None and (entity := self._old.pop(key, None)) is not None:
            self.keep(entity)
        return entity

    def keep(self, entity: Entity) -> None:
        """Keep an entity that was read, or used again."""
        self._young[entity.key] = entity
        state = len(entity.stored_state) if entity.stored_state else 0
        self.grew(_FIXED_BYTES + 2 * len(entity.key) + 4 * state + 100 * len(entity.held))

    def grew(self, size: int) -> None:
        """Entities that are kept take `size` more bytes, or fewer."""
        self._young_bytes += size
        if self._young_bytes > self._most // 2:
            self._old, self._young, self._young_bytes = self._young, {}, 0

    def drop(self, keys: Iterable[str]) -> None:
        """Forget these: somebody else has changed them, or what was decided on them was not written."""
        for key in keys:
            self._young.pop(key, None)
            self._old.pop(key, None)

    def changed(self, due: Iterable[str], now: float, fences: Container[Partition]) -> list[str]:
        """Keys that are said to be due for us, and are not as far as we know: somebody else has set them going."""
        known = ((key, self._young.get(key) or self._old.get(key)) for key in due)
        return [key for key, one in known if one is not None and not (one.due(now) and one.at_home(fences))]

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old, self._young_bytes = {}, {}, 0
