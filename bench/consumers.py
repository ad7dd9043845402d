"""The consumers that the benches run."""

from __future__ import annotations

import asyncio
import time

import inorder
from bench.workload import Entry


@inorder.fold(key="account", version="version", id="id")
def balance(total: int | None, entry: Entry) -> int:
    """Debits and credits."""
    return (total or 0) + entry.amount


@inorder.handler(key="account", version="version", id="id")
def post(entry: Entry, tx: inorder.Transaction) -> None:
    """One statement an event."""
    tx.execute(
        "insert into posted as p (account, balance) values (%s, %s)"
        " on conflict (account) do update set balance = p.balance + excluded.balance",
        (entry.account, entry.amount),
    )


@inorder.handler(key="account", version="version", id="id")
async def noop(entry: Entry) -> None:
    """Nothing."""


@inorder.handler(key="account", version="version", id="id")
async def sleep_1(entry: Entry) -> None:
    """An effect elsewhere that takes 1 ms."""
    await asyncio.sleep(0.001)


@inorder.handler(key="account", version="version", id="id")
async def sleep_10(entry: Entry) -> None:
    """An effect elsewhere that takes 10 ms."""
    await asyncio.sleep(0.01)


@inorder.handler(key="account", version="version", id="id")
def sync_10(entry: Entry) -> None:
    """The same in a thread."""
    time.sleep(0.01)


@inorder.handler(key="account", version="version", id="id", batch=100)
async def sleep_10_by_key(entries: list[Entry]) -> None:
    """The same for up to 100 consecutive events of a key at once."""
    await asyncio.sleep(0.01)
