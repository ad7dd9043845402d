"""What a user gets for a mistake: one line that says what was tried, and no traceback."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import pytest

from inorder.core.event import Partition
from inorder.errors import Unreachable, UsageError
from inorder.sources import kafka_contact
from inorder.sources.kafka import KafkaSource
from inorder.sources.kafka_url import parse
from tests.services import KafkaCluster
from tests.services.processes import free_port


class Nobody:
    def assigned(self, partitions: Sequence[Partition]) -> None: ...
    def revoked(self, partitions: Sequence[Partition]) -> None: ...
    def lost(self, partitions: Sequence[Partition]) -> None: ...


def start(url: str) -> str:
    """The one line that this URL gets."""
    source = KafkaSource.from_url(url)
    try:
        with pytest.raises((Unreachable, UsageError)) as caught:
            source.subscribe(Nobody())
    finally:
        source.close()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("kafka://h:1/topic", "names no group"),
        ("kafka://h:1/topic?group=", "an empty group"),
        ("kafka://h:1/?group=g", "cannot be the name"),
        ("kafka://h:1/a/b?group=g", "cannot be the name"),
        ("kafka://h:1/a%20b?group=g", "cannot be the name"),
        ("kafka:///topic?group=g", "write kafka://"),
        ("kafka://user:secret@h:1/topic?group=g", "sasl.username="),
        ("kafka://h:1/topic?group=g&group=h", "twice"),
        ("kafka://h:1/topic?group", "not a Kafka URL"),
        ("kafka://h:1/topic?group=g&no.such=1", 'property: "no.such"'),
        ("kafka://h:1/topic?group=g&fetch.wait.max.ms=soon", "fetch.wait.max.ms"),
        ("kafka://h:1/topic?group=g&enable.auto.commit=true", "commits what is settled"),
        ("kafka://h:1/topic?group=g&group.id=other", "write group="),
        ("kafka://h:1/topic?group=g&group.protocol=consumer&session.timeout.ms=9", "session.timeout.ms"),
        ("kafka://h:1/topic?group=g&partition.assignment.strategy=range,cooperative-sticky", "same protocol"),
    ],
)
def test_a_wrong_url(url: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        KafkaSource.from_url(url)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_parts_of_a_url() -> None:
    location = parse("kafka://a:1,b:2/topic-1?group=g&client.id=x%2By&fetch.wait.max.ms=50")
    assert location == ("a:1,b:2", "topic-1", "g", {"client.id": "x+y", "fetch.wait.max.ms": "50"})


def test_the_group_of_the_url_comes_first() -> None:
    assert KafkaSource.from_url("kafka://h:1/topic", "default").group == "default"
    assert KafkaSource.from_url("kafka://h:1/topic?group=own", "default").group == "own"


def test_what_is_already_so_may_be_said() -> None:
    KafkaSource.from_url("kafka://h:1/topic?group=g&enable.auto.commit=false")


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_contact, "LIMIT_S", 2.0)
    port = free_port()
    started = time.monotonic()
    line = start(f"kafka://127.0.0.1:{port}/topic?group=g")
    assert time.monotonic() - started < 5
    assert f"Kafka at 127.0.0.1:{port} does not answer, tried for 2 s" in line
    assert "Connection refused" in line


def test_the_limit_at_start() -> None:
    assert kafka_contact.LIMIT_S == 10


def test_no_such_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_contact, "LIMIT_S", 2.0)
    assert "Failed to resolve 'no-such-host.invalid:9092'" in start("kafka://no-such-host.invalid:9092/t?group=g")


def test_no_such_topic(kafka: KafkaCluster) -> None:
    assert "no topic no-such-topic" in start(f"kafka://{kafka.bootstrap}/no-such-topic?group=g")


def test_credentials_that_are_refused(kafka: KafkaCluster) -> None:
    login = "security.protocol=sasl_plaintext&sasl.mechanism=PLAIN&sasl.username=u&sasl.password=secret"
    line = start(f"kafka://{kafka.bootstrap}/topic?group=g&{login}")
    assert "turned us away" in line
    assert "secret" not in line
