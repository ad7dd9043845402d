"""Whether a consumer group has committed a Kafka topic to its end, whichever member owns which partition.

It only asks; it joins no group, and commits or moves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    Consumer,
    KafkaException,
    TopicPartition,
)

from inorder.sources.kafka_url import Settings

ASK_TIMEOUT_S = 3.0
"""How long a question may take before it counts as unanswered."""

STILL_S = 2.0
"""How long offsets must lie uncommitted, and nothing be read there, before they count as empty."""

_OF_MEMBERS = {
    "group.protocol",
    "group.instance.id",
    "group.remote.assignor",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
}


class TopicEnd:
    """Asks for the offsets of a group and of a topic, on connections of its own.

    On the connections of a consumer that has nothing to fetch, every question would wait for half a second behind the
    fetch request that waits there.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = {name: value for name, value in settings.items() if name not in _OF_MEMBERS}
        self._topic = topic
        self._client: Consumer | None = None
        self._before: dict[int, tuple[int, int]] = {}
        self._still_since = 0.0

    def reached(self) -> bool:
        """Whether nothing is left for the group. False if the cluster gives no answer in time."""
        client = self._client = self._client or Consumer(self._settings)
        try:
            behind = self._behind(client)
            return behind is not None and (not behind or (self._still(behind) and self._empty(client, behind)))
        except (KafkaException, LookupError):
            return False

    def pins(self, numbers: Iterable[int]) -> dict[int, int]:
        """The ends of those partitions that the group has committed nothing of. Empty if there is no answer."""
        client = self._client = self._client or Consumer(self._settings)
        try:
            where = client.committed(self._at(numbers), timeout=ASK_TIMEOUT_S)
            new = [partition.partition for partition in where if partition.offset < 0 and not partition.error]
            return self._offsets(client, new, OFFSET_END) if new else {}
        except KafkaException:
            return {}

    def _behind(self, client: Consumer) -> dict[int, tuple[int, int]] | None:
        """Offsets that are not committed: for each partition that has some, the first and the one after the last.

        None if the group has committed more than there is: the topic was made anew, and all of it is left.
        """
        partitions = client.list_topics(self._topic, timeout=ASK_TIMEOUT_S).topics[self._topic].partitions
        if not partitions:
            return None
        committed = _by_number(client.committed(self._at(partitions), timeout=ASK_TIMEOUT_S))
        ends = self._offsets(client, partitions, OFFSET_END)
        behind = [number for number in partitions if committed[number] != ends[number]]
        if not behind:
            return {}
        # What is committed may lie before the end with nothing left between them: all of it expired.
        starts = self._offsets(client, behind, OFFSET_BEGINNING)
        behind = [number for number in behind if starts[number] != ends[number]]
        if any(committed[number] > ends[number] for number in behind):
            return None
        return {number: (max(committed[number], starts[number]), ends[number]) for number in behind}

    def _still(self, behind: dict[int, tuple[int, int]]) -> bool:
        """Whether it has been like this for a while. Most often somebody is still at work."""
        if behind != self._before:
            self._before, self._still_since = behind, time.monotonic()
        return time.monotonic() - self._still_since > STILL_S

    def _empty(self, client: Consumer, behind: dict[int, tuple[int, int]]) -> bool:
        """Whether there is no record at these offsets: compaction can remove the last ones of a partition."""
        where = [TopicPartition(self._topic, number, first) for number, (first, _) in behind.items()]
        client.assign(where)
        try:
            return not client.consume(1, STILL_S)
        finally:
            client.unassign()

    def close(self) -> None:
        """Release the connections."""
        if self._client is not None:
            self._client.close()

    def _offsets(self, client: Consumer, numbers: Iterable[int], which: int) -> dict[int, int]:
        return _by_number(client.offsets_for_times(self._at(numbers, which), timeout=ASK_TIMEOUT_S))

    def _at(self, numbers: Iterable[int], offset: int = OFFSET_INVALID) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number, offset) for number in numbers]


def _by_number(partitions: list[TopicPartition]) -> dict[int, int]:
    """The offsets by partition number, without the partitions whose answer is an error."""
    return {partition.partition: partition.offset for partition in partitions if partition.error is None}
