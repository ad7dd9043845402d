"""What only the embedded source promises: its cost when idle, large records, and a listener that fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from inorder.core.event import Partition
from inorder.sources.embedded import POLL_BYTES, EmbeddedSource, Message
from tests.sources.embedded_harness import EmbeddedHarness
from tests.sources.harness import Consumer, for_a_while, until


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedHarness]:
    harness = EmbeddedHarness(tmp_path)
    yield harness
    harness.close()


def test_an_idle_consumer_leaves_the_processor_alone(embedded: EmbeddedHarness) -> None:
    consumer = Consumer(embedded)
    until("it owns the topic", lambda: len(consumer.owned) == 2, consumer)
    started = time.process_time()
    consumer.poll(timeout_s=1)
    assert time.process_time() - started < 0.2


def test_a_commit_keeps_the_membership(embedded: EmbeddedHarness) -> None:
    slow = Consumer(embedded)
    until("it owns the topic", lambda: len(slow.owned) == 2, slow)
    other = Consumer(embedded)
    deadline = time.monotonic() + embedded.session_timeout_s * 2
    while time.monotonic() < deadline:
        slow.commit({})
        other.poll(timeout_s=0.02)
    assert other.owned == set()


def test_a_poll_gives_out_a_limited_number_of_bytes(embedded: EmbeddedHarness) -> None:
    record = b"x" * (POLL_BYTES // 16)
    embedded.produce(0, [record] * 40)
    consumer = Consumer(embedded)
    until("some came", lambda: bool(consumer.received), consumer)
    assert len(consumer.received) < 20
    until("all came", lambda: len(consumer.received) == 40, consumer)


def test_a_record_may_be_empty_or_nothing(embedded: EmbeddedHarness) -> None:
    messages = [Message(b"k", value, partition=0) for value in (None, b"", b"x")]
    embedded.broker.append_many(embedded.topic, messages)
    consumer = Consumer(embedded)
    until("all came", lambda: len(consumer.received) == 3, consumer)
    assert consumer.values() == [None, b"", b"x"]


def test_a_partition_that_the_listener_could_not_take_is_offered_again(embedded: EmbeddedHarness) -> None:
    embedded.produce(0, [b"x"])

    class Failing(Consumer):
        failures = 1

        def assigned(self, partitions: Sequence[Partition]) -> None:
            if self.failures:
                self.failures -= 1
                raise ConnectionError("the store is away")
            super().assigned(partitions)

    consumer = Failing(embedded)
    with pytest.raises(ConnectionError):
        consumer.poll()
    until("its record came", lambda: consumer.values() == [b"x"], consumer)


def test_closing_twice_or_unused_is_harmless(embedded: EmbeddedHarness) -> None:
    source = EmbeddedSource(embedded.path, embedded.topic, "group")
    source.close()
    source.close()


def test_a_group_in_the_url_is_taken_over_the_default(embedded: EmbeddedHarness) -> None:
    embedded.produce(0, [b"x"])
    embedded.produce(1, [b"x"])
    consumer = Consumer(embedded, group="done")
    until("both came", lambda: len(consumer.received) == 2, consumer)
    consumer.commit_all()
    url = f"embedded://{embedded.path}/{embedded.topic}"
    ends = []
    for query in ("", "?group=done"):
        source = EmbeddedSource.from_url(url + query, "default")
        ends.append(source.at_end())
        source.close()
    assert ends == [False, True]


def test_changes_are_noticed_at_once_and_not_with_the_next_heartbeat(embedded: EmbeddedHarness) -> None:
    embedded.session_timeout_s = 600
    first = Consumer(embedded)
    until("it owns the topic", lambda: len(first.owned) == 2, first)
    second = Consumer(embedded)
    until("they share", lambda: len(first.owned) == len(second.owned) == 1, second, first)
    for_a_while(0.05, first, second)  # until nothing is left to notice
    embedded.grow(4)
    until("they share what is new", lambda: len(first.owned) == len(second.owned) == 2, first, second)
    second.source.close()
    until("the one that is left has all", lambda: len(first.owned) == 4, first)
    started = time.monotonic()
    producer = threading.Timer(0.1, embedded.produce, (3, [b"new"]))
    producer.start()
    assert first.poll(timeout_s=embedded.patience_s)
    assert time.monotonic() - started < embedded.patience_s / 2
    producer.join()


def test_a_commit_never_goes_back(embedded: EmbeddedHarness) -> None:
    embedded.produce(0, [b"x"] * 3)
    consumer = Consumer(embedded)
    until("all came", lambda: len(consumer.received) == 3, consumer)
    consumer.commit({0: 3})
    consumer.commit({0: 1})
    assert embedded.broker.committed(embedded.topic, "group")[consumer.partition(0)] == 3
