"""Each fault that a doctor knows, planted in a real cluster; and nothing found where there is none."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

import inorder
from inorder.cli import main
from inorder.sources import kafka_url
from tests.doctor.conftest import Examine, Topic, send
from tests.services import KafkaCluster

GOOD_PRODUCER = "enable.idempotence=true\nacks=all\nmax.in.flight=5\npartitioner=murmur2_random\n"
CONSUMER = """
import inorder

@inorder.fold(key="account", version="version", limits=inorder.Limits(handler_s=400))
def slow(total: int | None, entry: dict[str, int]) -> int:
    return (total or 0) + entry["amount"]
"""


@inorder.fold(key="account", version="version")
def balance(total: int | None, entry: dict[str, int]) -> int:
    return (total or 0) + entry["amount"]


def test_a_good_cluster_store_and_producer_are_left_in_peace(topic: Topic, examine: Examine, tmp_path: Path) -> None:
    url, store = topic(records=False), f"sqlite:///{tmp_path}/store.db"
    with inorder.Producer(url) as producer:
        for number in range(300):
            event = {"account": number % 30, "version": number // 30 + 1, "amount": 1}
            producer.send(number % 30, event, version=event["version"])
    inorder.run(balance, source=url, store=store, until_idle_s=0.3)
    (tmp_path / "producer.properties").write_text(GOOD_PRODUCER)
    found = examine(f"{url}?group=balance", "--store", store, "--producer", tmp_path / "producer.properties")
    assert (found["findings"], found["unknown"], found["code"]) == ([], {}, 0)
    assert len(found["passed"]) == 22


def test_an_empty_topic_is_left_in_peace(topic: Topic, examine: Examine) -> None:
    assert examine(topic(records=False))["findings"] == []


def test_one_replica(kafka_three: KafkaCluster, examine: Examine) -> None:
    name = f"one-replica-{time.time_ns()}"
    kafka_three.admin.create_topics([NewTopic(name, 2, 1)])[name].result(20)
    kafka_three._await_leaders(name, 2)
    assert examine(f"kafka://{kafka_three.bootstrap}/{name}")["found"] == ["replication"]


@pytest.mark.parametrize(
    ("config", "check", "says"),
    [
        ({"min_insync_replicas": 1}, "min-insync-replicas", "min.insync.replicas=1"),
        ({"unclean_leader_election_enable": "true"}, "unclean-leader-election", "enable=true"),
        ({"retention_ms": 3_600_000}, "retention", "retention.ms=3600000"),
        ({"retention_bytes": 1_000_000_000}, "retention", "depends on the traffic"),
        ({"cleanup_policy": "compact"}, "compaction", "older versions of a key are removed"),
        ({"cleanup_policy": "compact,delete"}, "compaction", "older versions of a key are removed"),
    ],
)
def test_settings_of_the_topic(
    topic: Topic, examine: Examine, config: dict[str, str | int], check: str, says: str
) -> None:
    found = examine(topic(records=False, **config))
    assert found["found"] == [check]
    assert says in found["findings"][0]["what"]


def test_more_replicas_in_sync_than_there_are(kafka_three: KafkaCluster, topic: Topic, examine: Examine) -> None:
    found = examine(topic(records=False, min_insync_replicas=4))
    assert found["found"] == ["min-insync-replicas"]
    assert "nothing can be written" in found["findings"][0]["what"]


def test_compaction_is_right_for_snapshots(topic: Topic, examine: Examine, tmp_path: Path) -> None:
    @inorder.fold(key="account", version="version", order="latest")
    def profile(before: int | None, entry: dict[str, int]) -> int:
        return entry["amount"]

    url, store = topic(records=False, cleanup_policy="compact"), f"sqlite:///{tmp_path}/store.db"
    inorder.run(profile, source=url, store=store, until_idle_s=0.1)
    assert examine(url, "--store", store)["findings"] == []


def test_events_that_expired_unread(kafka_three: KafkaCluster, topic: Topic, examine: Examine) -> None:
    url = topic(partitions=1)
    name = kafka_url.parse(url).topic
    reader = Consumer({"bootstrap.servers": kafka_three.bootstrap, "group.id": name, "enable.auto.commit": False})
    reader.commit(offsets=[TopicPartition(name, 0, 5)], asynchronous=False)
    reader.close()
    assert examine(f"{url}?group={name}")["findings"] == []
    kafka_three.delete_records(name, 0, before=12)
    found = examine(f"{url}?group={name}")
    assert found["found"] == ["expired-unread"]
    assert "7 of partition 0" in found["findings"][0]["what"]


def test_a_topic_that_has_grown(kafka_three: KafkaCluster, topic: Topic, examine: Examine) -> None:
    url = topic(partitions=3)
    kafka_three.grow(kafka_url.parse(url).topic, 8)
    send(url)
    found = examine(url)
    assert found["found"] == ["partition-growth"]
    assert "where they belonged when it had 3" in found["findings"][0]["what"]


def test_a_topic_that_grew_since_its_workers_looked(
    kafka_three: KafkaCluster, topic: Topic, examine: Examine, tmp_path: Path
) -> None:
    url, store = topic(partitions=2, records=False), f"sqlite:///{tmp_path}/store.db"
    owned = 0
    while owned < 2:  # a worker of an empty topic may be idle before it is given its partitions
        inorder.run(balance, source=url, store=store, until_idle_s=0.1)
        with closing(sqlite3.connect(tmp_path / "store.db")) as look:
            (owned,) = look.execute("SELECT count(*) FROM inorder_fences").fetchone()
    assert examine(url, "--store", store)["findings"] == []
    kafka_three.grow(kafka_url.parse(url).topic, 4)
    found = examine(url, "--store", store)
    assert found["found"] == ["partition-growth"]
    assert "has 4 partitions, and the workers of the store have had 2" in found["findings"][0]["what"]


@pytest.mark.parametrize(
    ("partitioner", "says"), [("consistent_random", "CRC-32"), ("fnv1a", "fnv1a"), ("random", "no partitioner")]
)
def test_keys_that_another_partitioner_placed(
    kafka_three: KafkaCluster, topic: Topic, examine: Examine, partitioner: str, says: str
) -> None:
    url = topic(partitions=5, records=False)
    theirs = Producer({"bootstrap.servers": kafka_three.bootstrap, "partitioner": partitioner})
    for number in range(60):
        theirs.produce(kafka_url.parse(url).topic, b"{}", f"key-{number}")
    assert theirs.flush(20) == 0
    found = examine(url)
    assert found["found"] == ["partitioner-mismatch"]
    assert says in found["findings"][0]["what"]


def test_brokers_that_forget_their_producers(kafka_three: KafkaCluster, topic: Topic, examine: Examine) -> None:
    url = topic(records=False)

    def change(operation: AlterConfigOpType) -> None:
        entry = ConfigEntry("producer.id.expiration.ms", "60000", incremental_operation=operation)
        for broker in "123":
            resource = ConfigResource(ResourceType.BROKER, broker, incremental_configs=[entry])
            kafka_three.admin.incremental_alter_configs([resource])[resource].result(20)

    change(AlterConfigOpType.SET)
    try:
        deadline = time.monotonic() + 10
        while (found := examine(url)["found"]) != ["producer-state"]:
            assert time.monotonic() < deadline, found
    finally:
        change(AlterConfigOpType.DELETE)


@pytest.mark.parametrize(
    ("options", "check", "says"),
    [
        ("session.timeout.ms=6000&heartbeat.interval.ms=5000", "session-timeout", "heartbeat.interval.ms=5000"),
        ("session.timeout.ms=500&heartbeat.interval.ms=100", "session-timeout", "the worker cannot join"),
        ("max.poll.interval.ms=20000&session.timeout.ms=10000", "poll-limit", "max.poll.interval.ms is 20 s"),
        ("isolation.level=read_uncommitted", "isolation-level", "read_uncommitted"),
        ("auto.offset.reset=latest", "offset-reset", "latest"),
    ],
)
def test_options_of_the_url(topic: Topic, examine: Examine, options: str, check: str, says: str) -> None:
    found = examine(f"{topic(records=False)}?{options}")
    assert found["found"] == [check]
    assert says in found["findings"][0]["what"]


def test_a_kip_848_group_is_judged_by_its_brokers(topic: Topic, examine: Examine) -> None:
    assert examine(f"{topic(records=False)}?group.protocol=consumer")["findings"] == []


def test_the_limits_of_the_consumer_count(topic: Topic, examine: Examine, tmp_path: Path) -> None:
    (tmp_path / "bank.py").write_text(CONSUMER)
    found = examine(topic(records=False), "--consumer", f"{tmp_path}/bank.py:slow")
    assert found["found"] == ["poll-limit"]
    assert "a handler may take 400 s" in found["findings"][0]["what"]


def test_a_producer_whose_clock_is_ahead(kafka_three: KafkaCluster, topic: Topic, examine: Examine) -> None:
    url = topic(records=False)
    theirs = Producer({"bootstrap.servers": kafka_three.bootstrap, "partitioner": "murmur2_random"})
    theirs.produce(kafka_url.parse(url).topic, b"{}", "key", timestamp=int((time.time() + 120) * 1000))
    assert theirs.flush(20) == 0
    assert examine(url)["found"] == ["clock-skew-producers"]


def test_people_are_told_what_why_and_how(topic: Topic, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--from", topic(records=False, cleanup_policy="compact")]) == 6
    out = capsys.readouterr().out
    for part in (
        "compaction: cleanup.policy=compact",
        "  why   strict order",
        "  fix   set",
        "docs/runbook.md#compaction",
    ):
        assert part in out
    assert "1 finding, 12 checks passed, 0 could not be decided" in out


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        ("kafka://{}/nowhere", 2, "shows us no topic nowhere"),
        ("kafka://127.0.0.1:1/topic", 1, "does not answer"),
        ("events.jsonl", 2, "is no broker to examine"),
    ],
)
def test_what_cannot_be_examined_is_said(
    kafka_three: KafkaCluster,
    capsys: pytest.CaptureFixture[str],
    source: str,
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inorder.sources.kafka_contact.LIMIT_S", 3.0)
    assert main(["doctor", "--from", source.format(kafka_three.bootstrap)]) == code
    assert says in capsys.readouterr().err
