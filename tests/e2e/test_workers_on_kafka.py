"""Worker processes on a real Kafka: disorder, duplicates, a killed worker, rebalances. And the naive consumer."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
import uuid
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from inorder.core.order import Outcome
from inorder.wiring import open_store
from tests.cli.conftest import CONSUMERS, Command, Start, add_up, events, expected
from tests.services import KafkaCluster

ACCOUNTS, EACH = 20, 40
SLOW = f"{CONSUMERS}:slow_ledger"
STATE = ("state", "--store", "sqlite:///inorder.db", "--stream", "slow_ledger")
PROTOCOLS = {
    "classic": "session.timeout.ms=2000&heartbeat.interval.ms=300",
    "eager": "session.timeout.ms=2000&heartbeat.interval.ms=300&partition.assignment.strategy=range",
    "kip-848": "group.protocol=consumer",
}


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    """Accounts' events: one in three out of order, one in four twice, some in a partition that is not their own."""
    rng = random.Random(11)
    found = [event for event in events(ACCOUNTS, EACH) for _ in range(rng.choice((1, 1, 1, 2)))]
    order = sorted(range(len(found)), key=lambda at: at + (rng.random() * 60 if rng.random() < 0.33 else 0))
    name = kafka.create_topic(f"ledger-{uuid.uuid4()}", 4)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for at in order:
        event = found[at]
        strays = rng.random() < 0.1
        place = rng.randrange(4) if strays else -1
        producer.produce(name, json.dumps(event).encode(), event["account"], partition=place)
    assert producer.flush(20) == 0
    return name


def effects(inorder: Command) -> int:
    """How many events have taken effect."""
    said = inorder(*STATE)
    return sum(row["version"] for row in said.lines) if said.code == 0 else 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_order_and_state_survive_a_kill_and_a_rebalance(
    inorder: Command, start: Start, kafka: KafkaCluster, topic: str, protocol: str
) -> None:
    url = f"kafka://{kafka.bootstrap}/{topic}?group=ledger-{uuid.uuid4()}&{PROTOCOLS[protocol]}"
    run = start("run", SLOW, "--from", url, "--workers", 2, "--until-idle", 1, "--json")
    run.until(lambda: len(run.workers) == 2 and effects(inorder) > 60)
    os.kill(run.workers[0], signal.SIGKILL)
    # While it is missed, another one joins, works for a while, and leaves: a rebalance with handlers running, twice.
    guest = start("run", SLOW, "--from", url, "--json")
    guest.until(lambda: "from kafka" in guest.err)
    run.until(lambda: effects(inorder) > 300)
    guest.signal(signal.SIGTERM)
    assert guest.code() == 0
    assert run.code() == 0
    assert inorder(*STATE).lines == expected(ACCOUNTS, EACH)
    for report in (run.document, guest.document):
        add_up(report)
    assert run.document["held_now"] == run.document["parked_keys"] == 0
    # What the guest held when it left took effect later, and is counted as what became of the guest's deliveries.
    counts = open_store("sqlite:///inorder.db", "slow_ledger", create=False).counts()
    assert counts["applied"] == ACCOUNTS * EACH
    assert counts["received"] == sum(counts.get(outcome, 0) for outcome in Outcome)


def test_the_naive_consumer_is_wrong_on_the_same_topic(kafka: KafkaCluster, topic: str) -> None:
    database = sqlite3.connect(":memory:")
    database.execute("create table ledger (account text primary key, amounts text not null)")
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": f"naive-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    seen, until = 0, time.monotonic() + 20
    while time.monotonic() < until and seen < ACCOUNTS * EACH:
        for message in consumer.consume(500, timeout=0.5):
            event: dict[str, Any] = json.loads(message.value() or b"")
            with database:
                database.execute(
                    "insert into ledger values (?1, ?2) on conflict do update set amounts = amounts || ',' || ?2",
                    (event["account"], str(event["amount"])),
                )
            seen += 1
        consumer.commit(asynchronous=False) if seen else None
    consumer.close()
    right = {row["key"]: ",".join(map(str, row["state"]["amounts"])) for row in expected(ACCOUNTS, EACH)}
    found = dict(database.execute("select account, amounts from ledger"))
    wrong = [account for account in right if found.get(account) != right[account]]
    assert len(wrong) > ACCOUNTS / 2
