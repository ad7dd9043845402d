"""A record comes as the broker has it: raw bytes, nothing added, nothing left out."""

from __future__ import annotations

import threading
import time

import pytest
from confluent_kafka import Producer

from tests.kafka import odd
from tests.kafka.harness import KafkaHarness
from tests.sources.harness import until
from tests.sources.test_source_conformance import owning

pytestmark = pytest.mark.parametrize("harness", ["cooperative"], indirect=True)


def test_null_and_binary_keys_tombstones_and_empty_values(harness: KafkaHarness) -> None:
    producer = Producer({"bootstrap.servers": harness.kafka.bootstrap})
    pairs = [(None, b"v"), (b"", b""), (b"\x00\xff", None), (b"k", b"\x00" * 10)]
    for key, value in pairs:
        producer.produce(harness.topic, value, key, partition=0)
        producer.flush()
    consumer = owning(harness)
    until("all came", lambda: len(consumer.received) == 4, consumer)
    assert [(record.key, record.value) for record in consumer.received] == pairs


def test_headers_come_in_order_with_repeats_and_nulls(harness: KafkaHarness) -> None:
    producer = Producer({"bootstrap.servers": harness.kafka.bootstrap})
    headers: list[tuple[str, str | bytes | None]] = [("a", b"1"), ("b", None), ("a", b"\xff"), ("é", b"")]
    producer.produce(harness.topic, b"v", partition=0, headers=headers, timestamp=1_700_000_000_123)
    producer.produce(harness.topic, b"w", partition=0)
    producer.flush()
    consumer = owning(harness)
    until("all came", lambda: len(consumer.received) == 2, consumer)
    first, second = consumer.received
    assert first.headers == (("a", b"1"), ("b", b""), ("a", b"\xff"), ("é", b""))
    assert first.timestamp_ms == 1_700_000_000_123
    assert second.headers == ()


def test_a_header_whose_name_is_no_text_costs_the_headers_and_not_the_record(
    harness: KafkaHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.produce(0, [b"v"] * 50)  # so often that the interpreter takes its short cuts
    odd.produce(harness.kafka.bootstrap, harness.topic, b"w", header=b"tr\xffce")
    consumer = owning(harness)
    until("all came", lambda: len(consumer.received) == 51, consumer)
    found = [(record.value, record.headers) for record in consumer.received]
    assert found == [(b"v", (("n", b"1"),))] * 50 + [(b"w", ())]
    assert f"{harness.topic}/0 at 50: its headers are left out: one has a name that is not UTF-8" in caplog.messages


def test_a_large_record(harness: KafkaHarness) -> None:
    harness.produce(0, [b"x" * 900_000])
    consumer = owning(harness)
    until("it came", lambda: len(consumer.received) == 1, consumer)
    assert consumer.values() == [b"x" * 900_000]


def test_an_idle_stream_gives_its_record_within_milliseconds(harness: KafkaHarness) -> None:
    consumer = owning(harness)
    harness.produce(0, [b"warm"])
    until("it came", lambda: len(consumer.received) == 1, consumer)
    waits: list[float] = []
    for _ in range(10):
        sent: list[float] = []

        def send(sent: list[float] = sent) -> None:
            time.sleep(0.05)
            sent.append(time.monotonic())
            harness.produce(0, [b"v"])

        thread = threading.Thread(target=send)
        thread.start()
        assert consumer.poll(timeout_s=5)
        waits.append(time.monotonic() - sent[0])
        thread.join()
    assert min(waits) < 0.05
