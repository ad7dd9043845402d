"""A pause stays with a partition for as long as it is ours, costs no fetched record, and takes little memory."""

from __future__ import annotations

import time

import pytest

from inorder.sources import kafka_assignment
from inorder.sources.kafka import KafkaSource
from tests.kafka.harness import KafkaHarness
from tests.sources.harness import Consumer, for_a_while, until
from tests.sources.test_source_conformance import numbered, owning


def halted(consumer: Consumer) -> set[int]:
    assert isinstance(consumer.source, KafkaSource)
    return consumer.source._owned.halted


@pytest.mark.parametrize("harness", ["cooperative", "kip848"], indirect=True)
def test_a_partition_that_stays_through_a_rebalance_stays_paused(harness: KafkaHarness) -> None:
    first = owning(harness)
    first.source.pause(first.owned)
    second = Consumer(harness)
    until("they share", lambda: len(first.owned) == len(second.owned) == 1, first, second)
    (kept,) = first.owned
    harness.produce(kept.number, numbered(10))
    for_a_while(0.5, first, second)
    assert first.received == []
    first.source.resume([kept])
    until("all came", lambda: first.values(kept.number) == numbered(10), first, second)


def test_a_partition_that_comes_back_is_not_paused(harness: KafkaHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_assignment, "MOST_ASIDE", 0)  # so that librdkafka pauses too
    harness.produce(0, numbered(10))
    harness.produce(1, numbered(10))
    first = owning(harness)
    first.source.pause(first.owned)
    until("librdkafka pauses", lambda: len(halted(first)) == 2, first)
    second = Consumer(harness)
    until("they share", lambda: len(first.owned) == len(second.owned) == 1, first, second)
    (went,) = second.owned
    second.source.close()
    until("it came back", lambda: len(first.owned) == 2, first)
    until("all came", lambda: len(first.values(went.number)) >= 10, first)
    assert first.values(went.number)[-10:] == numbered(10)


@pytest.mark.parametrize("harness", ["eager"], indirect=True)
def test_an_eager_rebalance_takes_everything_so_nothing_stays_paused(harness: KafkaHarness) -> None:
    first = owning(harness)
    first.source.pause(first.owned)
    second = Consumer(harness)
    until("they share", lambda: len(first.owned) == len(second.owned) == 1, first, second)
    (kept,) = first.owned
    harness.produce(kept.number, numbered(10))
    until("all came", lambda: first.values(kept.number) == numbered(10), first, second)


def test_pausing_again_and_again_repeats_and_loses_nothing(harness: KafkaHarness) -> None:
    for partition in (0, 1):
        harness.produce(partition, numbered(2000))
    consumer = owning(harness)
    started = time.monotonic()
    turn = 0
    while len(consumer.received) < 4000:
        turn += 1
        paused = [consumer.partition(turn % 2)] if turn % 3 else consumer.owned
        consumer.source.pause(paused)
        before = {number: len(consumer.values(number)) for number in (0, 1)}
        consumer.poll(most=100, timeout_s=0.001)
        assert all(len(consumer.values(p.number)) == before[p.number] for p in paused)
        consumer.source.resume(paused)
        consumer.poll(most=100, timeout_s=0.001)
    assert consumer.values(0) == consumer.values(1) == numbered(2000)
    assert halted(consumer) == set()
    assert time.monotonic() - started < 10, "librdkafka's own pause takes half a second each time"


def test_what_is_set_aside_has_a_limit(harness: KafkaHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_assignment, "MOST_ASIDE", 100)
    for partition in (0, 1):
        harness.produce(partition, numbered(1000))
    consumer = owning(harness)
    consumer.source.pause([consumer.partition(0)])
    until("the other one came", lambda: len(consumer.values(1)) == 1000, consumer)
    for_a_while(0.3, consumer)
    assert isinstance(consumer.source, KafkaSource)
    assert consumer.source._owned._aside_count <= 200
    assert consumer.values(0) == []
    consumer.source.resume([consumer.partition(0)])
    until("all came", lambda: len(consumer.values(0)) == 1000, consumer)
    assert consumer.values(0) == numbered(1000)


def test_what_one_poll_sets_aside_has_the_same_limit(harness: KafkaHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_assignment, "MOST_ASIDE", 100)
    harness.produce(0, numbered(1000))
    harness.produce(1, numbered(1))
    consumer = owning(harness)
    consumer.source.pause([consumer.partition(0)])
    until("the other one came", lambda: consumer.values(1) == numbered(1), consumer)
    assert consumer.poll(timeout_s=1) == []
    assert isinstance(consumer.source, KafkaSource)
    assert 0 < consumer.source._owned._aside_count <= 200


def test_what_was_set_aside_is_not_settled_by_a_rebalance(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(100))
    harness.produce(1, numbered(100))
    first = owning(harness)
    first.on_revoked = first.commit_all
    first.poll(most=10, timeout_s=1)
    first.source.pause(first.owned)
    for_a_while(0.5, first)
    second = Consumer(harness)
    until("they share", lambda: len(first.owned) == len(second.owned) == 1, first, second)
    (went,) = second.owned
    given = len(first.values(went.number))
    until("the rest came", lambda: len(second.received) >= 100 - given, second, first)
    assert first.values(went.number) + second.values(went.number) == numbered(100)
