"""How far a consumer group of Kafka is behind. It only asks; it joins no group, and commits nothing."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from inorder.core.event import Partition
from inorder.errors import Unreachable, UsageError
from inorder.sources import kafka_contact as contact
from inorder.sources import kafka_url
from inorder.sources.kafka_end import ASK_TIMEOUT_S


class KafkaLag:
    """Call it for the number of records that the group has not committed. `Unreachable` if there is no answer."""

    def __init__(self, bootstrap: str, topic: str, group: str, options: dict[str, str]) -> None:
        fixed = {
            "bootstrap.servers": (bootstrap, "the URL names the brokers before the topic"),
            "group.id": (group, "write group="),
        }
        settings = kafka_url.settings({}, options, fixed)
        self._bootstrap = bootstrap
        self._topic = topic
        try:
            self._client = Consumer({**settings, "logger": contact.Quiet()})
        except (KafkaException, TypeError, ValueError) as error:
            raise contact.bad_option(error) from None

    @classmethod
    def from_url(cls, url: str, group: str) -> KafkaLag:
        """For the group that `url` names, or else `group`."""
        location = kafka_url.parse(url)
        return cls(location.bootstrap, location.topic, location.group or group, location.options)

    def __call__(self) -> int:
        return sum(self.by_partition().values())

    def by_partition(self) -> dict[Partition, int]:
        """The same for each partition."""
        try:
            return self._behind()
        except KafkaException as error:
            raise Unreachable(f"Kafka at {self._bootstrap} does not say how far the live stream is: {error}") from None

    def _behind(self) -> dict[Partition, int]:
        topics = self._client.list_topics(self._topic, timeout=ASK_TIMEOUT_S).topics
        if self._topic not in topics or topics[self._topic].error is not None:
            raise UsageError(f"Kafka at {self._bootstrap} has no topic {self._topic}")
        numbers = list(topics[self._topic].partitions)
        starts = self._offsets(numbers, OFFSET_BEGINNING)
        ends = self._offsets(numbers, OFFSET_END)
        committed = {one.partition: one.offset for one in self._client.committed(self._at(numbers), ASK_TIMEOUT_S)}
        return {
            Partition(self._topic, one): max(0, ends[one] - max(committed.get(one, -1), starts[one])) for one in numbers
        }

    def _offsets(self, numbers: Iterable[int], where: int) -> dict[int, int]:
        answer = self._client.offsets_for_times(self._at(numbers, where), ASK_TIMEOUT_S)
        for one in answer:
            if one.error is not None:
                raise KafkaException(one.error)
        return {one.partition: one.offset for one in answer}

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def _at(self, numbers: Iterable[int], offset: int = OFFSET_INVALID) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number, offset) for number in numbers]
