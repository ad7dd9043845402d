"""Opens the file and brings its tables up to date. Never touches a table that is not inorder's."""

from __future__ import annotations

import os
import sqlite3
import time
from typing import Any

from inorder.errors import NotFound, UsageError
from inorder.stores.sqlite.connection import Connection
from inorder.stores.sqlite.weather import BUSY_S, ours
from inorder.stores.statements import migrations, statements

PACKAGE = "inorder.stores.sqlite"
SQL = statements(PACKAGE, "statements.sql") | statements(PACKAGE, "letters.sql")

OLDEST = (3, 38, 0)
"""The first SQLite with all that the statements use."""

CHECKPOINT_PAGES = 8_192
"""Pages (of 4 KiB) in the write-ahead log before they are moved into the file: more than a large batch."""

CACHE_KIB = 32 * 1_024
"""Room for pages in memory. With SQLite's own 2 MiB, a large batch is written to the log twice."""


def open_file(path: str, create: bool = True) -> Connection:
    """A connection that any thread may use, one at a time, to a file of the current schema."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise UsageError(f"inorder needs SQLite {'.'.join(map(str, OLDEST))}, this is {sqlite3.sqlite_version}")
    if not create and not os.path.exists(path):
        raise NotFound(f"store {path}: there is no such file")
    with ours(path):
        connection: Connection = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, factory=Connection
        )
        try:
            if not create and not _version(connection):
                raise NotFound(f"store {path}: the file has nothing of inorder's")
            _use_log(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def begin(connection: sqlite3.Connection) -> None:
    """Begin a transaction that writes. SQLite's own waiting grows to steps of 100 ms, which lets others in first."""
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        _patiently(connection, "BEGIN IMMEDIATE", 0.001)
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")


def at_once(connection: sqlite3.Connection, statement: str, values: dict[str, Any]) -> bool:
    """Run a statement that writes. False: another process keeps the file locked, and nothing was done."""
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute(statement, values)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")
    return True


def _use_log(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log. SQLite does not wait for its lock here, so it is done by hand."""
    _patiently(connection, "PRAGMA journal_mode = WAL", 0.02)


def _patiently(connection: sqlite3.Connection, statement: str, pause_s: float) -> None:
    until = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(pause_s)


def _version(connection: sqlite3.Connection) -> int:
    if connection.execute(SQL["schema_exists"]).fetchone() is None:
        return 0
    return connection.execute(SQL["schema_version"]).fetchone()[0] or 0


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    scripts = migrations(PACKAGE)
    if _version(connection) == len(scripts):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked again under the lock: another process may have been first.
        found = _version(connection)
        if found > len(scripts):
            raise UsageError(
                f"store {path}: its schema is version {found}, this inorder knows up to {len(scripts)}: "
                f"use the newer inorder that wrote it"
            )
        connection.execute(SQL["schema_create"])
        for version, script in enumerate(scripts[found:], found + 1):
            for statement in script.split(";\n"):
                connection.execute(statement)
            connection.execute(SQL["schema_insert"], (version,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
