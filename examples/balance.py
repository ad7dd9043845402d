"""Account balances from debits and credits: order matters, and nothing may count twice.

inorder run examples/balance.py:balance --from examples/balance.jsonl --until-idle 1
inorder state --store sqlite:///inorder.db
"""

from typing import Literal

import msgspec

import inorder


class Entry(msgspec.Struct):
    """One line of an account's ledger. Amounts are in cents."""

    id: str
    account: str
    version: int
    kind: Literal["credit", "debit"]
    amount: int


class Balance(msgspec.Struct):
    """What is in the account, and how often a debit was refused for want of money."""

    cents: int = 0
    refused: int = 0


@inorder.fold(key="account", version="version", id="id")
def balance(state: Balance | None, entry: Entry) -> Balance:
    state = state or Balance()
    if entry.kind == "credit":
        return Balance(state.cents + entry.amount, state.refused)
    if entry.amount > state.cents:
        return Balance(state.cents, state.refused + 1)
    return Balance(state.cents - entry.amount, state.refused)
