"""Tells what SQLite's errors mean. Never hides one: what is not an outage stays the driver's own error."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from inorder.errors import Unreachable, UsageError

BUSY_S = 10.0
"""Longest wait for another process's transaction. Past it, the store counts as unreachable."""

# Not SQLITE_LOCKED: that is in the way of a statement which the same connection has not read to its end.
_OUTAGES = {
    sqlite3.SQLITE_BUSY: f"another process kept it locked for more than {BUSY_S:g} s",
    sqlite3.SQLITE_FULL: "the disk, or the room allowed for the file, is full",
    sqlite3.SQLITE_IOERR: "the disk failed",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened: does its folder exist, and may it be written?",
    sqlite3.SQLITE_READONLY: "the file may not be written",
    sqlite3.SQLITE_PERM: "the file may not be read",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
}


def outage(error: BaseException, path: str) -> Unreachable | None:
    """What to raise instead if the store itself is in trouble, whoever ran the statement."""
    if not isinstance(error, sqlite3.Error):
        return None
    meaning = _OUTAGES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    return None if meaning is None else Unreachable(f"store {path}: {meaning} ({error})")


@contextmanager
def ours(path: str) -> Iterator[None]:
    """Around inorder's own statements: those are known to be right, so any failure is the store's."""
    try:
        yield
    except sqlite3.Error as error:
        raise (
            outage(error, path) or Unreachable(f"store {path}: its tables are not as inorder made them ({error})")
        ) from error


@contextmanager
def theirs(path: str) -> Iterator[None]:
    """Around the user's statements: an outage is told apart, anything else passes through."""
    try:
        yield
    except sqlite3.Error as error:
        meaning = outage(error, path)
        if meaning is not None:
            raise meaning from error
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_AUTH:
            raise UsageError(
                "a handler's transaction is ended by inorder, not from within: no COMMIT, ROLLBACK or executescript"
            ) from error
        raise
