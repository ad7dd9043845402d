"""Whether a consumer group has committed a Kafka topic to its end, whichever member owns which partition.

It only asks; it joins no group, and commits or moves nothing.
"""

from __future__ import annotations

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

ASK_TIMEOUT_S = 5.0
"""How long a question may take before it counts as unanswered."""

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

    def reached(self) -> bool:
        """Whether nothing is left for the group. False if the cluster gives no answer in time."""
        if self._client is None:
            self._client = Consumer(self._settings)
        try:
            return self._reached(self._client)
        except (KafkaException, LookupError):
            return False

    def _reached(self, client: Consumer) -> bool:
        partitions = client.list_topics(self._topic, timeout=ASK_TIMEOUT_S).topics[self._topic].partitions
        committed = _by_number(client.committed(self._at(partitions), timeout=ASK_TIMEOUT_S))
        ends = _by_number(client.offsets_for_times(self._at(partitions, OFFSET_END), timeout=ASK_TIMEOUT_S))
        behind = [number for number in partitions if committed[number] != ends[number]]
        if not behind:
            return bool(partitions)
        # What is committed may lie before the end with nothing left between them: all of it expired.
        where = self._at(behind, OFFSET_BEGINNING)
        starts = _by_number(client.offsets_for_times(where, timeout=ASK_TIMEOUT_S))
        return all(starts[number] == ends[number] for number in behind)

    def close(self) -> None:
        """Release the connections."""
        if self._client is not None:
            self._client.close()

    def _at(self, numbers: Iterable[int], offset: int = OFFSET_INVALID) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number, offset) for number in numbers]


def _by_number(partitions: list[TopicPartition]) -> dict[int, int]:
    """The offsets by partition number, without the partitions whose answer is an error."""
    return {partition.partition: partition.offset for partition in partitions if partition.error is None}
