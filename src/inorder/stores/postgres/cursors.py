"""The cursors that a handler's statements run on. Never shows a statement the answer to another one."""

from __future__ import annotations

import re
import sys
from collections import deque
from functools import lru_cache
from typing import Any, Self

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.pq import Format

from inorder.errors import UsageError

FROM_WITHIN = "a handler's transaction is ended by inorder, not from within"
_ENDS = re.compile(
    r"(?>\s+|;|--[^\n]*\n|/\*.*?\*/)*+"
    r"(?:commit|end|abort|begin|start\s|prepare\s+tr|rollback(?!\s+(?:work\s+|transaction\s+)?to\b))",
    re.I | re.S,
)
MOST = 1000
"""Cursors kept to be used again. In a pipeline, as many as that may wait for their answers."""


def _references(queue: deque[Any]) -> int:
    return sys.getrefcount(queue[0])


OURS_ALONE = _references(deque([object()]))
"""References to what nobody holds but the queue that it is in."""


class Answer(psycopg.Cursor[Any]):
    """A cursor that waits for its statement's answer when somebody looks at it.

    psycopg's own does so for rows alone; in a pipeline its `rowcount` says -1 for whatever has not been answered yet,
    and a handler that asks whether its UPDATE found a row would be told the wrong thing.
    """

    cursors: Cursors | None = None
    """Where it comes from, while a handler may hold it."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        """Run a statement, whoever it is from, but none that ends a transaction that is lent to a handler."""
        if type(query) is str and _ends(query) and getattr(self._conn, "lent", False):
            raise UsageError(FROM_WITHIN)
        return super().execute(query, params, **options)

    @property
    def rowcount(self) -> int:
        """Rows affected by the statement."""
        self._count_all()
        return super().rowcount

    @property
    def description(self) -> list[psycopg.Column] | None:
        """The columns of the answer, if it has rows."""
        self._fetch_pipeline()
        return super().description

    @property
    def statusmessage(self) -> str | None:
        """The server's own word for what it did."""
        self._count_all()
        return super().statusmessage

    def _count_all(self) -> None:
        # psycopg's own never waits for what `executemany` counts.
        if self._execmany_returning is False and self._conn._pipeline:
            with self._conn.lock:
                self._conn.wait(self._conn._pipeline._fetch_gen(flush=True))
        else:
            self._fetch_pipeline()

    @property
    def adapters(self) -> AdaptersMap:
        """How values are read and written."""
        if self.cursors is not None:
            self.cursors.may_have_changed()
        return super().adapters

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The connection that it belongs to."""
        if self.cursors is not None:
            self.cursors.may_have_changed()
        return super().connection


_execute = psycopg.Cursor.execute


class Cursors:
    """Cursors of one connection, used again: to make one takes psycopg longer than to use it.

    One is used again when nobody holds it any more: not the handler that was given it, and not psycopg, which holds it
    until its answer is in. Whoever takes hold of what decides how values are read has new ones from then on.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._used: deque[Answer] = deque()
        self._most = MOST

    def execute(self, statement: str, parameters: Any) -> Answer:
        """Run a statement of a handler's, and say where its answer will be."""
        if _ends(statement):
            raise UsageError(FROM_WITHIN)
        cursor = self._free() or Answer(self._connection)
        # Not by way of the method above, which would ask again for each event.
        _execute(cursor, statement, parameters)
        if len(self._used) < self._most:
            cursor.cursors = self
            self._used.append(cursor)
        return cursor

    def may_have_changed(self) -> None:
        """Somebody holds what a new cursor takes its ways from: none is used again."""
        self._most = 0
        self._used.clear()

    def _free(self) -> Answer | None:
        used = self._used
        if not used or _references(used) != OURS_ALONE:
            return None
        cursor = used.popleft()
        cursor.cursors = None
        changed = (
            cursor.closed
            or cursor.row_factory is not self._connection.row_factory
            or cursor.format is not Format.TEXT
            or cursor.arraysize != 1
        )
        return None if changed else cursor


@lru_cache(maxsize=1_000)
def _ends(statement: str) -> bool:
    """Whether it would end the transaction, or begin another one."""
    return _ENDS.match(statement) is not None
