"""Group commits: what was decided since the last one, and which deliveries are settled when it is through."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from inorder.core.changes import Changes
from inorder.core.engine import Unit
from inorder.core.event import Event, Malformed, Partition, Slice


class Group:
    """Decisions that are committed together."""

    __slots__ = ("changes", "decided", "events", "homes", "malformed")

    def __init__(self, changes: Changes) -> None:
        self.changes = changes
        self.events: list[Event] = []
        self.malformed: list[Malformed] = []
        """What was decided, so that it can be decided again should the commit be refused."""
        self.decided: list[Slice] = []
        """The slice of each delivery that was decided, once for each."""
        self.homes: dict[Partition, int] = {}
        """The fences that events stand under which came back from the store: those of their keys' homes."""


class Groups:
    """The group that is being filled, and the units whose deliveries are not all settled."""

    def __init__(self, new_changes: Callable[[], Changes]) -> None:
        self._new_changes = new_changes
        self._open: dict[int, tuple[Unit, Slice, int]] = {}
        self.now = Group(new_changes())

    def opened(self, unit: Unit, piece: Slice) -> None:
        """A slice has arrived, to be settled when all of its deliveries are."""
        self._open[id(piece)] = (unit, piece, unit.events)

    def decided(self, event: Event) -> None:
        """An event is decided; its delivery is settled with the next commit."""
        self.now.events.append(event)
        if event.receiver is None:
            self.now.decided.append(event.slice)

    def unreadable(self, found: Malformed) -> None:
        """A delivery that no event could be read from is decided."""
        self.now.malformed.append(found)
        self.now.decided.append(found.slice)

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
        """The fences that the deliveries of a group were received under."""
        units = [self._open[at][0] for at in {id(piece) for piece in group.decided} if at in self._open]
        return {unit.partition: unit.fence for unit in units}

    def settle(self, group: Group) -> list[Unit]:
        """A group is committed. Returns the units that are complete with it."""
        complete: list[Unit] = []
        for piece in group.decided:
            found = self._open.get(id(piece))
            if found is None:
                continue
            unit, kept, left = found
            if left == 1:
                del self._open[id(piece)]
                complete.append(unit)
            else:
                self._open[id(piece)] = (unit, kept, left - 1)
        return complete

    def keep(self, fences: Mapping[Partition, int]) -> None:
        """What was received under any other fence is nobody's business any more."""
        self._open = {at: entry for at, entry in self._open.items() if fences.get(entry[0].partition) == entry[0].fence}
