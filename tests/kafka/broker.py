"""What the tests of this folder ask of the broker, or do to it, behind a source's back."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from tests.kafka.harness import KafkaHarness
from tests.services import KafkaCluster

LIMIT_S = 15.0
_FOR_A_MOMENT = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}


def committed(harness: KafkaHarness, group: str = "group") -> dict[int, int]:
    """What the group has committed, by partition."""
    return {number: offset for number, (offset, _) in noted(harness, group).items()}


def noted(harness: KafkaHarness, group: str = "group") -> dict[int, tuple[int, str]]:
    """The same, with the metadata of each commit."""
    client = _outsider(harness, group)
    topic = client.list_topics(harness.topic, timeout=LIMIT_S).topics[harness.topic]
    answer: list[TopicPartition] = []

    def answered() -> bool:
        # A broker that has just started, or that others keep busy, may for a moment be nobody's coordinator.
        try:
            answer[:] = client.committed([TopicPartition(harness.topic, n) for n in topic.partitions], timeout=LIMIT_S)
        except KafkaException as error:
            if error.args[0].code() not in _FOR_A_MOMENT:
                raise
        return bool(answer)

    wait_for("the group's offsets are known", answered)
    client.close()
    return {found.partition: (found.offset, found.metadata or "") for found in answer if found.offset >= 0}


def commit(harness: KafkaHarness, offset: int, metadata: str = "", partition: int = 0) -> None:
    """Commit for a group that has no members, as a stranger."""
    client = _outsider(harness, "group")
    where = [TopicPartition(harness.topic, partition, offset, metadata=metadata)]
    done = client.commit(offsets=where, asynchronous=False)
    assert done is not None
    assert done[0].error is None, done[0].error
    client.close()


def end(harness: KafkaHarness, partition: int = 0) -> int:
    """The offset after the last one, markers included."""
    where = TopicPartition(harness.topic, partition)
    newest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    found: list[int] = []

    def asked() -> bool:
        # A broker under load may for a moment not lead a partition that was just made.
        try:
            found.append(harness.kafka.admin.list_offsets({where: newest})[where].result(LIMIT_S).offset)
        except KafkaException as error:
            if not error.args[0].retriable() and error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                raise
        return bool(found)

    wait_for("the end is known", asked)
    return found[0]


def transaction(harness: KafkaHarness, values: list[bytes], *, fate: str, partition: int = 0) -> None:
    """Produce in a transaction that is committed, aborted, or left open."""
    settings = {"bootstrap.servers": harness.kafka.bootstrap, "transactional.id": f"{harness.topic}-{fate}"}
    producer = Producer({**settings, "log_level": 0})
    producer.init_transactions(LIMIT_S)
    marker = end(harness, partition) + len(values)
    producer.begin_transaction()
    for value in values:
        producer.produce(harness.topic, value, partition=partition)
    assert producer.flush(LIMIT_S) == 0
    if fate == "commit":
        producer.commit_transaction(LIMIT_S)
    elif fate == "abort":
        producer.abort_transaction(LIMIT_S)
    else:
        harness.keep(producer)
        return
    wait_for("the marker is written", lambda: end(harness, partition) > marker)


def compact_eagerly(kafka: KafkaCluster) -> None:
    """Let the broker's log cleaner look often enough for a test."""
    entry = ConfigEntry("log.cleaner.backoff.ms", "100", incremental_operation=AlterConfigOpType.SET)
    for broker in kafka.admin.list_topics(timeout=LIMIT_S).brokers:
        resource = ConfigResource(ResourceType.BROKER, str(broker), incremental_configs=[entry])
        kafka.admin.incremental_alter_configs([resource])[resource].result(LIMIT_S)


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    """Wait until something is so at the broker."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.1)


def readable(harness: KafkaHarness, partition: int = 0) -> list[int]:
    """The offsets of all records that there are to be read."""
    client = _outsider(harness, "reader")
    client.assign([TopicPartition(harness.topic, partition, 0)])
    offsets = [message.offset() for message in client.consume(10_000, 1.0) if message.error() is None]
    client.close()
    return [offset for offset in offsets if offset is not None]


def _outsider(harness: KafkaHarness, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": harness.kafka.bootstrap,
            "group.id": harness.group(group),
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
