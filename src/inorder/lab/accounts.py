"""The workload: credits, debits and refunds of accounts, in the order in which they happened.

A debit that the balance does not cover is declined, so the order of an account's entries matters, not their sum
alone. Never looks at how the entries travel.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import msgspec

import inorder
from inorder.core.retry import Retry

STREAM = "balance"

DEPLOYED = {"credit": 1, "debit": -1}
"""What the consumer knows at first. It has a bug: nobody told it of refunds."""
FIXED = {**DEPLOYED, "refund": 1}

DEBITS = 0.5
"""How likely an entry is a debit, where there is something to take."""

LIMITS = inorder.Limits(poll_events=200, in_flight_events=1_000)
"""Small batches, so that a run of a few seconds has many of them."""


class Entry(msgspec.Struct, frozen=True):
    """One thing that happened to an account. `version` counts the account's entries from 1."""

    id: str
    account: str
    version: int
    kind: str
    amount: int

    def __str__(self) -> str:
        return f"v{self.version} {self.kind} {self.amount}"


class Account(msgspec.Struct, frozen=True):
    """What an account's entries come to."""

    balance: int = 0
    declined: int = 0


def post(account: Account | None, entry: Entry, signs: Mapping[str, int] = FIXED) -> Account:
    """The rule. Raises KeyError for a kind of entry that `signs` does not know."""
    before = account or Account()
    balance = before.balance + signs[entry.kind] * entry.amount
    if balance < 0:
        return Account(before.balance, before.declined + 1)
    return Account(balance, before.declined)


def consumer(signs: Mapping[str, int], order: str = "strict") -> Callable[[Account | None, Entry], Account]:
    """The rule as a consumer of inorder. An entry that fails is given up on at once: a run has no time to wait."""

    @inorder.fold(
        key="account", version="version", id="id", order=order, name=STREAM, retry=Retry(attempts=1), limits=LIMITS
    )
    def balance(account: Account | None, entry: Entry) -> Account:
        return post(account, entry, signs)

    return balance


def entries(seed: int, events: int, entities: int) -> list[Entry]:
    """`events` entries of up to `entities` accounts. Some are refunds, which the deployed consumer fails on."""
    chance = random.Random(f"{seed}:accounts")
    names = [f"acct-{number:0{len(str(entities))}d}" for number in range(1, entities + 1)]
    owners = names[:events] + chance.choices(names, k=max(0, events - entities))
    chance.shuffle(owners)
    refunds = set(chance.sample(range(events), min(events, max(1, events // 1_000))))
    accounts: dict[str, Account] = {}
    versions: dict[str, int] = {}
    found: list[Entry] = []
    for number, name in enumerate(owners):
        balance = accounts.get(name, Account()).balance
        kind, amount = "credit", chance.randint(10, 100)
        if number in refunds:
            kind = "refund"
        elif balance and chance.random() < DEBITS:
            # About what is there: before its credits, or twice, such a debit is not covered.
            kind, amount = "debit", max(1, balance * chance.randint(40, 105) // 100)
        versions[name] = versions.get(name, 0) + 1
        entry = Entry(f"e{number + 1}", name, versions[name], kind, amount)
        accounts[name] = post(accounts.get(name), entry)
        found.append(entry)
    return found
