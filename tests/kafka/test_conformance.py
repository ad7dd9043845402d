"""Kafka passes the suite that every source passes, in each of its group protocols."""

from tests.sources.harness import Harness, until
from tests.sources.test_source_conformance import *  # noqa: F403
from tests.sources.test_source_conformance import numbered, owning


def test_a_pause_in_the_middle_of_a_partition_repeats_nothing(  # type: ignore[no-redef]
    harness: Harness,
) -> None:
    consumer = owning(harness)
    harness.produce(0, numbered(100))
    assert len(consumer.poll(most=10, timeout_s=harness.patience_s)) <= 10
    for _ in range(5):
        consumer.source.pause([consumer.partition(0)])
        assert consumer.poll() == []
        consumer.source.resume([consumer.partition(0)])
        consumer.poll(most=10)
    until("all came", lambda: len(consumer.received) >= 100, consumer)
    assert consumer.values() == numbered(100)
