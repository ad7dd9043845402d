"""Folds that are declared with an order that is not theirs.

inorder prove examples/broken/orders.py:deltas
"""

import msgspec

import inorder


class Change(msgspec.Struct):
    """An amount to add to an account."""

    id: str
    account: str
    version: int
    amount: int


class Floored(msgspec.Struct):
    cents: int = 0


class Mean(msgspec.Struct):
    mean: float = 0.0


class Last(msgspec.Struct):
    amount: int
    note: str


@inorder.fold(key="account", version="version", id="id", order="latest")
def deltas(state: Floored | None, change: Change) -> Floored:
    # "latest" leaves older events out: their amounts are missing in the sum.
    return Floored((state.cents if state else 0) + change.amount)


@inorder.fold(key="account", version="version", id="id", order="commutative")
def floor(state: Floored | None, change: Change) -> Floored:
    # A floor makes sums depend on their order: 1 - 5 + 5 is 5 with it, and 5 + 1 - 5 is 1.
    cents = (state.cents if state else 0) + change.amount
    if cents < 0:
        return Floored(0)
    return Floored(cents)


@inorder.fold(key="account", version="version", id="id", order="commutative")
def average(state: Mean | None, change: Change) -> Mean:
    # A running mean of the last two weighs the newest most.
    if state is None:
        return Mean(change.amount)
    return Mean((state.mean + change.amount) / 2)


@inorder.fold(key="account", version="version", id="id", order="commutative")
def last_write(state: Last | None, change: Change) -> Last:
    # Whoever comes last wins: that is order="latest".
    return Last(change.amount, "" if state is None else "changed")


@inorder.fold(key="account", version="version", id="id", order="commutative")
def refused(state: Floored | None, change: Change) -> Floored:
    # Whether a debit is refused depends on what came before it.
    cents = state.cents if state else 0
    if cents + change.amount < 0:
        raise ValueError("not enough money")
    return Floored(cents + change.amount)
