"""Events of lanes that found no room in the store: they stay with the broker, to be tried again when there is some."""

from __future__ import annotations

from inorder.core.effect import NoRoom
from inorder.core.event import Event, Malformed, Partition


class Standstill:
    """What stands still for want of room. Used on the event loop, but for `full`."""

    def __init__(self) -> None:
        self._aside: list[Event | Malformed] = []
        self._standing: list[tuple[str, list[Event]]] = []
        """The same, of events that failed: the lane of their key stands still."""
        self._full: dict[Partition, str] = {}
        self._trying: dict[Partition, str] = {}

    @property
    def full(self) -> dict[Partition, str]:
        """The partitions whose next event finds no room, and why; also while it is tried again. From any thread."""
        return self._trying | self._full

    def put_aside(self, error: NoRoom) -> None:
        """The event, or what no event could be read from, that found no room. Its lane goes on."""
        self._full[error.partition] = str(error)
        self._aside.append(error.first)

    def stop(self, key: str, events: list[Event], error: NoRoom) -> None:
        """The first of these failed, and has no room to wait or to become a letter. The lane of their key stands."""
        self._full[error.partition] = str(error)
        self._standing.append((key, events))

    def try_again(self) -> tuple[list[Event | Malformed], list[tuple[str, list[Event]]]]:
        """Takes out everything: what was put aside, and what stopped its lane, with the key of that."""
        found = self._aside, self._standing
        self._aside, self._standing, self._full, self._trying = [], [], {}, self._full
        return found

    def tried(self) -> None:
        """Something was written: what found no room this time has said so again."""
        self._trying = {}

    def forget(self, partitions: set[Partition]) -> list[tuple[str, list[Event]]]:
        """These partitions are not ours any more. Returns the lanes that stood still for one, with what is left."""
        for partition in partitions:
            self._full.pop(partition, None)
            self._trying.pop(partition, None)
        self._aside = [one for one in self._aside if one.slice.partition not in partitions]
        gone = [one for one in self._standing if one[1][0].slice.partition in partitions]
        self._standing = [one for one in self._standing if one[1][0].slice.partition not in partitions]
        return [(key, [event for event in events if event.slice.partition not in partitions]) for key, events in gone]
