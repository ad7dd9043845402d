"""Accounts and their entries, consumers of them of every kind, and the stream that tests make of them.

An account's balance can be right by accident, so what is compared is its history: the versions, as they took effect.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

import inorder

PAUSE_S = 0.002
"""What a handler takes for one entry: long enough to be caught in the middle of it."""
LIMITS = inorder.Limits(poll_events=50, gap_s=120)

TABLES = """
CREATE TABLE history (n INTEGER PRIMARY KEY, account TEXT, version INTEGER);
CREATE TABLE account (id TEXT PRIMARY KEY, balance INTEGER NOT NULL);
"""
POST = "INSERT INTO account VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET balance = balance + ?2"
NOTE = "INSERT INTO history (account, version) VALUES (?, ?)"


class Entry(msgspec.Struct):
    account: str
    version: int
    id: str
    amount: int


class Account(msgspec.Struct):
    balance: int
    versions: list[int]


def consumer(kind: str, effects: str) -> Callable[..., Any]:
    """A consumer of this kind. Handlers without `tx` append to the file `effects`."""
    options: dict[str, Any] = {"key": "account", "version": "version", "id": "id", "name": "accounts", "limits": LIMITS}
    if kind == "fold":

        @inorder.fold(**options)
        def account(state: Account | None, entry: Entry) -> Account:
            time.sleep(PAUSE_S)
            freeze_if_asked(effects)
            state = state or Account(0, [])
            return Account(state.balance + entry.amount, [*state.versions, entry.version])

        return account
    if kind == "tx":

        @inorder.handler(**options)
        def post(entry: Entry, tx: inorder.Transaction) -> None:
            time.sleep(PAUSE_S)
            tx.execute(POST, (entry.account, entry.amount))
            tx.execute(NOTE, (entry.account, entry.version))

        return post
    assert kind == "call", kind

    @inorder.handler(**options)
    def call(entry: Entry) -> None:
        time.sleep(PAUSE_S)
        with open(effects, "ab", buffering=0) as file:
            file.write(b"%s %d\n" % (entry.account.encode(), entry.version))

    return call


def freeze_if_asked(effects: str) -> None:
    """Stop this process here, where it has nothing locked, if its number is in a file."""
    asked = Path(f"{effects}.freeze")
    if asked.exists() and asked.read_text() == str(os.getpid()):
        asked.unlink()
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


class Bank:
    """The tables that handlers with `tx`, and the naive consumer, write."""

    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(path, timeout=30)

    def create(self) -> None:
        self.connection.executescript(TABLES)

    def post(self, entry: Entry) -> None:
        """Add an entry to the balance, in a transaction of its own."""
        with self.connection:
            self.connection.execute(POST, (entry.account, entry.amount))
            self.connection.execute(NOTE, (entry.account, entry.version))

    def balances(self) -> dict[str, int]:
        return dict(self.connection.execute("SELECT id, balance FROM account").fetchall())

    def histories(self) -> dict[str, list[int]]:
        found: defaultdict[str, list[int]] = defaultdict(list)
        for account, version in self.connection.execute("SELECT account, version FROM history ORDER BY n"):
            found[account].append(version)
        return dict(found)


class Disorder:
    """Every account's entries, and the order they arrive in: shuffled within a window, some twice, some gone astray."""

    def __init__(self, accounts: int, each: int, seed: int) -> None:
        rng = random.Random(seed)
        self.names = [f"account-{number}" for number in range(accounts)]
        self.each = each
        entries = [
            Entry(name, version, f"{name}-{version}", rng.randint(-50, 100))
            for version in range(1, each + 1)
            for name in self.names
        ]
        self.balances = {name: sum(e.amount for e in entries if e.account == name) for name in self.names}
        self.histories = {name: list(range(1, each + 1)) for name in self.names}
        again = rng.sample(range(len(entries)), len(entries) // 5)
        places = [(at + rng.uniform(0, 3 * accounts), at) for at in range(len(entries))]
        places += [(at + rng.uniform(0, 10 * accounts), at) for at in again]
        self._arrivals = [(entries[at], rng.random() < 0.1, rng.random()) for _, at in sorted(places)]
        self.count = len(self._arrivals)

    def part(self, number: int, of: int, partitions: int) -> Iterable[tuple[int, Entry]]:
        """A part of the stream: the partition of each entry, and the entry."""
        start, end = (self.count * at // of for at in (number, number + 1))
        for entry, astray, place in self._arrivals[start:end]:
            home = self.names.index(entry.account) % partitions
            yield (int(place * partitions) if astray else home), entry
