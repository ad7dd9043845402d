"""Columns of many rows as PostgreSQL arrays, in its binary format. Never looks at what is in them.

psycopg adapts a list element by element; at ten columns of ten thousand rows that takes longer than the statement.
Here each column is packed by one join.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Any

from psycopg import Connection
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

_HEADER = Struct(">iiIii").pack
_LENGTH = Struct(">i").pack
_NULL = _LENGTH(-1)
_USUAL = 2_048
_LENGTHS = [_LENGTH(length) for length in range(_USUAL)]
_INTEGER = Struct(">iq").pack
_FLOAT = Struct(">id").pack
_BOOLEANS = {True: _LENGTH(1) + b"\x01", False: _LENGTH(1) + b"\x00"}


class Array:
    """A finished array. One subclass for each type, because psycopg chooses the type by class."""

    __slots__ = ("packed",)
    element = 0
    array = 0

    def __init__(self, elements: Iterable[bytes], length: int) -> None:
        # A null flag of 1 promises nothing: there may be nulls.
        header = _HEADER(1, 1, self.element, length, 1) if length else _HEADER(0, 0, self.element, 0, 0)[:12]
        self.packed = header + b"".join(elements)


class Texts(Array):
    """text[]"""

    element, array = 25, 1009


class Blobs(Array):
    """bytea[]"""

    element, array = 17, 1001


class Integers(Array):
    """bigint[]"""

    element, array = 20, 1016


class Floats(Array):
    """double precision[]"""

    element, array = 701, 1022


class Booleans(Array):
    """boolean[]"""

    element, array = 16, 1000


def texts(values: Sequence[str | None]) -> Texts:
    """A text[]."""
    return Texts(_sized([value if value is None else value.encode() for value in values]), len(values))


def blobs(values: Sequence[bytes | None]) -> Blobs:
    """A bytea[]."""
    return Blobs(_sized(values), len(values))


def integers(values: Sequence[int | None]) -> Integers:
    """A bigint[]."""
    if None in values:
        return Integers([_NULL if value is None else _INTEGER(8, value) for value in values], len(values))
    return Integers([_eights(array("q", values))], len(values))  # type: ignore[arg-type]


def _eights(numbers: array[int]) -> bytes:
    """Each number behind its length: byte by byte over all of them, because a stride costs a tenth of a call each."""
    if sys.byteorder == "little":
        numbers.byteswap()
    packed = bytearray(12 * len(numbers))
    packed[3::12] = b"\x08" * len(numbers)
    found = numbers.tobytes()
    for byte in range(8):
        packed[4 + byte :: 12] = found[byte::8]
    return bytes(packed)


def floats(values: Sequence[float | None]) -> Floats:
    """A double precision[]."""
    return Floats([_NULL if value is None else _FLOAT(8, value) for value in values], len(values))


def booleans(values: Sequence[bool]) -> Booleans:
    """A boolean[]."""
    return Booleans([_BOOLEANS[value] for value in values], len(values))


def columns(kinds: Sequence[Callable[[Any], Array]], rows: Sequence[Sequence[Any]]) -> list[Array]:
    """Rows turned into columns, each packed by its kind."""
    turned = list(zip(*rows, strict=True)) if rows else [()] * len(kinds)
    return [kind(column) for kind, column in zip(kinds, turned, strict=True)]


def register(connection: Connection[Any]) -> None:
    """Let a connection take these arrays as parameters."""
    for kind in (Texts, Blobs, Integers, Floats, Booleans):
        connection.adapters.register_dumper(kind, _dumper(kind))


def _dumper(kind: type[Array]) -> type[Dumper]:
    class ArrayDumper(Dumper):
        format = Format.BINARY
        oid = kind.array

        def dump(self, obj: Array) -> Buffer:
            return obj.packed

    return ArrayDumper


def _sized(values: Iterable[bytes | None]) -> Iterable[bytes]:
    """Each value behind its length."""
    parts: list[bytes] = []
    add = parts.append
    for value in values:
        if value is None:
            add(_NULL)
        else:
            length = len(value)
            add(_LENGTHS[length] if length < _USUAL else _LENGTH(length))
            add(value)
    return parts
