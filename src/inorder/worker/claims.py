"""Claims on the keys of a queue that are due: which of several workers wakes them.

A queue has no owner who would look after such a key, and the revision refuses a second worker only when its handler is
through. So whoever wakes a key first moves its due time into the future, in the store. It never keeps a key for good:
when the claimant dies, the key is due again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Partition
from inorder.core.waiting import AT_ONCE, Wait, Waiting
from inorder.errors import Fenced, Mismatch
from inorder.ports import Clock
from inorder.worker.keeper import Keeper
from inorder.worker.running import OLD_S

MOST_KEYS = 10_000
"""Claims that are remembered before those that are over are forgotten."""
SPARE_S = 15.0
"""How much longer than one handler a claim lasts. It is renewed whenever something of the key is committed."""


class Claims:
    """The claims of one worker. Used on its event loop."""

    def __init__(self, keeper: Keeper, tally: int, clock: Clock, handler_s: float) -> None:
        self._keeper = keeper
        self._tally = tally
        self._clock = clock
        self._lasts_s = handler_s + SPARE_S
        self._needed_s = handler_s + OLD_S
        self._claimed: dict[str, Waiting] = {}
        """As they are in the store, as far as we know."""
        self._tried: dict[str, set[float]] = {}
        """The due times of all claims of a key, also of those that may not have been written."""

    def recognise(self, entity: Entity) -> None:
        """A claim of our own, read back from the store, does not keep us from the key."""
        waiting = entity.waiting
        if waiting is not None and waiting.due_at in self._tried.get(entity.key, ()):
            self._claimed[entity.key] = waiting
            entity.waiting = msgspec.structs.replace(waiting, due_at=AT_ONCE)

    async def take(self, entity: Entity, waits: Waiting | None, fences: Mapping[Partition, int]) -> bool:
        """Claim an entity that waits like this in the store. False: it was changed by somebody else meanwhile."""
        if waits is None or entity.waiting is None:
            return True
        if waits.why is Wait.REPLAY:
            waits = entity.waiting
        self._prune()
        claimed = self._until(entity.key, waits)
        changes = Changes(self._tally)
        changes.entities[entity.key] = entity
        changes.waits[entity.key] = claimed
        try:
            await self._keeper.write(changes.rows(lambda _: None, len(entity.recent)), changes, fences)
        except (Mismatch, Fenced):
            return False
        self._claimed[entity.key] = claimed
        return True

    def holds(self, key: str) -> bool:
        """Whether there is time for a handler before others may wake this key."""
        claimed = self._claimed.get(key)
        return claimed is not None and self._clock.now() + self._needed_s < claimed.due_at

    def renew(self, keys: Iterable[str], changes: Changes) -> dict[str, Waiting]:
        """Let a commit that changes claimed keys say so: their claims begin anew with it. To be confirmed after it."""
        renewed: dict[str, Waiting] = {}
        for key in keys:
            claimed = self._claimed.get(key)
            if claimed is None or key not in changes.entities:
                continue
            waits = changes.waits.get(key, claimed)
            if waits is not None and (key not in changes.waits or waits.due_at == AT_ONCE):
                renewed[key] = changes.waits[key] = self._until(key, waits)
        return renewed

    def confirm(self, renewed: Mapping[str, Waiting]) -> None:
        """These are in the store."""
        self._claimed.update(renewed)

    def _until(self, key: str, waits: Waiting) -> Waiting:
        due_at = self._clock.now() + self._lasts_s
        self._tried.setdefault(key, set()).add(due_at)
        return msgspec.structs.replace(waits, due_at=due_at)

    def _prune(self) -> None:
        """Forget claims that are long over."""
        if len(self._tried) > MOST_KEYS:
            now = self._clock.now()
            self._tried = {key: times for key, times in self._tried.items() if max(times) > now}
            self._claimed = {key: claimed for key, claimed in self._claimed.items() if key in self._tried}
