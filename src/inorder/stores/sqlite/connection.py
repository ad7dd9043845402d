"""A connection that one thread can take away from another: between two calls of SQLite, never within one.

Within one, both could stand still for ever: SQLite calls the authorizer, which is Python code, with its own lock in
hand, while the other thread has Python's and waits for SQLite's. And to close it under a call can end the process.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Any, Literal

from inorder.errors import UsageError


def _alone(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def called(cursor: Any, *args: Any, **options: Any) -> Any:
        with cursor.connection.using:
            return method(cursor, *args, **options)

    return called


class Cursor(sqlite3.Cursor):
    """One that is used by one thread at a time."""

    execute = _alone(sqlite3.Cursor.execute)
    executemany = _alone(sqlite3.Cursor.executemany)
    executescript = _alone(sqlite3.Cursor.executescript)
    fetchone = _alone(sqlite3.Cursor.fetchone)
    fetchmany = _alone(sqlite3.Cursor.fetchmany)
    fetchall = _alone(sqlite3.Cursor.fetchall)
    __next__ = _alone(sqlite3.Cursor.__next__)


class Connection(sqlite3.Connection):
    """See above. `using` is held within each call of a cursor."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # Of one thread again and again: a function that a statement calls may use the connection.
        self.using = threading.RLock()
        self.lent = False
        """Whether it is in the hands of a handler, which does not close it."""
        super().__init__(*args, **options)

    def close(self) -> None:
        """See `sqlite3.Connection`."""
        if self.lent:
            raise UsageError("a handler's transaction is ended by inorder, not from within: leave its connection open")
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """What was raised in a handler's `with` says more than that it cannot roll back."""
        return False if self.lent and error is not None else super().__exit__(kind, error, trace)

    def cursor(self, factory: Any = Cursor) -> Any:
        """A cursor of the kind above. sqlite3's own methods below would make one of its own kind."""
        return super().cursor(factory)

    def run(self, *args: Any) -> Any:
        """A statement of inorder's. Its rows are tuples, and texts are texts, whatever a handler makes of them here."""
        self.text_factory = str  # there is none of a cursor's own
        cursor = self.cursor()
        cursor.row_factory = None
        return cursor.execute(*args)

    def execute(self, *args: Any) -> Any:
        """See `sqlite3.Connection`."""
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> Any:
        """See `sqlite3.Connection`."""
        return self.cursor().executemany(*args)

    def executescript(self, *args: Any) -> Any:
        """See `sqlite3.Connection`."""
        return self.cursor().executescript(*args)
