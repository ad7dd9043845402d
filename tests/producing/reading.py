"""Reads a Kafka topic back, whole, beside the code under test."""

from __future__ import annotations

import time
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition

from inorder.sources import kafka_url


class Row(NamedTuple):
    """One record of a topic."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


def read_topic(url: str, patience_s: float = 20.0) -> list[Row]:
    """Every record of the topic, partition by partition."""
    where = kafka_url.parse(url)
    consumer = Consumer({"bootstrap.servers": where.bootstrap, "group.id": "look", "fetch.wait.max.ms": 20})
    try:
        numbers = sorted(consumer.list_topics(where.topic, timeout=10).topics[where.topic].partitions)
        ends = {n: consumer.get_watermark_offsets(TopicPartition(where.topic, n), timeout=10) for n in numbers}
        consumer.assign([TopicPartition(where.topic, n, low) for n, (low, _) in ends.items()])
        left = sum(high - low for low, high in ends.values())
        found: list[Row] = []
        deadline = time.monotonic() + patience_s
        while left > 0:
            assert time.monotonic() < deadline, f"{left} records of {where.topic} did not come"
            for message in consumer.consume(500, 0.1):
                left -= 1
                headers = dict(message.headers() or ())
                found.append(Row(message.partition() or 0, message.key(), message.value(), headers))  # type: ignore[arg-type]
        return sorted(found, key=lambda row: row.partition)
    finally:
        consumer.close()


def values_of(rows: list[Row], key: bytes) -> list[bytes | None]:
    """The values of a key, in the order of the topic."""
    return [row.value for row in rows if row.key == key]
