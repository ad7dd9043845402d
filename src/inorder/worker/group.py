"""Group commits: what was decided since the last one, and which deliveries are settled when it is through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from inorder.core.changes import Changes
from inorder.core.engine import Unit
from inorder.core.entity import Entity
from inorder.core.event import Event, Malformed, Partition, Slice


class Group:
    """Decisions that are committed together."""

    __slots__ = ("changes", "events", "homes", "malformed")

    def __init__(self, changes: Changes) -> None:
        self.changes = changes
        self.events: list[Event] = []
        self.malformed: list[Malformed] = []
        """What was decided, so that it can be decided again should the commit be refused."""
        self.homes: dict[Partition, int] = {}
        """The fences that events stand under which came back from the store: those of their keys' homes."""

    def slices(self) -> list[Slice]:
        """The slice of each delivery that was decided, once for each."""
        found = [event.slice for event in self.events if event.receiver is None]
        return found + [one.slice for one in self.malformed]

    def under(self, home: Partition, fence: int) -> None:
        """An event of this group stands under this fence. Of two of a partition, the older is what is checked."""
        self.homes[home] = min(fence, self.homes.get(home, fence))


class Groups:
    """The group that is being filled, the one that is being committed, and the units that are not all settled."""

    def __init__(self, new_changes: Callable[[], Changes]) -> None:
        self._new_changes = new_changes
        self._open: dict[int, tuple[Unit, Slice, int]] = {}
        self.now = Group(new_changes())
        self.writing: Mapping[str, Entity] = {}
        """The entities that are being committed."""

    def opened(self, unit: Unit, piece: Slice) -> None:
        """A slice has arrived, to be settled when all of its deliveries are."""
        self._open[id(piece)] = (unit, piece, unit.events)

    def entity(self, key: str) -> Entity | None:
        """An entity that is not, or not for certain, in the store as it is here."""
        return self.now.changes.entities.get(key) or self.writing.get(key)

    def take(self) -> Group:
        """The group as it is, to be committed. A new one is begun."""
        taken, self.now = self.now, Group(self._new_changes())
        return taken

    def fence(self, piece: Slice) -> int | None:
        """The fence that a slice was received under; None when it is nobody's business any more."""
        found = self._open.get(id(piece))
        return None if found is None else found[0].fence

    def lapse(self, piece: Slice) -> Unit | None:
        """The lease of a slice is over: what was not decided of it is the next receiver's. None: known already."""
        found = self._open.pop(id(piece), None)
        return None if found is None else found[0]

    def fences(self, group: Group) -> dict[Partition, int]:
        """The fences that a group stands under: those that its deliveries were received under, and its homes.

        Of two of one partition, the older: what was decided under it is to be refused.
        """
        found = dict(group.homes)
        for at in set(map(id, group.slices())):
            if at in self._open:
                unit = self._open[at][0]
                found[unit.partition] = min(unit.fence, found.get(unit.partition, unit.fence))
        return found

    def settle(self, group: Group) -> list[Unit]:
        """A group is committed. Returns the units that are complete with it."""
        complete: list[Unit] = []
        for at, decided in Counter(map(id, group.slices())).items():
            found = self._open.get(at)
            if found is None:
                continue
            unit, kept, left = found
            if left <= decided:
                del self._open[at]
                complete.append(unit)
            else:
                self._open[at] = (unit, kept, left - decided)
        return complete

    def keep(self, fences: Mapping[Partition, int]) -> None:
        """What was received under any other fence is nobody's business any more."""
        self._open = {at: entry for at, entry in self._open.items() if fences.get(entry[0].partition) == entry[0].fence}
