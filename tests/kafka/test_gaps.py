"""Offsets that hold no record never stall a source, and never keep it from the end."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import TopicPartition

from tests.kafka import broker
from tests.kafka.harness import KafkaHarness
from tests.services import KafkaCluster
from tests.sources.harness import Consumer, until
from tests.sources.test_source_conformance import numbered, owning

# Offsets are the same whatever the group's protocol.
once = pytest.mark.parametrize("harness", ["cooperative"], indirect=True)


def at_end(consumer: Consumer) -> None:
    until("it is at the end", consumer.source.at_end, consumer)


@once
def test_transaction_markers_between_records(harness: KafkaHarness) -> None:
    broker.transaction(harness, numbered(3), fate="commit")
    harness.produce(0, [b"after"])
    consumer = owning(harness)
    until("all came", lambda: len(consumer.received) == 4, consumer)
    assert [record.offset for record in consumer.received] == [0, 1, 2, 4]
    consumer.commit_all()
    assert consumer.source.at_end()


def test_a_transaction_marker_at_the_end(harness: KafkaHarness) -> None:
    broker.transaction(harness, numbered(3), fate="commit")
    consumer = owning(harness)
    until("all came", lambda: len(consumer.received) == 3, consumer)
    assert not consumer.source.at_end(), "nothing was committed"
    consumer.commit_all()
    at_end(consumer)
    assert broker.committed(harness)[0] == broker.end(harness) == 4, "the marker was passed"


@once
def test_an_idle_source_passes_markers_without_being_asked(harness: KafkaHarness) -> None:
    broker.transaction(harness, numbered(3), fate="commit")
    consumer = owning(harness)
    until("all came", lambda: len(consumer.received) == 3, consumer)
    consumer.commit_all()
    until("no lag is left", lambda: broker.committed(harness).get(0) == broker.end(harness), consumer)


@once
def test_unsettled_records_are_not_passed_with_their_marker(harness: KafkaHarness) -> None:
    broker.transaction(harness, numbered(3), fate="commit")
    consumer = owning(harness)
    until("all came", lambda: len(consumer.received) == 3, consumer)
    consumer.commit({0: 2})
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        consumer.poll()
        assert not consumer.source.at_end()
    assert broker.committed(harness)[0] == 2


@once
def test_aborted_records_are_not_given_and_do_not_keep_it_from_the_end(harness: KafkaHarness) -> None:
    broker.transaction(harness, numbered(3), fate="abort")
    consumer = owning(harness)
    at_end(consumer)
    assert consumer.received == []


@once
def test_an_open_transaction_hides_its_records_and_is_no_lag(harness: KafkaHarness) -> None:
    harness.produce(0, [b"before"])
    broker.transaction(harness, numbered(3), fate="open")
    consumer = owning(harness)
    until("what is settled there came", lambda: len(consumer.received) == 1, consumer)
    consumer.commit_all()
    assert consumer.source.at_end()
    assert consumer.values() == [b"before"]


@once
def test_markers_that_nobody_passes_are_found_to_be_empty(harness: KafkaHarness) -> None:
    broker.transaction(harness, numbered(3), fate="commit")
    broker.commit(harness, 3)
    nobody = harness.open()  # it has not joined, so the partition has no owner to pass the marker
    started = time.monotonic()
    while not nobody.at_end():
        assert time.monotonic() - started < harness.patience_s
        time.sleep(0.2)
    broker.commit(harness, 2)
    for _ in range(3):
        assert not nobody.at_end(), "a record is left"


@once
def test_compaction_leaves_gaps(harness: KafkaHarness, kafka: KafkaCluster) -> None:
    broker.compact_eagerly(kafka)
    compacted = KafkaHarness(
        kafka, harness.protocol, 1, cleanup_policy="compact", segment_ms=100, min_cleanable_dirty_ratio="0.001"
    )
    compacted.produce(0, numbered(10), key=b"a")
    compacted.produce(0, [b"b"], key=b"b")
    time.sleep(0.2)
    compacted.produce(0, [b"last"], key=b"c")  # begins a new segment: only older ones are compacted
    broker.wait_for("compaction", lambda: broker.readable(compacted) == [9, 10, 11])
    consumer = owning(compacted, partitions=1)
    until("the rest came", lambda: len(consumer.received) == 3, consumer)
    consumer.commit_all()
    assert consumer.source.at_end()
    compacted.close()


@once
def test_retention_took_the_first_records(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(10))
    harness.kafka.delete_records(harness.topic, 0, before=6)
    consumer = owning(harness)
    until("the rest came", lambda: len(consumer.received) == 4, consumer)
    assert consumer.values() == numbered(10)[6:]
    consumer.commit_all()
    assert consumer.source.at_end()


@once
def test_retention_overtook_the_group(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(10))
    broker.commit(harness, 3)
    harness.kafka.delete_records(harness.topic, 0, before=6)
    consumer = owning(harness)
    until("the rest came", lambda: len(consumer.received) == 4, consumer)
    consumer.commit_all()
    assert consumer.source.at_end()


@once
def test_retention_took_everything(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(10))
    broker.commit(harness, 3)
    harness.kafka.delete_records(harness.topic, 0, before=10)
    consumer = owning(harness)
    at_end(consumer)
    harness.produce(0, [b"new"])
    until("the new one came", lambda: consumer.values() == [b"new"], consumer)


def test_a_group_that_committed_more_than_there_is_begins_again(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(3))
    broker.commit(harness, 100)
    assert not harness.open().at_end(), "the topic was made anew"
    consumer = owning(harness)
    until("all came", lambda: len(consumer.received) == 3, consumer)
    consumer.commit_all()
    assert consumer.source.at_end()
    assert broker.committed(harness)[0] == 3


@pytest.mark.parametrize("paused", [True, False])
def test_a_log_that_begins_anew_in_mid_run_is_lost_and_assigned_anew(
    harness: KafkaHarness, caplog: pytest.LogCaptureFixture, paused: bool
) -> None:
    harness.produce(0, numbered(10))
    consumer = owning(harness)
    until("all came", lambda: len(consumer.received) == 10, consumer)
    consumer.commit_all()
    if paused:
        consumer.source.pause(consumer.owned)
    place = TopicPartition(harness.topic, 0, 7)
    consumer.source._member.consumer.seek(place)  # type: ignore[attr-defined]  # as librdkafka does when offsets are gone
    until("they came again", lambda: len(consumer.received) == 13, consumer)
    assert consumer.lost_ever == {consumer.partition(0)}
    assert len(consumer.owned) == 2
    assert f"{harness.topic}/0 goes on at 7, which came before: the brokers have lost a part of it" in caplog.messages
    assert not consumer.source.at_end()
    consumer.commit_all()
    at_end(consumer)


def test_a_group_that_begins_at_the_end(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(3))
    harness.set("auto.offset.reset", "latest")
    first = owning(harness)
    at_end(first)
    first.source.close()
    harness.produce(0, [b"new"])
    second = owning(harness)
    until("what was produced in between is not skipped", lambda: second.values() == [b"new"], second)


def test_foreign_metadata_of_a_commit_is_ignored(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(5))
    broker.commit(harness, 2, metadata='{"not": "ours"}\ud7ff' + "x" * 3000)
    consumer = owning(harness)
    until("the rest came", lambda: len(consumer.received) == 3, consumer)
    assert consumer.values() == numbered(5)[2:]
    consumer.commit_all()
    assert consumer.source.at_end()
