"""A user's own tables: the balance of each account, and a line for each effect, written with it.

A balance can be right by accident, when two mistakes cancel out; the lines cannot.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

SCHEMA = """
CREATE TABLE account (key TEXT PRIMARY KEY, balance INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE effect (n INTEGER PRIMARY KEY, key TEXT NOT NULL, version INTEGER NOT NULL, balance INTEGER NOT NULL);
"""
ADD = "UPDATE account SET balance = balance + ? WHERE key = ?"
SET = "UPDATE account SET balance = ? WHERE key = ?"
_NOTE = "INSERT INTO effect (key, version, balance) SELECT key, ?, balance FROM account WHERE key = ?"

Execute = Callable[[str, tuple[Any, ...]], Any]


class Entry(msgspec.Struct, frozen=True):
    """Something that happened to an account: by how much the balance changed, and what it was then."""

    account: str
    version: int
    id: str
    amount: int
    balance: int


class Effect(msgspec.Struct, frozen=True):
    """An event took effect."""

    key: str
    version: int
    balance: int
    """What the account came to."""


def create(path: Path, keys: Iterable[str]) -> None:
    """Put the tables into a file, with an empty account for each key."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO account VALUES (?, 0)", [(key,) for key in keys])
    connection.close()


def post(execute: Execute, entry: Entry, statement: str) -> None:
    """Let an entry take effect: `ADD` its amount or `SET` its balance."""
    execute(statement, (entry.amount if statement == ADD else entry.balance, entry.account))
    execute(_NOTE, (entry.version, entry.account))


def balances(path: Path) -> dict[str, int]:
    """What each account came to."""
    return dict(_rows(path, "SELECT key, balance FROM account"))


def effects(path: Path) -> list[Effect]:
    """Every effect, in order."""
    return [Effect(*row) for row in _rows(path, "SELECT key, version, balance FROM effect ORDER BY n")]


def wrong(path: Path, truth: Mapping[str, int]) -> list[str]:
    """The accounts whose balance is not the true one."""
    found = balances(path)
    return sorted(key for key in truth if found.get(key) != truth[key])


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
