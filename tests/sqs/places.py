"""The two servers that tests of SQS run on, and a queue on either: a real ElasticMQ, and one made from the rules."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from tests.services.fifo import FifoServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from tests.services import ElasticMQ

PATIENCE_S = 60.0
"""How long a test waits for anything: long, for a machine that is busy with something else."""
WAIT_S = 1
"""How long requests for messages wait in tests, and a source that is closed."""

_numbers = itertools.count()


def until(what: str, condition: Callable[[], Any]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.01)


class TestQueue:
    """One queue of one test."""

    __test__ = False

    def __init__(self, endpoint: str, name: str) -> None:
        self.endpoint = endpoint
        self.name = name
        self.client: SQSClient = boto3.client(
            "sqs",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 0}),
        )
        self.url = self.client.get_queue_url(QueueName=name)["QueueUrl"]

    def source_url(self, **options: int) -> str:
        """The URL that `inorder run --from` takes."""
        given = {"wait_s": WAIT_S, **options}
        more = "".join(f"&{name}={value}" for name, value in given.items())
        return f"sqs://{self.name}?endpoint={self.endpoint}&region=us-east-1{more}"

    def send(self, group: str, values: Iterable[bytes | str]) -> None:
        """Append to a message group, each value a message of its own whatever it says."""
        texts = [value.decode() if isinstance(value, bytes) else value for value in values]
        self.send_many([(group, text) for text in texts])

    def send_many(self, messages: Iterable[tuple[str, str]]) -> None:
        """Append group by group, in this order. One batch after another, each with one message of a group at most."""
        batch: list[tuple[str, str]] = []
        for group, text in messages:
            if len(batch) == 10 or any(group == other for other, _ in batch):
                self._send(batch)
                batch = []
            batch.append((group, text))
        if batch:
            self._send(batch)

    def _send(self, batch: list[tuple[str, str]]) -> None:
        answer = self.client.send_message_batch(
            QueueUrl=self.url,
            Entries=[
                {
                    "Id": str(at),
                    "MessageBody": text,
                    "MessageGroupId": group,
                    "MessageDeduplicationId": f"{os.getpid()}-{next(_numbers)}",
                }
                for at, (group, text) in enumerate(batch)
            ],
        )
        assert not answer.get("Failed")

    def receive(self, visibility_s: int | None = None) -> list[str]:
        """What another consumer is given now."""
        more: Any = {} if visibility_s is None else {"VisibilityTimeout": visibility_s}
        answer = self.client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, **more)
        return [message["Body"] for message in answer.get("Messages", [])]

    def delete(self, messages: Iterable[Any]) -> None:
        """Delete what was received."""
        entries = [{"Id": m["MessageId"], "ReceiptHandle": m["ReceiptHandle"]} for m in messages]
        if entries:
            self.client.delete_message_batch(QueueUrl=self.url, Entries=entries)  # type: ignore[arg-type]

    def counts(self) -> tuple[int, int]:
        """Messages that are visible, and those that somebody has."""
        found: Any = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]
        name = "ApproximateNumberOfMessages"
        return int(found[name]), int(found[f"{name}NotVisible"])


def on_elasticmq(sqs: ElasticMQ, visibility_s: int = 30) -> TestQueue:
    """A new queue there."""
    name = f"q{os.getpid()}-{next(_numbers)}.fifo"
    sqs.create_fifo(name, visibility_s)
    return TestQueue(sqs.endpoint, name)


def on_fifo(server: FifoServer, visibility_s: int = 30) -> TestQueue:
    """A new queue on the server made from the rules."""
    name = f"q{next(_numbers)}.fifo"
    server.create_fifo(name, visibility_s)
    return TestQueue(server.endpoint, name)


def entry(account: str, version: int, amount: int = 1, kind: str = "credit") -> str:
    """An event as examples/balance.py reads it."""
    found = {"id": f"{account}-{version}", "account": account, "version": version, "kind": kind, "amount": amount}
    return json.dumps(found)
