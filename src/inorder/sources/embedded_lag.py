"""How far a consumer group of the embedded broker is behind. It only asks; it joins no group."""

from __future__ import annotations

from inorder.core.event import Partition
from inorder.errors import UsageError
from inorder.sources.embedded_broker import EmbeddedBroker
from inorder.sources.embedded_url import parse


class EmbeddedLag:
    """Call it for the number of records that the group has not committed."""

    def __init__(self, broker: EmbeddedBroker, topic: str, group: str) -> None:
        self._broker = broker
        self._topic = topic
        self._group = group

    @classmethod
    def from_url(cls, url: str, group: str) -> EmbeddedLag:
        """For the group that `url` names, or else `group`."""
        location = parse(url, known=("group", "session_timeout_s"))
        if not location.path.exists():
            raise UsageError(f"there is no file {location.path}: name the live stream's own")
        return cls(EmbeddedBroker(location.path), location.topic, location.options.get("group") or group)

    def __call__(self) -> int:
        return sum(self.by_partition().values())

    def by_partition(self) -> dict[Partition, int]:
        """The same for each partition."""
        ends = self._broker.ends(self._topic)
        committed = self._broker.committed(self._topic, self._group)
        return {partition: end - committed.get(partition, 0) for partition, end in ends.items()}

    def close(self) -> None:
        """Close the file."""
        self._broker.close()
