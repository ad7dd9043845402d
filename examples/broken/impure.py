"""Folds that take in more than their two arguments, or change more than their result.

inorder prove examples/broken/impure.py:clock
"""

import random
import time
from pathlib import Path
from tempfile import gettempdir

import msgspec

import inorder


class Change(msgspec.Struct):
    """An amount to add to an account."""

    id: str
    account: str
    version: int
    amount: int


class Stamped(msgspec.Struct):
    cents: int
    at: float


class Total(msgspec.Struct):
    cents: int


seen: dict[str, int] = {}


@inorder.fold(key="account", version="version", id="id")
def clock(state: Stamped | None, change: Change) -> Stamped:
    cents = (state.cents if state else 0) + change.amount
    return Stamped(cents, time.time())


@inorder.fold(key="account", version="version", id="id")
def lottery(state: Total | None, change: Change) -> Total:
    bonus = random.randrange(100)
    return Total((state.cents if state else 0) + change.amount + bonus)


@inorder.fold(key="account", version="version", id="id")
def remembered(state: Total | None, change: Change) -> Total:
    # Kept beside the state, so a transaction that is rolled back has left its mark.
    seen[change.account] = seen.get(change.account, 0) + change.amount
    return Total(seen[change.account])


@inorder.fold(key="account", version="version", id="id")
def noted(state: Total | None, change: Change) -> Total:
    with (Path(gettempdir()) / "inorder-broken-example.log").open("a") as log:
        log.write(f"{change.account} {change.amount}\n")
    return Total((state.cents if state else 0) + change.amount)
