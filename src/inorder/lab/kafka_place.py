"""A topic of a real Kafka as a place of an experiment: made when it begins, deleted when it ends."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from inorder.errors import Unreachable
from inorder.lab.places import Put
from inorder.sources.kafka_contact import LIMIT_S, Quiet
from inorder.sources.kafka_url import Settings

ANSWER_S = 20.0
SESSION = "session.timeout.ms=6000&heartbeat.interval.ms=500&topic.metadata.refresh.interval.ms=200"
"""Kafka's brokers allow no shorter session by default."""


class KafkaPlace:
    """See `inorder.lab.places.Place`."""

    def __init__(self, bootstrap: str, partitions: int) -> None:
        self.partitions = partitions
        self._bootstrap = bootstrap.removeprefix("kafka://").rstrip("/")
        self._topic = f"inorder-lab-{uuid.uuid4().hex[:12]}"
        always: Settings = {"bootstrap.servers": self._bootstrap, "logger": Quiet()}
        self._admin = AdminClient(always)
        self._answered(lambda: self._admin.list_topics(timeout=LIMIT_S))
        made = self._admin.create_topics([NewTopic(self._topic, partitions)])[self._topic]
        self._answered(lambda: made.result(ANSWER_S))
        self._producer = Producer(
            {
                **always,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 0,
                "topic.metadata.refresh.interval.ms": 200,
            }
        )
        self._leaders()

    def url(self) -> str:
        """See `Place`."""
        return f"kafka://{self._bootstrap}/{self._topic}?{SESSION}"

    def put(self, records: Sequence[Put]) -> list[tuple[int, int]]:
        """See `Place`."""
        where: list[tuple[int, int]] = [(0, 0)] * len(records)
        failed: list[KafkaError] = []

        def delivered(number: int) -> Callable[[KafkaError | None, Message], None]:
            def tell(error: KafkaError | None, message: Message) -> None:
                if error is not None:
                    failed.append(error)
                else:
                    where[number] = message.partition() or 0, message.offset() or 0

            return tell

        for number, one in enumerate(records):
            self._producer.produce(
                self._topic,
                one.value,
                one.route.encode() if one.route else None,
                -1 if one.partition is None else one.partition,
                on_delivery=delivered(number),
            )
            self._producer.poll(0)
        left = self._producer.flush(ANSWER_S)
        if left or failed:
            why = failed[0].str() if failed else "no answer"
            raise Unreachable(f"Kafka at {self._bootstrap} did not take the lab's records: {why}")
        return where

    def grow(self, partitions: int) -> None:
        """See `Place`."""
        grown = self._admin.create_partitions([NewPartitions(self._topic, partitions)])[self._topic]
        self._answered(lambda: grown.result(ANSWER_S))
        self.partitions = partitions
        self._leaders()

    def close(self) -> None:
        """See `Place`."""
        with suppress(KafkaException, TimeoutError):
            self._admin.delete_topics([self._topic])[self._topic].result(ANSWER_S)

    def _leaders(self) -> None:
        """Wait until every partition has a leader, for the producer as well."""
        deadline = time.monotonic() + ANSWER_S
        while time.monotonic() < deadline:
            found = self._producer.list_topics(self._topic, timeout=LIMIT_S).topics[self._topic].partitions
            if len(found) == self.partitions and all(one.leader >= 0 for one in found.values()):
                return
            time.sleep(0.05)

    def _answered(self, ask: Callable[[], object]) -> None:
        try:
            ask()
        except (KafkaException, TimeoutError) as error:
            raise Unreachable(f"Kafka at {self._bootstrap} does not answer: {_why(error)}") from None


def _why(error: KafkaException | TimeoutError) -> str:
    found = error.args[0] if error.args else error
    return found.str() if isinstance(found, KafkaError) else str(found)
