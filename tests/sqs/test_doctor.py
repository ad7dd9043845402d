"""What a doctor finds in queues: each fault is planted, and a good queue is left in peace."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import inorder
from tests.doctor.conftest import Examine, examine
from tests.services import ElasticMQ
from tests.sqs.places import on_elasticmq
from tests.sqs.scene import Scene

__all__ = ["examine"]

GOOD = {
    "VisibilityTimeout": "60",
    "MessageRetentionPeriod": "1209600",
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
    "ContentBasedDeduplication": "false",
}
CHECKS = 7


@inorder.fold(key="account", version="version", limits=inorder.Limits(handler_s=90))
def slow(total: int | None, event: dict[str, Any]) -> int:
    return (total or 0) + 1


@pytest.fixture
def good(scene: Scene) -> Scene:
    scene.queue.attributes |= GOOD
    return scene


def test_a_good_queue_is_left_in_peace(good: Scene, examine: Examine) -> None:
    found = examine(good.url)
    assert (found["findings"], found["unknown"]) == ([], {})
    assert len([name for name in found["passed"] if name.startswith("queue-")]) == CHECKS


@pytest.mark.parametrize(
    ("attributes", "check", "says"),
    [
        ({"VisibilityTimeout": "20"}, "queue-visibility", "is 20 s, and a handler may take 30 s"),
        ({"MessageRetentionPeriod": "86400"}, "queue-retention", "expire after 1 days"),
        ({"DeduplicationScope": "queue"}, "queue-deduplication-scope", "DeduplicationScope=queue"),
        ({"ContentBasedDeduplication": "true"}, "queue-content-deduplication", "ContentBasedDeduplication=true"),
        ({"FifoThroughputLimit": "perQueue"}, "queue-throughput", "300 requests a second"),
        ({"FifoQueue": "false"}, "queue-fifo", "is a standard queue"),
    ],
)
def test_settings_of_the_queue(
    good: Scene, examine: Examine, attributes: dict[str, str], check: str, says: str
) -> None:
    good.queue.attributes |= attributes
    found = examine(good.url)
    assert found["found"] == [check]
    assert says in found["findings"][0]["what"]
    assert found["findings"][0]["link"].endswith(f"#{check}")


def test_a_standard_queue_may_be_named(good: Scene, examine: Examine) -> None:
    queue = good.server.create_fifo(good.name.removesuffix(".fifo"))
    queue.attributes |= {**GOOD, "FifoQueue": "false"}
    assert examine(good.url.replace(".fifo", ""))["found"] == ["queue-fifo"]


@pytest.mark.parametrize(("receives", "found"), [(3, ["queue-redrive"]), (1000, [])])
def test_a_low_count_of_receives(good: Scene, examine: Examine, receives: int, found: list[str]) -> None:
    dead = good.server.create_fifo(f"dead-{good.name}")
    dead.attributes |= GOOD
    queue = good.server.create_fifo(f"low-{good.name}", dlq=dead.name, max_receives=receives)
    queue.attributes |= GOOD
    assert examine(good.url.replace(good.name, queue.name))["found"] == found


def test_a_dead_letter_queue_that_forgets_sooner(good: Scene, examine: Examine) -> None:
    dead = good.server.create_fifo(f"dead-{good.name}")
    dead.attributes |= {**GOOD, "MessageRetentionPeriod": "400000"}
    good.queue.attributes["RedrivePolicy"] = json.dumps(
        {"deadLetterTargetArn": dead.attributes["QueueArn"], "maxReceiveCount": "1000"}
    )
    found = examine(good.url)
    assert found["found"] == ["queue-retention"]
    assert "sooner than its own" in found["findings"][0]["what"]


def test_the_limits_of_the_consumer_and_of_the_url_count(good: Scene, examine: Examine) -> None:
    assert examine(good.url, "--consumer", f"{__file__}:slow")["found"] == ["queue-visibility"]
    assert examine(f"{good.url}&visibility_s=120", "--consumer", f"{__file__}:slow")["found"] == []


def test_a_letter_that_is_older_than_what_the_queue_keeps(good: Scene, examine: Examine, tmp_path: Path) -> None:
    good.queue.attributes["MessageRetentionPeriod"] = str(4 * 86_400)
    store = f"sqlite:///{tmp_path}/store.db"
    good.send("g", "not JSON")
    inorder.run(slow, source=good.url, store=store, until_idle_s=0.1)
    assert examine(good.url, "--store", store)["findings"] == []
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection, connection:
        connection.execute("UPDATE inorder_letters SET first_at = first_at - 5 * 86400")
    found = examine(good.url, "--store", store)
    assert found["found"] == ["queue-retention"]
    assert "has been open for 5 days" in found["findings"][0]["what"]


def test_on_an_emulator(sqs: ElasticMQ, examine: Examine) -> None:
    """It leaves out what it does not have; nothing is made up for it."""
    queue = on_elasticmq(sqs, visibility_s=5)
    assert set(examine(queue.source_url())["found"]) <= {"queue-visibility", "queue-retention"}


def test_a_queue_that_is_not_there_is_said_in_one_line(good: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    from inorder.cli import main

    assert main(["doctor", "--from", good.url.replace(good.name, "nowhere.fifo")]) == 2
    assert "nowhere.fifo is not there" in capsys.readouterr().err
