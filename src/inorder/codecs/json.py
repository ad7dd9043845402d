"""JSON records to events. Whatever cannot be read becomes a `Malformed` that names the field; nothing raises."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Sequence
from enum import Enum
from operator import attrgetter, itemgetter
from typing import Any
from uuid import UUID
from zlib import crc32

import msgspec
from mypy_extensions import mypyc_attr

from inorder.codecs.explaining import explain, field_before, shown
from inorder.codecs.payload import decoder, json_names
from inorder.codecs.salvage import Salvage
from inorder.core.event import MAX_VERSION, Event, Malformed, Slice, fingerprint
from inorder.core.words import describe, one_line
from inorder.declaration import POSITION, Declaration
from inorder.errors import Poison

_SCALARS = (
    msgspec.inspect.IntType,
    msgspec.inspect.FloatType,
    msgspec.inspect.BoolType,
    msgspec.inspect.StrType,
)


@mypyc_attr(allow_interpreted_subclasses=True)
class JsonCodec:
    """Reads the events of one declared consumer out of slices of records."""

    def __init__(self, declaration: Declaration) -> None:
        self._decode = decoder(declaration.payload)
        self._limits = declaration.limits
        self._quotes = _quotes_without_duplicates(declaration.payload)
        self._declared = declaration
        self._has_id = declaration.id is not None
        self._named = _named_fields(declaration)
        self._fields = _fields_getter(declaration)
        self._salvage = Salvage(declaration)
        self._counted = json_names(declaration.payload, declaration.version)

    def read(self, piece: Slice, start: int = 0, stop: int | None = None) -> tuple[list[Event], list[Malformed]]:
        """The events of a slice, or of some of its places, in its order, and what could not be read."""
        values = piece.values[start:stop]
        events = self._read_together(piece, start, values)
        return (events, []) if events is not None else self._read_each(piece, start, values)

    def payload(self, event: Event) -> Any:
        """The payload of an event that was read before, as received. Raises `Poison` if it is read no more."""
        value = event.slice.values[event.index] or b""
        try:
            return self._decode(value)
        except Exception as error:
            raise Poison(one_line(explain(error, value, self._declared.payload))) from error

    def _read_together(self, piece: Slice, start: int, values: Sequence[bytes | None]) -> list[Event] | None:
        """The common case: most steps go over all records, in C. None: not all are plainly right.

        What makes a record plainly right is the same as in `_read_each`. Quotes are counted over all of them: none has
        fewer than it must have, or it would not have been decoded, so the sum is right only if each of them is.
        """
        named = self._named
        if named is None:
            return None
        longest = self._limits.key_bytes // 4
        events: list[Event] = []
        try:
            together = b"".join(values)  # type: ignore[arg-type]
            if b"\\" in together:
                return None
            quotes = together.count(b'"')
            if quotes != self._quotes * len(values) and not self._plain(values, quotes):  # type: ignore[arg-type]
                return None
            most = self._limits.event_bytes
            if len(together) > most and max(map(len, values)) > most:  # type: ignore[arg-type]
                return None
            payloads = list(map(self._decode, values))  # type: ignore[arg-type]
            keys, versions, ids = (list(map(get, payloads)) for get in named)
            if max(versions) > MAX_VERSION or "\0" in "".join(keys) or "\0" in "".join(ids):
                return None
            for index in range(len(payloads)):
                key, version, event_id = keys[index], versions[index], ids[index]
                if type(key) is not str or type(version) is not int or type(event_id) is not str:
                    return None
                event = Event(key, version, event_id, fingerprint(event_id), payloads[index], piece, start + index)
                if event.version < 1 or not 0 < len(event.key) <= longest or not 0 < len(event.id) <= longest:
                    return None
                events.append(event)
        except Exception:
            return None
        return events

    def _read_each(
        self, piece: Slice, start: int, values: Sequence[bytes | None]
    ) -> tuple[list[Event], list[Malformed]]:
        """One record after the other, with a reason for each that is refused."""
        events: list[Event] = []
        malformed: list[Malformed] = []
        decode, fields, quotes = self._decode, self._fields, self._quotes
        most, longest = self._limits.event_bytes, self._limits.key_bytes // 4
        for index, value in enumerate(values, start):
            try:
                if value is None or len(value) > most:
                    raise _Unreadable(
                        "value: null" if value is None else f"value: {len(value)} bytes, of {most} allowed"
                    )
                payload = decode(value)
                counted = value.count(b'"')
                if b"\\" in value or (counted != quotes and not self._plain([value], counted)):
                    self._look_closer(value)
                key, version, event_id = fields(payload, piece, index)
                if type(version) is not int or not 0 < version <= MAX_VERSION:
                    raise _Unreadable(f"{self._name('version')}: {shown(version)} is no whole number from 1 to 2^63-1")
                if type(key) is not str or not key or len(key) > longest or "\0" in key:
                    key = self._checked("key", key)
                if type(event_id) is not str or not event_id or len(event_id) > longest or "\0" in event_id:
                    event_id = self._checked("id", event_id) if self._has_id else f"crc32:{crc32(value):08x}"
                events.append(Event(key, version, event_id, fingerprint(event_id), payload, piece, index))
            except _Unreadable as refusal:
                malformed.append(self._malformed(str(refusal), piece, index))
            except Exception as error:
                reason = explain(error, value or b"", self._declared.payload)
                malformed.append(self._malformed(reason, piece, index))
        return events, malformed

    def _malformed(self, reason: str, piece: Slice, index: int) -> Malformed:
        """What is wrong with a record, and whose it is, where its key is right."""
        try:
            key = self._checked("key", self._salvage.key(piece.record(index)))
        except _Unreadable:
            key = None
        return Malformed(one_line(reason), piece, index, key)

    def _plain(self, values: Sequence[bytes], quotes: int) -> bool:
        """Whether JSON without a backslash, of so many quotes together, has no key twice in one object, and whole
        numbers for versions.

        Its quotes come in pairs, two a string, and keys are strings. Of a key that comes twice the decoder keeps one,
        and fewer strings are found than there are in the text. A flat payload with a known number of fields, and of
        text fields, has a known number of quotes, and need not be looked at like this.
        """
        strings = 0
        for value in values:
            try:
                found = _anything(value)
            except Exception:
                return False
            strings += _strings(found)
            for name in self._counted:
                if type(found) is not dict or type(found.get(name, 1)) is not int:
                    return False
        return quotes == 2 * strings

    def _look_closer(self, value: bytes) -> None:
        """Refuse what decoders let pass: a key that comes twice, and what pydantic would make a version of."""
        found = _parsed(value)
        for name in self._counted:
            if type(found) is dict and type(found.get(name, 1)) is not int:
                raise _Unreadable(f"{self._name('version')}: {shown(found[name])} is no whole number")

    def _checked(self, role: str, found: Any) -> str:
        """A key or id that is not plainly right: what stands for a text is taken as one, the rest is refused."""
        name = self._name(role)
        if isinstance(found, Enum):
            found = found.value
        if isinstance(found, UUID) or (type(found) is int and -MAX_VERSION <= found <= MAX_VERSION):
            return str(found)
        if type(found) is not str or not found:
            raise _Unreadable(f"{name}: {shown(found)} is not a text of one character or more")
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


_anything = msgspec.json.Decoder().decode


def _strings(found: Any) -> int:
    """How many strings there are in decoded JSON, keys among them."""
    if type(found) is str:
        return 1
    if type(found) is dict:
        return len(found) + sum([_strings(value) for value in found.values()])
    if type(found) is list:
        return sum([_strings(value) for value in found])
    return 0


def _getter(declared: Declaration) -> Callable[..., Callable[[Any], Any]]:
    """How named fields of the payload are read."""
    origin = typing.get_origin(declared.payload) or declared.payload
    mapping = origin is Any or (isinstance(origin, type) and issubclass(origin, dict))
    return itemgetter if mapping else attrgetter


def _named_fields(declared: Declaration) -> list[Callable[[Any], Any]] | None:
    """Functions, each one C call, to key, version and id of a payload; None where not all three are named fields."""
    names = (declared.key, declared.version, declared.id)
    return [_getter(declared)(name) for name in names] if all(isinstance(name, str) for name in names) else None


def _fields_getter(declared: Declaration) -> Callable[[Any, Slice, int], tuple[Any, Any, Any]]:
    """A function to key, version and id of one event, wherever they come from."""
    get = _getter(declared)
    names = (declared.key, declared.version, declared.id)
    if all(isinstance(name, str) for name in names):
        together = get(*names)
        return lambda value, piece, index: together(value)

    def one(role: str, field: Any) -> Callable[[Any, Slice, int], Any]:
        if field is None:
            return lambda value, piece, index: None
        if field is POSITION:
            return lambda value, piece, index: piece.offset(index) + 1
        if isinstance(field, str):
            getter = get(field)
            return lambda value, piece, index: getter(value)

        def called(value: Any, piece: Slice, index: int) -> Any:
            try:
                found = field(piece.record(index))
                if isinstance(found, str):
                    found.encode()
                return found
            except Exception as error:
                raise _Unreadable(f"{role}: {describe(error)}") from error

        return called

    key, version, event_id = one("key", declared.key), one("version", declared.version), one("id", declared.id)
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
    if (
        fields is None
        or getattr(info, "array_like", False)
        or not all(field.required and isinstance(field.type, _SCALARS) for field in fields)
    ):
        return -1
    texts = sum(isinstance(field.type, msgspec.inspect.StrType) for field in fields)
    return 2 * (len(fields) + texts)


def _parsed(value: bytes) -> Any:
    """The JSON again, exactly; its whole numbers are not converted, which could take long or fail."""

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen:
                    raise _Unreadable(f"{name}: the key comes twice in one object")
                seen.add(name)
        return found

    def refuse(constant: str) -> None:
        raise _Unreadable(f"{field_before(value, value.find(constant.encode()))}: {constant} is not JSON")

    return json.loads(value, object_pairs_hook=check, parse_int=len, parse_constant=refuse)
