"""Consumers for the tests of the command: what a user's module may look like."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TypedDict

import msgspec

import inorder

print("a module may print when it is imported")


class Entry(msgspec.Struct):
    id: str
    account: str
    version: int
    amount: int


class Ledger(TypedDict):
    amounts: list[int]


QUICK = inorder.Retry(attempts=2, delay_s=0.01)


@inorder.fold(key="account", version="version", id="id", retry=QUICK)
def ledger(state: Ledger | None, entry: Entry) -> Ledger:
    """Remembers each amount in its order. Refuses 13."""
    if entry.amount == 13:
        raise ValueError("13 is refused")
    return {"amounts": [*(state["amounts"] if state else []), entry.amount]}


@inorder.fold(key="account", version="version", id="id", name="slow_ledger", limits=inorder.Limits(poll_events=20))
def slow_ledger(state: Ledger | None, entry: Entry) -> Ledger:
    """As `ledger`, slowly."""
    time.sleep(0.003)
    return ledger(state, entry)


@inorder.fold(key="account", version="version", id="id", name="stuck", limits=inorder.Limits(drain_s=0.5))
def stuck(state: Ledger | None, entry: Entry) -> Ledger:
    """Says that it has begun, and does not end."""
    print("stuck now", flush=True)
    time.sleep(60)
    return {"amounts": []}


@inorder.handler(
    key="account",
    version="version",
    id="id",
    limits=inorder.Limits(handler_s=0.2, drain_s=0.5),
    retry=inorder.Retry(attempts=1),
)
async def adrift(entry: Entry) -> None:
    """Waits for a thread of its own that does not end."""
    await asyncio.to_thread(threading.Event().wait)


@inorder.handler(key="account", version="version", id="id")
def noisy(entry: Entry) -> None:
    print(f"handled {entry.id}")


def plain(entry: Entry) -> None:
    """Not decorated."""
