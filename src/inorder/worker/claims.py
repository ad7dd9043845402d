"""Claims on the keys of a queue that are due: which of several workers wakes them.

A queue has no owner who would look after such a key, and the revision refuses a second worker only when its handler is
through. So whoever wakes a key first moves its due time into the future, in the store. It never keeps a key for good:
when the claimant dies, the key is due again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from inorder.core.changes import Changes
from inorder.core.entity import AT_ONCE, Entity, Wait, Waiting
from inorder.core.event import Partition
from inorder.errors import Fenced, Mismatch
from inorder.ports import Clock
from inorder.worker.keeper import Keeper

SPARE_S = 15.0
"""How much longer than one handler a claim lasts. It is renewed whenever something of the key is committed."""


class Claims:
    """The claims of one worker. Used on its event loop."""

    def __init__(self, keeper: Keeper, tally: int, clock: Clock, handler_s: float) -> None:
        self._keeper = keeper
        self._tally = tally
        self._clock = clock
        self._lasts_s = handler_s + SPARE_S
        self._handler_s = handler_s
        self._claimed: dict[str, Waiting] = {}

    def recognise(self, entity: Entity) -> None:
        """A claim of our own, read back from the store, does not keep us from the key."""
        claimed, waiting = self._claimed.get(entity.key), entity.waiting
        if claimed is not None and waiting is not None and waiting.due_at == claimed.due_at:
            entity.waiting = msgspec.structs.replace(waiting, due_at=AT_ONCE)

    async def take(self, entity: Entity, waits: Waiting | None, fences: Mapping[Partition, int]) -> bool:
        """Claim an entity that waits like this in the store. False: somebody else was first."""
        if waits is None or entity.waiting is None:
            return True
        if waits.why is Wait.REPLAY:
            waits = entity.waiting
        claimed = self._claimed[entity.key] = self._until(waits)
        changes = Changes(self._tally)
        changes.entities[entity.key] = entity
        changes.waits[entity.key] = claimed
        try:
            await self._keeper.write(changes.rows(lambda _: None, len(entity.recent)), changes, fences)
        except (Mismatch, Fenced):
            self.give_up(entity.key)
            return False
        return True

    def holds(self, key: str) -> bool:
        """Whether there is time for a handler before others may wake this key."""
        claimed = self._claimed.get(key)
        return claimed is not None and self._clock.now() + self._handler_s < claimed.due_at

    def renew(self, keys: Iterable[str], changes: Changes) -> None:
        """Let a commit that changes claimed keys say so: their claims begin anew with it."""
        for key in keys:
            claimed = self._claimed.get(key)
            if claimed is None or key not in changes.entities:
                continue
            waits = changes.waits.get(key, claimed)
            if key not in changes.waits or (waits is not None and waits.due_at == AT_ONCE):
                self._claimed[key] = changes.waits[key] = self._until(waits or claimed)

    def give_up(self, key: str) -> None:
        """What is known of a claim is old."""
        self._claimed.pop(key, None)

    def _until(self, waits: Waiting) -> Waiting:
        return msgspec.structs.replace(waits, due_at=self._clock.now() + self._lasts_s)
