"""The consumers that the benches run."""

from __future__ import annotations

import asyncio
import time

import inorder
from bench.workload import Entry

ADD_TO_POSTED = (
    "insert into posted as p (entity, balance) values ({0}, {0})"
    " on conflict (entity) do update set balance = p.balance + excluded.balance"
)
POST_POSTGRES = ADD_TO_POSTED.format("%s")
POST_SQLITE = ADD_TO_POSTED.format("?")
WORK_S = 50e-6


class Lone(Entry):
    """An entry that says when it was sent, as nanoseconds since the epoch."""

    sent_ns: int


seen: list[int] = []
"""When the entries were sent that `lone` has folded since somebody last looked."""


@inorder.fold(key="entity", version="version", id="id")
def balance(total: int | None, entry: Entry) -> int:
    """Debits and credits."""
    return (total or 0) + entry.amount


@inorder.fold(key="entity", version="version", id="id", name="balance")
def costly(total: int | None, entry: Entry) -> int:
    """Debits and credits, with 50 µs of the processor's time for each."""
    until = time.perf_counter() + WORK_S
    while time.perf_counter() < until:
        pass
    return (total or 0) + entry.amount


@inorder.fold(key="entity", version="version", id="id", name="balance")
def lone(total: int | None, entry: Lone) -> int:
    """Debits and credits, and when they were sent."""
    seen.append(entry.sent_ns)
    return (total or 0) + entry.amount


@inorder.handler(key="entity", version="version", id="id", name="post")
def post_postgres(entry: Entry, tx: inorder.Transaction) -> None:
    """One statement an event."""
    tx.execute(POST_POSTGRES, (entry.entity, entry.amount))


@inorder.handler(key="entity", version="version", id="id", name="post")
def post_sqlite(entry: Entry, tx: inorder.Transaction) -> None:
    """One statement an event."""
    tx.execute(POST_SQLITE, (entry.entity, entry.amount))


@inorder.handler(key="entity", version="version", id="id", name="post")
def look_and_post(entry: Entry, tx: inorder.Transaction) -> None:
    """Waits for an answer of the database before it writes."""
    tx.execute("select balance from posted where entity = %s for update", (entry.entity,)).fetchone()
    tx.execute(POST_POSTGRES, (entry.entity, entry.amount))


@inorder.handler(key="entity", version="version", id="id", name="call")
async def noop(entry: Entry) -> None:
    """Nothing."""


@inorder.handler(key="entity", version="version", id="id", name="call")
async def sleep_1(entry: Entry) -> None:
    """An effect elsewhere that takes 1 ms."""
    await asyncio.sleep(0.001)


@inorder.handler(key="entity", version="version", id="id", name="call")
async def sleep_10(entry: Entry) -> None:
    """An effect elsewhere that takes 10 ms."""
    await asyncio.sleep(0.01)


@inorder.handler(key="entity", version="version", id="id", name="call")
def sync_10(entry: Entry) -> None:
    """The same in a thread."""
    time.sleep(0.01)


@inorder.handler(key="entity", version="version", id="id", batch=100, name="call")
async def sleep_10_by_key(entries: list[Entry]) -> None:
    """The same for up to 100 consecutive events of a key at once."""
    await asyncio.sleep(0.01)
