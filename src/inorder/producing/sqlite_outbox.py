"""An outbox in SQLite: tables whose names begin with inorder_outbox, in the user's file."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from inorder.errors import UsageError
from inorder.producing.outbox_tables import OutboxTables
from inorder.stores.sqlite.weather import BUSY_S, ours
from inorder.stores.statements import statements

SQL = statements("inorder.producing", "sqlite_outbox.sql")


class SqliteOutbox(OutboxTables):
    """See `inorder.producing.outbox_tables.OutboxTables`."""

    sql = SQL

    def __init__(self, path: str, outbox: str) -> None:
        super().__init__(outbox)
        self.name = path
        self._connection: sqlite3.Connection | None = None

    @classmethod
    def from_url(cls, url: str, outbox: str) -> SqliteOutbox:
        """`sqlite:///relative.db` or `sqlite:////absolute.db`, as for a store."""
        parts = urlsplit(url)
        path = unquote(parts.path[1:])
        if parts.netloc or not path or parts.query:
            raise UsageError(f"{url!r} names no file: write sqlite:///relative.db or sqlite:////absolute.db")
        return cls(path, outbox)

    def check(self, connection: Any) -> None:
        """Raises `UsageError` unless the caller's connection is, or will be, in a transaction."""
        real = getattr(connection, "connection", connection)
        if isinstance(real, sqlite3.Connection) and not real.in_transaction:
            # From Python 3.12 on, `autocommit` decides if it is not the legacy value.
            mode = getattr(real, "autocommit", -1)
            if mode is True or (mode == -1 and real.isolation_level is None):
                raise UsageError(
                    "the connection is in autocommit mode and no transaction is open: "
                    "an event is added in the transaction that changes the entity"
                )

    def explain(self, error: Exception) -> Exception:
        """What to raise instead of an error of the caller's connection."""
        if isinstance(error, sqlite3.OperationalError) and "no such table: inorder_outbox" in str(error):
            return UsageError(f"{self.name} has no outbox yet: call prepare() once, or start `inorder relay`")
        return error

    def is_there(self) -> bool:
        """Whether there is such a file. SQLite would make one."""
        return Path(self.name).exists()

    def make(self) -> None:
        """Make the tables that are not there."""
        if not self.is_made():
            with self.transaction():
                for name in SQL:
                    if name.startswith("make_"):
                        self.run(name)

    def is_made(self) -> bool:
        """Whether the tables are there."""
        return bool(self.run("made")[0][0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction that sees and changes the leases alone."""
        connection = self._open()
        with ours(self.name):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def run(self, statement: str, *parameters: Any) -> list[Any]:
        """The rows of one named statement."""
        with ours(self.name):
            return self._open().execute(SQL[statement], parameters).fetchall()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            if not Path(self.name).parent.is_dir():
                raise UsageError(f"{self.name} cannot be there: {Path(self.name).parent} is no directory")
            with ours(self.name):
                connection = sqlite3.connect(self.name, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
                connection.execute("PRAGMA synchronous = FULL")
            self._connection = connection
        return self._connection

    def array(self, values: Collection[Any]) -> Any:
        """Several values as one parameter."""
        return msgspec.json.encode(list(values)).decode()

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
