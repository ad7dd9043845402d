"""The Kafka topics of tests: one broker, each test's topic its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kafka.harness import KafkaHarness
from tests.kafka.protocols import PROTOCOLS
from tests.services import KafkaCluster


@pytest.fixture(params=PROTOCOLS)
def harness(request: pytest.FixtureRequest, kafka: KafkaCluster) -> Iterator[KafkaHarness]:
    """A topic with two partitions. A test that uses it runs once per group protocol."""
    made = KafkaHarness(kafka, request.param)
    yield made
    made.close()
