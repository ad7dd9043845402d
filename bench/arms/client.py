"""What the arms without the library share: the Kafka client, the databases, decoding."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psycopg
from confluent_kafka import Consumer, Message

from bench.arms.gate import Gate
from bench.arms.task import Clock, Report, Task
from bench.workload import Entry

TABLES = (
    "create table bare (entity text primary key, version bigint, balance bigint)",
    "create table posted (entity text primary key, balance bigint)",
)
UPSERT = (
    "insert into bare as b (entity, version, balance) {0} on conflict (entity)"
    " do update set balance = b.balance + excluded.balance, version = excluded.version"
)
PRAGMAS = ("journal_mode = wal", "synchronous = full", "wal_autocheckpoint = 8192", "cache_size = -32768")
"""As the library opens it: every commit is on the disk, and a large batch is not written twice."""

_decode = msgspec.json.Decoder(Entry).decode
_value: Callable[[Message], Any] = Message.value


def client(task: Task) -> Consumer:
    """A consumer with those settings of the library's own that matter for speed."""
    where = urlsplit(task.source)
    consumer = Consumer(
        {
            "bootstrap.servers": where.netloc,
            "group.id": f"bench-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            # The default of a second leaves a fast consumer idle each time its queue has been full.
            "fetch.queue.backoff.ms": 5,
        }
    )
    gate = Gate(task.gated)
    consumer.subscribe([where.path[1:]], on_assign=lambda _, partitions: gate.tell(len(partitions)))
    return consumer


def consume(task: Task, each: Callable[[list[Message]], object], batch: int = 0) -> Report:
    """Take the events, a batch at a time. Joining and leaving the group are not measured, and nothing is committed."""
    clock, consumer = Clock(task), client(task)
    while clock.done < task.events:
        most = min(batch or task.batch, task.events - clock.done)
        messages = consumer.consume(most if clock.began else 1, timeout=0.1)
        if messages:
            clock.first()
            each(messages)
            clock.durable(len(messages))
    consumer.close()
    return clock.report()


def read(messages: list[Message]) -> Iterator[Entry]:
    """The entries that these messages carry."""
    return map(_decode, map(_value, messages))


def postgres(task: Task) -> psycopg.Connection:
    """A connection to the store, with the tables in place."""
    database = psycopg.connect(task.store, autocommit=True)
    for table in TABLES:
        database.execute(table)
    return database


def sqlite(task: Task) -> sqlite3.Connection:
    """The same."""
    database = sqlite3.connect(task.store.removeprefix("sqlite:///"), isolation_level=None)
    for statement in (*(f"pragma {pragma}" for pragma in PRAGMAS), *TABLES):
        database.execute(statement)
    return database
