"""The limits: the client alone, and one set-based upsert a batch, with no guard at all."""

from __future__ import annotations

from collections import deque

from confluent_kafka import Message

from bench.arms.client import UPSERT, consume, postgres, read, sqlite
from bench.arms.task import Report, Task

POSTGRES = UPSERT.format("select * from unnest(%s::text[], %s::bigint[], %s::bigint[])")
SQLITE = UPSERT.format("values (?, ?, ?)")


def consume_only(task: Task) -> Report:
    """What the client alone can do."""
    return consume(task, lambda messages: None)


def consume_and_decode(task: Task) -> Report:
    """And decoding."""
    return consume(task, lambda messages: deque(read(messages), 0))


def into_postgres(task: Task) -> Report:
    """One statement a batch, in one transaction."""
    with postgres(task) as database:
        return consume(task, lambda messages: database.execute(POSTGRES, fold(messages)))


def into_sqlite(task: Task) -> Report:
    """One executemany a batch, in one transaction."""
    database = sqlite(task)

    def each(messages: list[Message]) -> None:
        database.execute("begin immediate")
        database.executemany(SQLITE, zip(*fold(messages), strict=True))
        database.execute("commit")

    return consume(task, each)


def fold(messages: list[Message]) -> tuple[list[str], list[int], list[int]]:
    """A batch summed up by entity: last version and amount."""
    sums: dict[str, list[int]] = {}
    for entry in read(messages):
        found = sums.get(entry.entity)
        if found is None:
            sums[entry.entity] = [entry.version, entry.amount]
        else:
            found[0] = entry.version
            found[1] += entry.amount
    rows = sums.values()
    return list(sums), [row[0] for row in rows], [row[1] for row in rows]
