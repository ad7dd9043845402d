"""Worker processes on a real queue: disorder, duplicates, a worker killed, one frozen past its visibility, failing
keys. The same states as on Kafka and as the oracle's. And the naive consumer."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from inorder.core.order import Outcome
from inorder.wiring import open_store
from tests.cli.conftest import Command, Start, add_up
from tests.services import ElasticMQ, KafkaCluster
from tests.sqs.consumers import REFUSED, Balance, Entry, balance
from tests.sqs.places import PATIENCE_S, TestQueue, entry, on_elasticmq, until

ACCOUNTS, EACH = 12, 30
VISIBILITY_S = 3
EXAMPLE = Path(__file__).parents[2] / "examples" / "balance.py"
SLOW = f"{Path(__file__).parents[1] / 'sqs' / 'consumers.py'}:slow_balance"
STORE = "sqlite:///inorder.db"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture(scope="module")
def stream() -> list[tuple[str, str]]:
    """Groups and bodies, as they are sent: one in three late, one in four twice, one in ten in a foreign group."""
    rng = random.Random(8)
    once = [
        (f"a{account:02}", entry(f"a{account:02}", version, rng.randint(1, 100), rng.choice(("credit", "debit"))))
        for version in range(1, EACH + 1)
        for account in range(ACCOUNTS)
    ]
    made = [one for one in once for _ in range(rng.choice((1, 1, 1, 2)))]
    order = sorted(range(len(made)), key=lambda at: at + (rng.random() * 50 if rng.random() < 0.33 else 0))
    return [(made[rng.randrange(len(made))][0] if rng.random() < 0.1 else made[at][0], made[at][1]) for at in order]


def oracle(stream: list[tuple[str, str]], refused: tuple[str, int] | None = None) -> dict[str, Any]:
    """The balances of every account's entries in their order; of a refused one, up to it."""
    entries = {one.id: one for one in (msgspec.json.decode(body, type=Entry) for _, body in stream)}
    states: dict[str, Balance] = {}
    stopped: set[str] = set()
    for one in sorted(entries.values(), key=lambda one: (one.account, one.version)):
        if (one.account, one.version) == refused:
            stopped.add(one.account)
        if one.account not in stopped:
            found: Any = balance(states.get(one.account), one)
            states[one.account] = found
    return {account: msgspec.to_builtins(state) for account, state in states.items()}


def states(inorder: Command, store: str = STORE) -> dict[str, Any]:
    return {line["key"]: line["state"] for line in inorder("state", "--store", store).lines}


def counts(store: str = STORE) -> dict[str, int]:
    look = open_store(store, "balance", create=False)
    try:
        found: dict[str, int] = look.counts()
        return found
    finally:
        look.close()


def applied() -> int:
    return counts().get("applied", 0) if Path("inorder.db").exists() else 0


@pytest.fixture
def queue(sqs: ElasticMQ, stream: list[tuple[str, str]]) -> Iterator[TestQueue]:
    made = on_elasticmq(sqs, VISIBILITY_S)
    made.send_many(stream)
    yield made
    made.client.delete_queue(QueueUrl=made.url)


def on_kafka(kafka: KafkaCluster, stream: list[tuple[str, str]]) -> str:
    """The same stream in a topic."""
    name = kafka.create_topic(f"balances-{os.getpid()}-{time.time_ns()}", 4)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for group, body in stream:
        producer.produce(name, body.encode(), group)
    assert producer.flush(20) == 0
    return f"kafka://{kafka.bootstrap}/{name}"


def test_the_example_gives_the_states_of_the_oracle(
    inorder: Command, start: Start, queue: TestQueue, stream: list[tuple[str, str]]
) -> None:
    url = queue.source_url()
    run = start("run", f"{EXAMPLE}:balance", "--from", url, "--workers", 2, "--until-idle", 0.5, "--json")
    assert run.process.wait(PATIENCE_S) == 0, run.err
    add_up(run.document)
    assert states(inorder) == oracle(stream)
    assert run.document["outcomes"]["applied"] == ACCOUNTS * EACH
    assert run.document["received"] == len(stream)
    assert run.document["held_now"] == run.document["parked_keys"] == 0
    assert queue.counts() == (0, 0)


def test_a_kill_a_freeze_and_failing_keys_and_the_same_on_kafka(
    inorder: Command, start: Start, queue: TestQueue, stream: list[tuple[str, str]], kafka: KafkaCluster, tmp_path: Path
) -> None:
    run = start("run", SLOW, "--from", queue.source_url(), "--workers", 2, "--until-idle", 1, "--json")
    until("both are at work", lambda: len(run.workers) == 2 and applied() > 30)
    # One is stopped in a handler, and goes on after the visibility of its messages: others have them by then.
    (tmp_path / "freeze").write_text(str(run.workers[0]))
    until("it stopped", lambda: not (tmp_path / "freeze").exists())
    frozen_at, before = time.monotonic(), applied()
    until("others go on", lambda: time.monotonic() - frozen_at > VISIBILITY_S + 1 and applied() > before + 20)
    os.kill(run.workers[1], signal.SIGKILL)
    os.kill(run.workers[0], signal.SIGCONT)
    assert run.process.wait(PATIENCE_S) == 0, run.err
    document = run.document
    add_up(document)
    right = oracle(stream, REFUSED)
    assert states(inorder) == right
    assert document["parked_keys"] == 1
    assert document["outcomes"]["dead_lettered"] == 1
    assert document["retries"] > 0  # a failure whose worker died before it was written is not among them
    assert document["outcomes"]["applied"] == (ACCOUNTS - 1) * EACH + REFUSED[1] - 1
    total = counts()
    assert total["received"] == sum(total.get(outcome, 0) for outcome in Outcome)
    assert total["received"] >= len(stream), "nothing was lost on the way"
    assert queue.counts() == (0, 0), "a parked key's messages are stored and deleted: its group does not block"
    url, other = on_kafka(kafka, stream), "sqlite:///kafka.db"
    assert inorder("run", SLOW, "--from", url, "--store", other, "--until-idle", 0.5, "--json").code == 0
    assert states(inorder, other) == right


def test_the_naive_consumer_is_wrong_on_the_same_queue(queue: TestQueue, stream: list[tuple[str, str]]) -> None:
    database = sqlite3.connect(":memory:")
    database.execute("create table balance (account text primary key, state text not null)")
    seen = 0
    while seen < len(stream):
        answer = queue.client.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        for message in answer.get("Messages", []):
            one = msgspec.json.decode(message["Body"], type=Entry)
            row = database.execute("select state from balance where account = ?", (one.account,)).fetchone()
            found: Any = balance(msgspec.json.decode(row[0], type=Balance) if row else None, one)
            with database:
                state = msgspec.json.encode(found).decode()
                database.execute("insert or replace into balance values (?, ?)", (one.account, state))
            seen += 1
        queue.delete(answer.get("Messages", []))
    found_states = {account: json.loads(state) for account, state in database.execute("select * from balance")}
    right = oracle(stream)
    assert sum(found_states.get(account) != right[account] for account in right) > ACCOUNTS / 2
