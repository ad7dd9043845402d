"""A store in memory: rows as a real one keeps them, and a write that happens as a whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.rows import EntityRow, HeldRow, Letter
from inorder.core.waiting import NEVER, Waiting
from inorder.errors import Mismatch
from inorder.stores.rows import to_entity


class MemoryStore:
    """Entities are kept encoded, so that what a worker keeps in memory and what is stored can be told apart."""

    def __init__(self) -> None:
        self.entities: dict[str, EntityRow] = {}
        self.held: dict[tuple[str, int], HeldRow] = {}
        self.waits: dict[str, Waiting] = {}
        self.letters: list[Letter] = []
        """All that were ever written."""
        self.open: dict[int, tuple[int, Letter]] = {}
        """Those that nobody has dealt with, by offset, each with its tally."""
        self.closed: set[int] = set()
        self.counts: Counter[tuple[int, str]] = Counter()

    def load(self, key: str) -> Entity | None:
        """The entity, with how it waits and which versions wait."""
        row = self.entities.get(key)
        if row is None:
            return None
        entity = to_entity((key, row.version, row.expected + 1, row.ranges, row.recent, row.state))
        entity.waiting = self.waits.get(key)
        entity.held = {version: row.fingerprint for (of, version), row in sorted(self.held.items()) if of == key}
        return entity

    def held_of(self, key: str, most: int) -> list[HeldRow]:
        """The first waiting events of a key, lowest versions first."""
        return [row for (of, _), row in sorted(self.held.items()) if of == key][:most]

    def due(self) -> dict[str, Waiting | None]:
        """How keys wait for which something is to be done at a certain time."""
        return {key: waiting for key, waiting in self.waits.items() if waiting.due_at != NEVER}

    def write(self, rows: Sequence[EntityRow], changes: Changes) -> None:
        """Write what was decided. Raises `Mismatch` when somebody else got there first; then nothing is written."""
        changed = [row.key for row in rows if row.expected != self._revision(row.key)]
        held = {place: row for place, row in self.held.items() if place not in changes.released}
        changed += [
            row.key for place, row in changes.held.items() if held.get(place, row).fingerprint != row.fingerprint
        ]
        if changed:
            raise Mismatch(changed)
        self.held = held | changes.held
        self.entities |= {row.key: row for row in rows}
        for key, waiting in changes.waits.items():
            self.waits.pop(key, None)
            if waiting is not None:
                self.waits[key] = waiting
        self.letters += changes.letters
        for letter in changes.letters:
            if letter.record.offset not in self.closed:
                tally = changes.tally if letter.tally is None else letter.tally
                self.open.setdefault(letter.record.offset, (tally, letter))
        self.counts.update(changes.counts)

    def close(self, offset: int) -> None:
        """An operator has dealt with a letter. A redelivery does not open it again."""
        del self.open[offset]
        self.closed.add(offset)

    def ledger(self, key: str) -> list[tuple[int, str]]:
        """What took effect for a key: version and event id, in the order of the effects."""
        row = self.entities.get(key)
        return msgspec.json.decode(row.state, type=list[tuple[int, str]]) if row and row.state else []

    def _revision(self, key: str) -> int:
        row = self.entities.get(key)
        return row.expected + 1 if row else 0
