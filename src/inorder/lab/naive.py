"""The consumer that most people write: each event added to the balance as it comes, and the offset committed after.

It is a fair one: its updates are atomic, it commits only what it has done, it goes on after an event that fails and
keeps it for later. Nothing of inorder decides anything here; only the source is the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from inorder.core.event import Slice
from inorder.lab.accounts import Account, Entry
from inorder.lab.disorder import Class
from inorder.lab.fates import Fates
from inorder.lab.runlog import Decided, Decision, RunLog, now
from inorder.lab.watching import WatchedSource

_POLL_EVENTS = 100

_SCHEMA = """
CREATE TABLE account (key TEXT PRIMARY KEY, balance INTEGER NOT NULL, declined INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE dead (number INTEGER PRIMARY KEY, entry BLOB NOT NULL);
"""
_POST = """
UPDATE account SET balance = iif(balance + ?1 < 0, balance, balance + ?1), declined = declined + (balance + ?1 < 0)
WHERE key = ?2 RETURNING balance
"""
_decode = msgspec.json.Decoder(Entry).decode


class Bank:
    """The naive consumer's database."""

    def __init__(self, path: Path) -> None:
        # No transaction is begun by hand: each statement is its own.
        self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = NORMAL")

    @classmethod
    def create(cls, path: Path, keys: Iterable[str]) -> None:
        """A new database with these accounts, all of them empty."""
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO account VALUES (?, 0, 0)", [(key,) for key in keys])
        connection.execute("COMMIT")
        connection.close()

    def post(self, entry: Entry, signs: Mapping[str, int]) -> int:
        """Let the entry take effect, now. Returns the balance."""
        posted = self._connection.execute(_POST, (signs[entry.kind] * entry.amount, entry.account))
        balance: int = posted.fetchall()[0][0]
        return balance

    def bury(self, raw: bytes) -> None:
        """Keep an entry that failed."""
        self._connection.execute("INSERT INTO dead (entry) VALUES (?)", (raw,))

    def replay(self, signs: Mapping[str, int]) -> int:
        """Post what failed, once the bug is fixed. Returns how many there were."""
        dead = self._connection.execute("SELECT entry FROM dead ORDER BY number").fetchall()
        for (raw,) in dead:
            self.post(_decode(raw), signs)
        return len(dead)

    def states(self) -> dict[str, Account]:
        """The accounts as they are."""
        rows = self._connection.execute("SELECT key, balance, declined FROM account")
        return {key: Account(balance, declined) for key, balance, declined in rows}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class NaiveConsumer:
    """One process of it."""

    def __init__(self, source: WatchedSource, bank: Bank, signs: Mapping[str, int], log: RunLog, fates: Fates) -> None:
        self._source = source
        self._bank = bank
        self._signs = signs
        self._log = log
        self._fates = fates

    def run(self) -> None:
        """Until the stream is at its end."""
        self._source.subscribe(_Indifferent())
        while True:
            pieces = self._source.poll(_POLL_EVENTS, 0.1)
            if not pieces and self._source.at_end():
                break
            for piece in pieces:
                self._work(piece)
        self._source.close()

    def _work(self, piece: Slice) -> None:
        if self._fates.due(Class.FREEZE):
            self._fates.meet(Class.FREEZE)
        decisions: list[Decision] = []
        for index, raw in enumerate(piece.values):
            assert raw is not None
            place = piece.partition.number, piece.offset(index)
            try:
                balance = self._bank.post(_decode(raw), self._signs)
                decisions.append(Decision(*place, "applied", now(), balance=balance))
            except KeyError:
                self._bank.bury(raw)
                decisions.append(Decision(*place, "dead_lettered", now()))
        self._log.write([Decided(now(), decisions)])
        if self._fates.due(Class.KILL):
            self._fates.meet(Class.KILL)
        self._source.commit({piece.partition: piece.next_offset})


class _Indifferent:
    """Does not care which partitions it has: there is nothing that it would do about it."""

    def assigned(self, partitions: object) -> None: ...
    def revoked(self, partitions: object) -> None: ...
    def lost(self, partitions: object) -> None: ...
