"""JSON records to events. Whatever cannot be read becomes a `Malformed` that names the field; nothing raises."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from operator import attrgetter, itemgetter
from typing import Any
from zlib import crc32

import msgspec

from inorder.codecs.payload import decoder
from inorder.core.event import MAX_VERSION, Event, Malformed, Slice, fingerprint
from inorder.declaration import POSITION, Declaration

_SCALARS = (
    msgspec.inspect.IntType,
    msgspec.inspect.FloatType,
    msgspec.inspect.BoolType,
    msgspec.inspect.StrType,
)

SHOWN = 40
"""Most characters of a wrong value that a reason repeats."""


class JsonCodec:
    """Reads the events of one declared consumer out of slices of records."""

    def __init__(self, declaration: Declaration) -> None:
        self._decode = decoder(declaration.payload)
        self._limits = declaration.limits
        self._quotes = _quotes_without_duplicates(declaration.payload)
        self._declared = declaration
        self._has_id = declaration.id is not None
        self._fields = _fields_getter(declaration)

    def read(self, piece: Slice) -> tuple[list[Event], list[Malformed]]:
        """The events of a slice, in its order, and what could not be read."""
        events: list[Event] = []
        malformed: list[Malformed] = []
        decode, fields, quotes = self._decode, self._fields, self._quotes
        most, longest = self._limits.event_bytes, self._limits.key_bytes // 4
        for index, value in enumerate(piece.values):
            try:
                if value is None or len(value) > most:
                    raise _Unreadable(
                        "value: null" if value is None else f"value: {len(value)} bytes, of {most} allowed"
                    )
                payload = decode(value)
                # In JSON without a backslash, quotes come in pairs, two a string, and keys are strings. A flat payload
                # with a known number of fields, and of text fields, so has a known number of quotes, unless a key
                # comes twice.
                if value.count(b'"') != quotes or b"\\" in value:
                    _refuse_duplicate_keys(value)
                key, version, event_id = fields(payload, piece, index)
                if type(version) is not int or not 0 < version <= MAX_VERSION:
                    raise _Unreadable(f"{self._name('version')}: {_shown(version)} is no whole number from 1 to 2^63-1")
                if type(key) is not str or not key or len(key) > longest or "\0" in key:
                    key = self._checked("key", key)
                if type(event_id) is not str or not event_id or len(event_id) > longest or "\0" in event_id:
                    event_id = self._checked("id", event_id) if self._has_id else f"crc32:{crc32(value):08x}"
                events.append(Event(key, version, event_id, fingerprint(event_id), payload, piece, index))
            except _Unreadable as error:
                malformed.append(Malformed(str(error), piece, index))
            except Exception as error:
                malformed.append(Malformed(_explain(error, value or b""), piece, index))
        return events, malformed

    def _checked(self, role: str, found: Any) -> str:
        """A key or id that is not plainly right: whole numbers are taken as text, the rest is refused."""
        if type(found) is int:
            return str(found)
        name = self._name(role)
        if type(found) is not str or not found:
            raise _Unreadable(f"{name}: {_shown(found)} is not a text of one character or more")
        if "\0" in found:
            raise _Unreadable(f"{name}: contains the character NUL")
        try:
            size = len(found.encode())
        except UnicodeEncodeError:
            raise _Unreadable(f"{name}: contains half of a surrogate pair") from None
        if size > self._limits.key_bytes:
            raise _Unreadable(f"{name}: {size} bytes, the limit is {self._limits.key_bytes}")
        return found

    def _name(self, role: str) -> str:
        field = getattr(self._declared, role)
        return field if isinstance(field, str) else role


class _Unreadable(Exception):
    pass


def _fields_getter(declared: Declaration) -> Callable[[Any, Slice, int], tuple[Any, Any, Any]]:
    """A function to key, version and id of one event: one C call where all three are named fields."""
    payload = declared.payload
    mapping = isinstance(payload, type) and issubclass(payload, dict)
    mapping = mapping or payload is Any or getattr(payload, "__origin__", None) is dict
    get: Callable[..., Callable[[Any], Any]] = itemgetter if mapping else attrgetter
    names = (declared.key, declared.version, declared.id)
    if all(isinstance(name, str) for name in names):
        together = get(*names)
        return lambda value, piece, index: together(value)

    def one(field: Any) -> Callable[[Any, Slice, int], Any]:
        if field is None:
            return lambda value, piece, index: None
        if field is POSITION:
            return lambda value, piece, index: piece.offset(index) + 1
        if isinstance(field, str):
            getter = get(field)
            return lambda value, piece, index: getter(value)
        return lambda value, piece, index: field(piece.record(index))

    key, version, event_id = map(one, names)
    return lambda value, piece, index: (
        key(value, piece, index),
        version(value, piece, index),
        event_id(value, piece, index),
    )


def _quotes_without_duplicates(payload: Any) -> int:
    """How many quotes the JSON of a payload has, where that is always the same; -1 where it is not."""
    try:
        info = msgspec.inspect.type_info(payload)
    except TypeError:
        return -1
    fields = getattr(info, "fields", None)
    if fields is None or not all(field.required and isinstance(field.type, _SCALARS) for field in fields):
        return -1
    texts = sum(isinstance(field.type, msgspec.inspect.StrType) for field in fields)
    return 2 * (len(fields) + texts)


def _refuse_duplicate_keys(value: bytes) -> None:
    def check(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen:
                    raise _Unreadable(f"{name}: the key comes twice in one object")
                seen.add(name)

    json.loads(value, object_pairs_hook=check)


def _explain(error: Exception, value: bytes) -> str:
    """One line that names the field, from whatever a decoder or the user's own function raised."""
    if isinstance(error, RecursionError):
        return "value: nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        start = _first_bad_byte(value)
        return f"{_field_before(value, start)}: not UTF-8 at byte {start}"
    if isinstance(error, KeyError):
        return f"{error.args[0]}: missing"
    if isinstance(error, msgspec.ValidationError):
        text = str(error)
        missing = re.search(r"missing required field `(.+?)`", text)
        at = re.search(r" - at `\$\.?(.*?)`$", text)
        name = missing[1] if missing else at[1] if at and at[1] else "value"
        return f"{name}: {text}"
    if isinstance(error, msgspec.DecodeError):
        byte = re.search(r"\(byte (\d+)\)", str(error))
        name = _field_before(value, int(byte[1])) if byte else "value"
        return f"{name}: {error}"
    first = str(error).splitlines()
    return f"value: {type(error).__name__}: {' '.join(line.strip() for line in first[:4])}"


def _first_bad_byte(value: bytes) -> int:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _field_before(value: bytes, byte: int) -> str:
    """The last key that begins before `byte`: the field that an unreadable place is in."""
    names = re.findall(rb'"([^"\\\x00-\x1f]{1,64})"\s*:', value[:byte])
    return names[-1].decode("utf-8", "replace") if names else "value"


def _shown(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
