"""An outbox in PostgreSQL: three tables in inorder's schema of the user's database."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from inorder.errors import Unreachable, UsageError
from inorder.producing.outbox_tables import OutboxTables
from inorder.stores.postgres.connections import address
from inorder.stores.postgres.weather import LOCK_S, first_line, ours
from inorder.stores.statements import statements

MAKE_LOCK = 7_305_421_086_101
"""Programs that start at the same time make the tables one after another."""


@cache
def statements_for(schema: str) -> dict[str, str]:
    """Every statement, with the schema's name in it."""
    found = statements("inorder.producing", "postgres_outbox.sql")
    return {name: text.replace("{schema}", f'"{schema}"') for name, text in found.items()}


class PostgresOutbox(OutboxTables):
    """See `inorder.producing.outbox_tables.OutboxTables`."""

    def __init__(self, url: str, outbox: str) -> None:
        super().__init__(outbox)
        at = address(url)
        self.name = at.name
        self.sql = statements_for(at.schema)
        self._conninfo = at.conninfo
        self._schema = at.schema
        self._link: psycopg.Connection[Any] | None = None

    @classmethod
    def from_url(cls, url: str, outbox: str) -> PostgresOutbox:
        """`postgresql://user@host:port/database?schema=inorder`, as for a store."""
        return cls(url, outbox)

    def check(self, connection: Any) -> None:
        """Raises `UsageError` unless the caller's connection is, or will be, in a transaction."""
        real = getattr(connection, "connection", connection)
        if isinstance(real, psycopg.Connection | psycopg.AsyncConnection):
            idle = real.info.transaction_status is TransactionStatus.IDLE
            if idle and real.autocommit:
                raise UsageError(
                    "the connection is in autocommit mode and no transaction is open: "
                    "an event is added in the transaction that changes the entity"
                )

    def explain(self, error: Exception) -> Exception:
        """What to raise instead of an error of the caller's connection."""
        if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
            return UsageError(f"{self.name} has no outbox yet: call prepare() once, or start `inorder relay`")
        return error

    def make(self) -> None:
        """Make the tables that are not there."""
        if self.is_made():
            return
        with self._begin() as link:
            link.execute("SELECT pg_advisory_xact_lock(%s)", (MAKE_LOCK,))
            if not link.execute(self.sql["schema_exists"], (self._schema,)).fetchall():
                link.execute(self.sql["schema_make"])
            for name in self.sql:
                if name.startswith("make_"):
                    link.execute(self.sql[name])

    def is_made(self) -> bool:
        """Whether the tables are there."""
        return bool(self.run("made")[0][0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction that sees and changes the leases alone."""
        with self._begin() as link:
            link.execute(self.sql["relays_lock"])
            yield

    @contextmanager
    def _begin(self) -> Iterator[psycopg.Connection[Any]]:
        link = self._open()
        with ours(self.name), link.transaction():
            yield link

    def run(self, statement: str, *parameters: Any) -> list[Any]:
        """The rows of one named statement."""
        with ours(self.name):
            cursor = self._open().execute(self.sql[statement], parameters)
            return cursor.fetchall() if cursor.description else []

    def _open(self) -> psycopg.Connection[Any]:
        if self._link is None or self._link.closed:
            try:
                self._link = psycopg.connect(self._conninfo, autocommit=True)
                self._link.execute(f"SET lock_timeout = '{LOCK_S}s'")
            except psycopg.OperationalError as error:
                raise Unreachable(f"outbox {self.name}: no connection ({first_line(error)})") from error
        return self._link

    def array(self, values: Collection[Any]) -> Any:
        """Several values as one parameter."""
        return list(values)

    def close(self) -> None:
        """Release the connection."""
        if self._link is not None:
            self._link.close()
