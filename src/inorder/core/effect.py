"""What a consumer does with an event that may take effect, and how it gives up on more than that event."""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from inorder.core.entity import Entity
from inorder.core.event import Event, Malformed, Partition


@mypyc_attr(allow_interpreted_subclasses=True)
class Effect:
    """What a consumer does with an event that may take effect.

    A class to be inherited, not a protocol: compiled, its methods are then called without Python in between.
    """

    def apply(self, entity: Entity, event: Event) -> None:
        """Let the event take effect. An exception means that it did not."""
        raise NotImplementedError

    def undo(self, entity: Entity) -> None:
        """After a failed `apply`: make the entity what it was, its stored state with `entity.applied` in effect."""
        raise NotImplementedError


class Abort(BaseException):
    """Raised by an effect to give up on the whole batch: nothing of it is to be written, all of it is redone."""


class Outage(Abort):
    """Something that the handler depends on is down: the batch is redone when it is back. No event is to blame."""


class NoRoom(Abort):
    """What becomes of an event has no room in the store: it stays with the broker, and all that follows it there."""

    def __init__(self, first: Event | Malformed, why: str) -> None:
        self.first = first
        self.partition: Partition = first.slice.partition
        super().__init__(why)
