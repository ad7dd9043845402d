"""Producers on a fake broker, and topics on a real one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

import inorder
from inorder.producing import producer as module
from tests.producing.fake import FakeChannel
from tests.services import KafkaCluster

_numbers = itertools.count()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeChannel:
    """What the next producers send to, whatever their URL."""
    made = FakeChannel()
    monkeypatch.setattr(module, "open_channel", lambda url: made)
    return made


@pytest.fixture
def producer(broker: FakeChannel) -> Iterator[inorder.Producer]:
    """A producer on the fake broker. What it could not deliver at the end is given up."""
    made = inorder.Producer("fake://")
    yield made
    for key in made.undelivered():
        made.discard(key)
    broker.silent = False
    made.close(5)


@pytest.fixture
def topic(kafka: KafkaCluster) -> Callable[..., str]:
    """Makes a topic of this test alone; gives its Kafka URL."""

    def make(partitions: int = 1, **config: str | int) -> str:
        name = kafka.create_topic(f"producing-{os.getpid()}-{next(_numbers)}", partitions, **config)
        return f"kafka://{kafka.bootstrap}/{name}"

    return make


@pytest.fixture(scope="module")
def kafka_alone() -> Iterator[KafkaCluster]:
    """A broker of these tests alone, to pause and to kill."""
    with KafkaCluster() as cluster:
        yield cluster
