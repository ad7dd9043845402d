"""How many messages a queue has. It only asks; it receives nothing."""

from __future__ import annotations

from inorder.core.event import Partition
from inorder.sources import sqs_contact as contact
from inorder.sources import sqs_url
from inorder.sources.sqs_desk import Desk
from inorder.sources.sqs_url import Location


class SqsLag:
    """Call it for the number of messages that are not deleted, about. `Unreachable` if there is no answer."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._client = contact.connect(location, 1)
        self._desk = Desk(self._client, contact.find(self._client, location).url, 1, 0)

    @classmethod
    def from_url(cls, url: str, group: str) -> SqsLag:
        """For the queue that `url` names; it has no groups."""
        return cls(sqs_url.parse(url))

    def by_partition(self) -> dict[Partition, int]:
        """The same, as sources with partitions tell it."""
        return {Partition(self._location.queue, 0): self()}

    def __call__(self) -> int:
        with contact.telling(self._location):
            return self._desk.size()

    def close(self) -> None:
        """Release the connections."""
        self._client.close()
