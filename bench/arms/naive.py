"""What is usually written: every event by itself, in a transaction of its own or one for each poll."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from confluent_kafka import Message

from bench.arms.client import UPSERT, consume, postgres, read, sqlite
from bench.arms.task import Report, Task
from bench.consumers import POST_POSTGRES, POST_SQLITE

GUARD = " where b.version = excluded.version - 1"
POLLED = 500
"""Events taken at once, and so committed at once where a poll is a transaction."""

Execute = Callable[[str, tuple[Any, ...]], object]
Transaction = Callable[[], AbstractContextManager[object]]


def one_by_one(task: Task, execute: Execute, transaction: Transaction, guard: str, post: str) -> Report:
    """Every event in a transaction of its own: the guarded statement, the user's own statement, or both."""

    def each(messages: list[Message]) -> None:
        for entry in read(messages):
            with transaction():
                if guard:
                    execute(guard, (entry.entity, entry.version, entry.amount))
                if post:
                    execute(post, (entry.entity, entry.amount))

    return consume(task, each, POLLED)


def by_poll(task: Task, execute: Execute, transaction: Transaction, post: str) -> Report:
    """A statement for each event, no guard, and one transaction for a whole poll."""

    def each(messages: list[Message]) -> None:
        with transaction():
            for entry in read(messages):
                execute(post, (entry.entity, entry.amount))

    return consume(task, each, POLLED)


def with_postgres(task: Task, *, guard: bool = True, post: bool = False, polled: bool = False) -> Report:
    """One of them on PostgreSQL."""
    guarded = UPSERT.format("values (%s, %s, %s)") + GUARD
    with postgres(task) as database:
        execute = partial(database.cursor().execute, prepare=True)
        if polled:
            return by_poll(task, execute, database.transaction, POST_POSTGRES)
        # A single statement is a transaction by itself.
        transaction = database.transaction if guard and post else nullcontext
        return one_by_one(task, execute, transaction, guarded if guard else "", POST_POSTGRES if post else "")


def with_sqlite(task: Task, *, guard: bool = True, post: bool = False, polled: bool = False) -> Report:
    """One of them on SQLite."""
    guarded = UPSERT.format("values (?, ?, ?)") + GUARD
    database = sqlite(task)

    @contextmanager
    def transaction() -> Iterator[None]:
        database.execute("begin immediate")
        yield
        database.execute("commit")

    if polled:
        return by_poll(task, database.execute, transaction, POST_SQLITE)
    around: Transaction = transaction if guard and post else nullcontext
    return one_by_one(task, database.execute, around, guarded if guard else "", POST_SQLITE if post else "")
