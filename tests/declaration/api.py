"""What type checkers make of the public surface. Nothing here runs: `make types` is the test."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, assert_type

import msgspec

import inorder
from inorder.core.event import Record


class Entry(msgspec.Struct):
    account: str
    version: int
    id: str
    amount: int


@inorder.fold(key="account", version="version", id="id")
def balance(state: int | None, entry: Entry) -> int:
    return (state or 0) + entry.amount


@inorder.fold(key="account", version=inorder.POSITION, order="latest")
async def slow_balance(state: int | None, entry: Entry) -> int:
    return (state or 0) + entry.amount


@inorder.handler(key=lambda record: str(record.key), version="version", id=None)
def post(entry: Entry, tx: inorder.Transaction) -> None:
    assert_type(tx.execute("SELECT 1"), Any)


@inorder.handler(key="account", version="version", order="latest", park=False)
async def notify(entry: Entry, context: inorder.Context) -> None:
    assert_type(context.idempotency_key, str)
    assert_type(context.fence, int)


@inorder.handler(key="account", version="version", batch=10, retry=inorder.Retry(), limits=inorder.Limits())
def notify_all(entries: list[Entry]) -> None: ...


def functions_keep_their_types(entry: Entry, tx: inorder.Transaction) -> None:
    assert_type(balance(None, entry), int)
    post(entry, tx=tx)
    fold: Callable[[int | None, Entry], int] = balance
    slow_fold: Callable[[int | None, Entry], Coroutine[Any, Any, int]] = slow_balance
    call: Callable[[Entry, inorder.Context], Coroutine[Any, Any, None]] = notify
    print(fold, slow_fold, call)
    balance("1", entry)  # type: ignore[arg-type]
    balance(None)  # type: ignore[call-arg]
    notify_all(entry)  # type: ignore[arg-type]


def wrong_options_are_errors(of_record: Callable[[Record], str]) -> None:
    inorder.fold(key="account")  # type: ignore[call-arg]
    inorder.fold(key=1, version="version")  # type: ignore[arg-type]
    inorder.fold(key=inorder.POSITION, version="version")  # type: ignore[arg-type]
    inorder.fold(key=of_record, version=of_record, id=of_record)
    inorder.fold(key="account", version="version", batch=2)  # type: ignore[call-arg]
    inorder.handler(key="account", version="version", retry=3)  # type: ignore[arg-type]
    inorder.handler("account", "version")  # type: ignore[call-arg]
    inorder.fold(balance)  # type: ignore[call-arg, arg-type]
