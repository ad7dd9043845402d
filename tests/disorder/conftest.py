"""A topic on a real broker, and the proxy that its producers go through."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from tests.disorder.proxy import KafkaProxy
from tests.disorder.stream import MARK, Stream
from tests.services import KafkaCluster

_numbers = itertools.count()


@pytest.fixture(scope="module")
def proxy(kafka: KafkaCluster) -> Iterator[KafkaProxy]:
    """In front of the broker."""
    with KafkaProxy(kafka.bootstrap, MARK) as made:
        yield made


@pytest.fixture
def stream(kafka: KafkaCluster, proxy: KafkaProxy) -> Stream:
    """A topic of this test alone, with one partition."""
    topic = kafka.create_topic(f"disorder-{os.getpid()}-{next(_numbers)}")
    return Stream(f"kafka://{kafka.bootstrap}/{topic}", f"kafka://{proxy.bootstrap}/{topic}")
