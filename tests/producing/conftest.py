"""Producers on a fake broker, and topics on a real one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import inorder
from inorder.producing import producer as module
from inorder.producing import relay
from tests.producing.databases import DATABASES, Database
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


@pytest.fixture(params=sorted(DATABASES))
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """A user's database with an outbox in it."""
    made = DATABASES[request.param](request, tmp_path)
    inorder.Outbox(made.url).prepare()
    return made


@pytest.fixture
def embedded(tmp_path: Path) -> str:
    """The URL of a topic of the embedded broker."""
    return f"embedded://{tmp_path}/broker.db/entries?partitions=4"


@pytest.fixture
def quick_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that died is missed soon."""
    monkeypatch.setattr(relay, "LEASE_S", 0.6)
    monkeypatch.setattr(relay, "POLL_S", 0.01)
