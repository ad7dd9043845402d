"""Latency: how long one event takes, from just before it is sent to the moment its effect is durable."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from bench import consumers
from bench.arms import library
from bench.arms.client import UPSERT, client, postgres, sqlite
from bench.arms.naive import GUARD
from bench.arms.task import Clock, Report, Task

NS_A_MS = 1e6

_decode = msgspec.json.Decoder(consumers.Lone).decode


class Stopwatch:
    """Milliseconds from the sending of each event to now."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def durable(self, sent_ns: list[int]) -> None:
        """The effects of the events that were sent then are durable."""
        now = time.time_ns()
        self.found += [round((now - at) / NS_A_MS, 3) for at in sent_ns]
        sent_ns.clear()


def with_library(task: Task) -> Report:
    """The library's worker."""
    watch = Stopwatch()

    class Watched(library.TimedStore):
        @contextmanager
        def transaction(self) -> Iterator[library.TimedTransaction]:
            with super().transaction() as tx:
                yield tx
            watch.durable(consumers.seen)

    report = library.run(task, Watched)
    report.details["latency_ms"] = watch.found
    return report


def naive_postgres(task: Task) -> Report:
    """One event after the other, each in a transaction of its own."""
    with postgres(task) as database:
        return _naive(task, database, UPSERT.format("values (%s, %s, %s)") + GUARD)


def naive_sqlite(task: Task) -> Report:
    """The same on SQLite."""
    return _naive(task, sqlite(task), UPSERT.format("values (?, ?, ?)") + GUARD)


def _naive(task: Task, database: Any, statement: str) -> Report:
    clock, watch, consumer = Clock(task), Stopwatch(), client(task)
    while clock.done < task.events:
        message = consumer.poll(1.0)
        if message is None or message.error() is not None:
            continue
        clock.first()
        entry = _decode(message.value() or b"")
        database.execute(statement, (entry.entity, entry.version, entry.amount))
        watch.durable([entry.sent_ns])
        clock.durable(1)
    consumer.close()
    return clock.report(latency_ms=watch.found)
