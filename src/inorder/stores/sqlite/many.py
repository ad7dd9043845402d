"""Many rows with few statements: Python gives up its lock at each. Never begins or ends a transaction."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any

from inorder.stores.rows import Row
from inorder.stores.sqlite.opening import SQL

MOST_ROWS = 128
"""Rows in one statement, a power of two. The more there are, the longer SQLite takes to prepare it and to read each."""

_ROW = re.compile(r"\(\?1,[^()]*\)")
"""One row as it stands in a statement: the stream, and what is bound in the order it comes."""
_BOUND = re.compile(r"\?(?!1)")
_NONE: Mapping[int, str] = {}


class Rows:
    """A statement that is written down for one row, run for many.

    `blobs` and `booleans` are the columns of that type, counted from 0, the stream left out. sqlite3 looks for an
    adapter for each value that is `bytes` or a `bool`, which takes longer than to write the row. `same` are columns
    that all of the rows have in common, with their value in SQL: they are not bound, which would take as long.
    """

    def __init__(
        self,
        statement: str,
        blobs: Collection[int] = (),
        booleans: Collection[int] = (),
        same: Mapping[int, str] = _NONE,
    ) -> None:
        self.statement = statement
        self._same = same
        self._bound_as = dict.fromkeys(blobs, _blobs) | dict.fromkeys(booleans, _integers)
        self._for_many = cache(self._written_for)

    def run(self, connection: sqlite3.Connection, stream: int, rows: Sequence[Row]) -> int:
        """Run the statement for all of the rows, in their order. Returns how many it wrote."""
        if not rows:
            return 0
        columns = [
            self._bound_as.get(place, list)(column)
            for place, column in enumerate(zip(*rows, strict=True))
            if place not in self._same
        ]
        values = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        most = min(MOST_ROWS, floor_of_two((values - 1) // len(columns)))
        return sum(
            self._once(connection, stream, [column[some] for column in columns]) for some in portions(len(rows), most)
        )

    def _once(self, connection: sqlite3.Connection, stream: int, columns: Sequence[list[Any]]) -> int:
        rows, width = len(columns[0]), len(columns)
        values: list[Any] = [stream] * (1 + rows * width)
        for place, column in enumerate(columns, 1):
            values[place::width] = column
        return connection.execute(self._for_many(rows), values).rowcount

    def _written_for(self, rows: int) -> str:
        def many(one: re.Match[str]) -> str:
            places = count()
            row = _BOUND.sub(lambda bound: self._same.get(next(places), bound.group()), one.group())
            return ", ".join([row] * rows)

        return _ROW.sub(many, SQL[self.statement])


def portions(rows: int, most: int) -> Iterator[slice]:
    """So many rows, in their order, in parts of powers of two: so there are few statements, which SQLite keeps."""
    start = 0
    while start < rows:
        end = start + min(most, floor_of_two(rows - start))
        yield slice(start, end)
        start = end


def floor_of_two(number: int) -> int:
    """The largest power of two that is not larger. `number` is at least 1."""
    return 1 << number.bit_length() - 1


def _blobs(column: Sequence[bytes | None]) -> list[bytearray | None]:
    if None in column:
        return [None if value is None else bytearray(value) for value in column]
    return list(map(bytearray, column))  # type: ignore[arg-type]


def _integers(column: Sequence[bool]) -> list[int]:
    return list(map(int, column))
