"""Handlers with tx that write what is not theirs to write.

inorder prove examples/broken/tables.py:leak
"""

import sqlite3
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


BALANCES = "CREATE TABLE IF NOT EXISTS balances (account TEXT PRIMARY KEY, cents INTEGER NOT NULL)"
ADD = "INSERT INTO balances VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET cents = cents + excluded.cents"


@inorder.handler(key="account", version="version", id="id")
def outside(change: Change, tx: inorder.Transaction) -> None:
    # A connection of its own commits by itself, whatever becomes of the transaction.
    with sqlite3.connect(Path(gettempdir()) / "inorder-broken-example.db") as connection:
        connection.execute(BALANCES)
        connection.execute(ADD, (change.account, change.amount))
    connection.close()


@inorder.handler(key="account", version="version", id="id")
def leak(change: Change, tx: inorder.Transaction) -> None:
    tx.execute(BALANCES)
    tx.execute(ADD, (change.account, change.amount))
    # Order is kept within an account: which account's event is the last one, nobody has promised.
    tx.execute("CREATE TABLE IF NOT EXISTS last (only_row INTEGER PRIMARY KEY, account TEXT, cents INTEGER)")
    tx.execute("INSERT OR REPLACE INTO last VALUES (1, ?, ?)", (change.account, change.amount))


@inorder.handler(key="account", version="version", id="id", order="latest")
def summed(change: Change, tx: inorder.Transaction) -> None:
    tx.execute(BALANCES)
    tx.execute(ADD, (change.account, change.amount))
