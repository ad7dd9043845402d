"""Room for dead letters and for events that wait. What has no room stays with the broker: its partition is paused.

The limits are kept by counting, not by locking: what other workers write is known when it is read again, so several
workers, or several connections of one, may together go past a limit by what they write in that time.
"""

from __future__ import annotations

from collections.abc import Collection

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.limits import Limits


class Room:
    """How much is there, as last read from the store and added to since."""

    __slots__ = ("_crowded", "_held", "_letters", "_limits", "touched")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._letters = 0
        self._held = 0
        self._crowded: Collection[str] = ()
        self.touched = True
        """Whether anything was asked for since the store was read last: if not, there is no need to read again."""

    def read(self, letters: int, held: int, crowded: Collection[str]) -> bool:
        """What the store has: open letters, events that wait, and the keys that have as many letters as they may.

        Returns whether there is more room than before.
        """
        before = self._letters, self._held, self._crowded
        self._letters, self._held, self._crowded = letters, held, crowded
        self.touched = False
        return letters < before[0] or held < before[1] or not set(before[2]) <= set(crowded)

    def written(self, changes: Changes) -> None:
        """These were committed."""
        self._letters += len(changes.letters)
        self._held += len(changes.held) - len(changes.released)

    def for_letter(self, key: str | None, changes: Changes) -> str | None:
        """Why there is no room for one more letter; None if there is."""
        self.touched = True
        if self._letters + _letters(changes) >= self._limits.letters:
            return f"{self._limits.letters:,} dead letters are open, which is the limit (letters=)"
        if key in self._crowded:
            return f"key {key} has {self._limits.letters_per_key:,} open dead letters, the limit (letters_per_key=)"
        return None

    def for_held(self, entity: Entity, changes: Changes) -> str | None:
        """Why there is no room for one more event to wait; None if there is."""
        self.touched = True
        if len(entity.held) >= self._limits.held_per_key:
            return f"{len(entity.held):,} events wait for key {entity.key}, which is the limit (held_per_key=)"
        if self._held + _held(changes) >= self._limits.held:
            return f"{self._limits.held:,} events wait, which is the limit (held=)"
        return None


def _letters(changes: Changes) -> int:
    return len(changes.letters) + (0 if changes.preceding is None else len(changes.preceding.letters))


def _held(changes: Changes) -> int:
    held = len(changes.held) - len(changes.released)
    return held if changes.preceding is None else held + _held(changes.preceding)
