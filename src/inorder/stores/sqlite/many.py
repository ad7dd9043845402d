"""Many rows with few statements: Python gives up its lock at each. Never begins or ends a transaction."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

from inorder.stores.rows import Row
from inorder.stores.sqlite.opening import SQL

MOST_ROWS = 512
"""Rows in one statement, a power of two. The more there are, the longer SQLite takes to read each."""

_ROW = re.compile(r"\(\?1,[^()]*\)")
"""One row as it stands in a statement: the stream, and what is bound in the order it comes."""


class Rows:
    """A statement that is written down for one row, run for many.

    `blobs` and `booleans` are the columns of that type, counted from 0, the stream left out. sqlite3 looks for an
    adapter for each value that is `bytes` or a `bool`, which takes longer than to write the row.
    """

    def __init__(self, statement: str, blobs: Collection[int] = (), booleans: Collection[int] = ()) -> None:
        self.statement = statement
        self._bound_as: dict[int, Callable[[Any], Any]] = dict.fromkeys(blobs, _blob) | dict.fromkeys(booleans, int)

    def run(self, connection: sqlite3.Connection, stream: int, rows: Sequence[Row]) -> int:
        """Run the statement for all of the rows, in their order. Returns how many it wrote."""
        if not rows:
            return 0
        values = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        most = min(MOST_ROWS, floor_of_two((values - 1) // len(rows[0])))
        return sum(self._once(connection, stream, some) for some in portions(rows, most))

    def _once(self, connection: sqlite3.Connection, stream: int, rows: Sequence[Row]) -> int:
        values = [stream, *chain.from_iterable(rows)]
        width = len(rows[0])
        for column, bound_as in self._bound_as.items():
            values[1 + column :: width] = map(bound_as, values[1 + column :: width])
        return connection.execute(_for_many(self.statement, len(rows)), values).rowcount


def portions(rows: Sequence[Row], most: int) -> Iterator[Sequence[Row]]:
    """All of the rows, in their order, in parts of powers of two: so there are few statements, which SQLite keeps."""
    start = 0
    while start < len(rows):
        end = start + min(most, floor_of_two(len(rows) - start))
        yield rows[start:end]
        start = end


def floor_of_two(number: int) -> int:
    """The largest power of two that is not larger. `number` is at least 1."""
    return 1 << number.bit_length() - 1


def _blob(value: bytes | None) -> bytearray | None:
    return None if value is None else bytearray(value)


@cache
def _for_many(statement: str, rows: int) -> str:
    return _ROW.sub(lambda one: ", ".join([one.group()] * rows), SQL[statement])
