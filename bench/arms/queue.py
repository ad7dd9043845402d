"""The arms on a queue: a bare loop of boto3 that receives and deletes, and the library with the same calls and a store.

Both end with the last deletion.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

import boto3
from botocore.config import Config

from bench.arms.gate import Gate, TimedSource
from bench.arms.library import declared
from bench.arms.task import Clock, Report, Task
from inorder.sources.sqs import RECEIVERS, SqsSource
from inorder.sources.sqs_record import SYSTEM_ATTRIBUTES
from inorder.sources.sqs_url import MOST_IN_BATCH, parse
from inorder.wiring import open_store
from inorder.worker.assemble import Assembled
from inorder.worker.settings import Settings

WAIT_S = 1


def bare(task: Task) -> Report:
    """Eight threads: receive ten, delete them, again."""
    at, clock, lock = parse(task.source), Clock(task), threading.Lock()
    client = boto3.client(
        "sqs",
        endpoint_url=at.endpoint,
        region_name=at.region,
        config=Config(max_pool_connections=RECEIVERS, retries={"mode": "standard", "max_attempts": 2}),
    )
    url = client.get_queue_url(QueueName=at.queue)["QueueUrl"]
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            answer = client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=MOST_IN_BATCH,
                WaitTimeSeconds=WAIT_S,
                MessageSystemAttributeNames=SYSTEM_ATTRIBUTES,
                MessageAttributeNames=("All",),
            )
            if not (messages := answer.get("Messages", ())):
                continue
            with lock:
                clock.first()
            entries: Any = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
            assert not client.delete_message_batch(QueueUrl=url, Entries=entries).get("Failed")
            with lock:
                clock.durable(len(messages))
                if clock.done >= task.events:
                    done.set()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(RECEIVERS)]
    for thread in threads:
        thread.start()
    done.wait()
    for thread in threads:
        thread.join()
    return clock.report()


class TimedQueue(TimedSource):
    """A queue with a clock on it: the first message given out, and every deletion."""

    def __init__(self, inner: SqsSource, clock: Clock) -> None:
        super().__init__(inner, clock, Gate(False))
        self._queue = inner
        self._lock = threading.Lock()

    def subscribe(self, listener: Any) -> None:
        super().subscribe(listener)
        desk: Any = self._queue._desk
        delete = desk.delete

        def timed(messages: Sequence[Any]) -> Any:
            refused = delete(messages)
            with self._lock:
                self._clock.durable(len(messages) - len(refused.final) - len(refused.again))
            return refused

        desk.delete = timed

    def settle(self, deliveries: Sequence[int]) -> None:
        self._queue.settle(deliveries)

    def forget(self, deliveries: Sequence[int]) -> None:
        self._queue.forget(deliveries)


def library(task: Task) -> Report:
    """A fold, its states in a store, as `inorder run --from sqs://…` does it."""
    clock, consumer = Clock(task), declared(task)
    source = TimedQueue(SqsSource.from_url(task.source), clock)
    parts = Assembled(
        consumer,
        Settings(source=task.source, store=task.store),
        source,
        lambda: cast(Any, open_store(task.store, consumer.name)),
    )
    parts.loop.run(task.idle_s)
    counts = parts.control.counts([parts.tally])
    parts.control.close()
    return clock.report(counts=counts)
