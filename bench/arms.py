"""One arm of a bench, run in a process of its own: `python -m bench.arms ARM JSON`. Prints one JSON line.

The clock runs from the first record out of the client to the last durable effect. Joining the group and leaving it are
outside of it. Arms that consume a broker all use the same client settings.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
from confluent_kafka import Consumer, Message

from bench import consumers
from bench.workload import Entry
from inorder.worker.run import Worker
from inorder.worker.settings import Settings

UPSERT_PG = """
insert into bare as a (account, version, balance, span)
select * from unnest(%s::text[], %s::bigint[], %s::bigint[], %s::int[])
on conflict (account) do update
  set balance = a.balance + excluded.balance, version = excluded.version, span = excluded.span"""
UPSERT_SQLITE = """
insert into bare (account, version, balance, span) values (?, ?, ?, ?)
on conflict (account) do update
  set balance = balance + excluded.balance, version = excluded.version, span = excluded.span"""
GUARDED_PG = """
insert into bare as a (account, version, balance, span) values (%s, %s, %s, 1)
on conflict (account) do update
  set balance = a.balance + excluded.balance, version = excluded.version
where a.version = excluded.version - 1"""
TABLE = "create table if not exists bare (account text primary key, version bigint, balance bigint, span int)"

decode = msgspec.json.Decoder(Entry).decode


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What an arm is to do."""

    bootstrap: str
    topic: str
    events: int
    store: str = ""
    batch: int = 10_000
    consumer: str = "balance"
    concurrency: int = 16


class Clock:
    """From the first record to the last effect, with the processor time between."""

    def __init__(self) -> None:
        self.began = self.ended = self.cpu = 0.0

    def first(self) -> None:
        """A record is here."""
        if not self.began:
            self.began, self.cpu = time.perf_counter(), time.process_time()

    def last(self) -> None:
        """The last effect is durable."""
        self.ended, self.cpu = time.perf_counter(), time.process_time() - self.cpu

    def report(self, events: int) -> dict[str, Any]:
        """One line of results."""
        seconds = self.ended - self.began
        return {
            "events": events,
            "seconds": round(seconds, 4),
            "rate": round(events / seconds),
            "cpu_s": round(self.cpu, 4),
            "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }


def client(task: Task) -> Consumer:
    """The consumer that every arm uses, the library's own included."""
    consumer = Consumer(
        {
            "bootstrap.servers": task.bootstrap,
            "group.id": f"bench-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            # The default of a second leaves a fast consumer idle each time its queue has been full.
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.subscribe([task.topic])
    return consumer


def consume(task: Task, each: Callable[[list[Message]], None]) -> Clock:
    """Poll until `events` have come, handing each batch on."""
    clock, consumer, done = Clock(), client(task), 0
    while done < task.events:
        messages = consumer.consume(min(task.batch, task.events - done) if done else 1, timeout=0.1)
        if messages:
            clock.first()
            each(messages)
            done += len(messages)
    clock.last()
    consumer.close()
    return clock


def consume_only(task: Task) -> Clock:
    """What the client alone can do."""
    return consume(task, lambda messages: None)


def consume_and_decode(task: Task) -> Clock:
    """And decoding."""

    def each(messages: list[Message]) -> None:
        for message in messages:
            decode(message.value())

    return consume(task, each)


def fold(messages: list[Message]) -> tuple[list[str], list[int], list[int], list[int]]:
    """A batch summed up by account: last version, amount, number of events."""
    sums: dict[str, list[int]] = {}
    for message in messages:
        entry = decode(message.value())
        found = sums.get(entry.account)
        if found is None:
            sums[entry.account] = [entry.version, entry.amount, 1]
        else:
            found[0] = entry.version
            found[1] += entry.amount
            found[2] += 1
    rows = sums.values()
    return list(sums), [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def bare_postgres(task: Task) -> Clock:
    """The bare limit: one set-based upsert a batch, no guard."""
    with psycopg.connect(task.store, autocommit=True) as database:
        database.execute("drop table if exists bare")
        database.execute(TABLE)

        def each(messages: list[Message]) -> None:
            with database.transaction():
                database.execute(UPSERT_PG, fold(messages))

        return consume(task, each)


def bare_sqlite(task: Task) -> Clock:
    """The bare limit: one executemany upsert a batch, synchronous=FULL, no guard."""
    database = sqlite3.connect(task.store.removeprefix("sqlite:///"), isolation_level=None)
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = full")
    database.execute(TABLE)

    def each(messages: list[Message]) -> None:
        database.execute("begin immediate")
        database.executemany(UPSERT_SQLITE, zip(*fold(messages), strict=True))
        database.execute("commit")

    return consume(task, each)


def naive_postgres(task: Task) -> Clock:
    """One event, one guarded statement, one transaction: what is usually written, with the guard."""
    with psycopg.connect(task.store, autocommit=True) as database:
        database.execute("drop table if exists bare")
        database.execute(TABLE)
        cursor = database.cursor()

        def each(messages: list[Message]) -> None:
            for message in messages:
                entry = decode(message.value())
                cursor.execute(GUARDED_PG, (entry.account, entry.version, entry.amount), prepare=True)

        return consume(task, each)


def with_inorder(task: Task) -> Clock:
    """The library, from the same topic, into `store`."""
    url = f"kafka://{task.bootstrap}/{task.topic}?group=bench-{uuid.uuid4()}&auto.offset.reset=earliest"
    settings = Settings(source=url, store=task.store, concurrency=task.concurrency)
    worker = Worker(getattr(consumers, task.consumer), settings)
    clock, loop, settled = Clock(), worker._parts.loop, 0
    poll, take = loop._source.poll, loop._runner.settled

    def timed_poll(most: int, timeout_s: float) -> Any:
        pieces = poll(task.batch, timeout_s)
        if pieces:
            clock.first()
        return pieces

    def counted() -> Any:
        nonlocal settled
        units = take()
        settled += sum(unit.events for unit in units)
        if settled >= task.events and not clock.ended:
            clock.last()
            worker.stop()
        return units

    loop._source.poll, loop._runner.settled = timed_poll, counted  # type: ignore[method-assign]
    worker.run()
    return clock


ARMS = {
    "consume": consume_only,
    "decode": consume_and_decode,
    "bare-postgres": bare_postgres,
    "bare-sqlite": bare_sqlite,
    "naive-postgres": naive_postgres,
    "inorder": with_inorder,
}


if __name__ == "__main__":
    arm, given = sys.argv[1:]
    what = msgspec.json.decode(given, type=Task)
    print(json.dumps(ARMS[arm](what).report(what.events)), flush=True)
