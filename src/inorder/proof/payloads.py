"""Events to prove a consumer with: small interesting values of its payload type, or the user's own events."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import inspect

from inorder.codecs.json import JsonCodec
from inorder.codecs.payload import model_of
from inorder.codecs.types import name_of
from inorder.core.event import Partition, Record, Slice
from inorder.declaration import POSITION, Declaration
from inorder.errors import UsageError
from inorder.proof.scope import Place
from inorder.proof.system import Codec, Message

Values = dict[str, Any]
"""The fields of one payload, by their names in JSON."""
Case = Mapping[Place, Message]
"""An event for each key and version of a scope."""

KEYS = ("a", "b", "c")
MOST_VALUES = 8
"""Values tried for one field."""
_PLAIN = 2
"""Cases whose values go by turns; those of the others are drawn."""
_DEEPEST = 3

_INTEGERS = (1, -1, 5, -5, 0, 3, 100, -2)
_FLOATS = (1.0, -1.0, 2.5, -4.0, 0.0)
_TEXTS = ("x", "y", "z", "")
_SPECIAL: dict[type, tuple[str, ...]] = {
    inspect.DateTimeType: ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"),
    inspect.DateType: ("2026-01-02", "2026-01-01"),
    inspect.TimeType: ("12:00:00", "01:00:00"),
    inspect.TimeDeltaType: ("PT1S", "PT60S"),
    inspect.UUIDType: ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"),
    inspect.DecimalType: ("1.00", "-1.00", "2.50", "0"),
    inspect.BytesType: ("eA==", ""),
}


class Payloads:
    """Cases of one consumer. Raises `UsageError` where its events cannot be made, and says what to give instead."""

    def __init__(
        self, declared: Declaration, events: Iterable[bytes] | None = None, drawn: Sequence[Values] | None = None
    ) -> None:
        self.declared = declared
        self.codec = Codec(declared)
        if declared.version is POSITION:
            raise UsageError(
                f"{declared.name}: version=inorder.POSITION trusts the broker's order, so there is no order to prove"
            )
        self._given = self._grouped(events) if events is not None else None
        self._drawn = drawn
        self._fields = self._candidates() if self._given is None else {}

    def cases(self, keys: int, versions: int, most: int, seed: int = 0) -> Iterator[Case]:
        """Up to `most` different cases, the plainest first."""
        if self._given is not None:
            yield from self._of_events(keys, versions, most)
            return
        seen: set[tuple[bytes, ...]] = set()
        rng = random.Random(seed)
        tries = 0
        while len(seen) < most and tries < 3 * most:
            case = self._case(keys, versions, tries, rng)
            tries += 1
            print_of = tuple(message.value for message in case.values())
            if case and print_of not in seen:
                seen.add(print_of)
                yield case

    def message(self, values: Values) -> Message | None:
        """An event with these fields; None where they are no event of the consumer's."""
        return self.event(msgspec.json.encode(values))

    def simpler(self, message: Message) -> Iterator[Message]:
        """The same event with one field plainer, where one can be; the plainest first."""
        if self._given is not None or self._drawn is not None:
            return
        values = msgspec.json.decode(message.value)
        for name, candidates in self._fields.items():
            for candidate in candidates[: candidates.index(values[name])] if values.get(name) in candidates else ():
                made = self.message({**values, name: candidate})
                if made is not None and made.id == message.id:
                    yield made

    def event(self, value: bytes) -> Message | None:
        """The event that these bytes are; None where they are none of the consumer's."""
        return event_of(self.codec, value)

    # From the type.

    def _candidates(self) -> dict[str, list[Any]]:
        """The fields that are not the event's own name, and the values to try for each."""
        declared, payload = self.declared, self.declared.payload
        if not all(isinstance(getattr(declared, role) or "", str) for role in ("key", "version", "id")):
            raise UsageError(f"{declared.name}: key=, version= or id= is a callable: give events with --events FILE")
        try:
            fields = list(_fields(payload))
        except TypeError:
            raise UsageError(
                f"{declared.name}: the payload type {name_of(payload)} does not say which fields there are: "
                f"give events with --events FILE"
            ) from None
        self._roles = {role: getattr(declared, role) for role in ("key", "version", "id") if getattr(declared, role)}
        self._types = {name: kind for name, _, kind in fields}
        self._encoded = {name: encoded for name, encoded, _ in fields}
        return {encoded: candidates(kind) for name, encoded, kind in fields if name not in self._roles.values()}

    def _case(self, keys: int, versions: int, number: int, rng: random.Random) -> dict[Place, Message]:
        made: dict[Place, Message] = {}
        baseline = self.declared.baseline
        for key in range(keys):
            for step in range(versions):
                version = baseline + 1 + step
                values = self._values(step, number, rng)
                named = {"key": _named(self._kind("key"), key, 0), "version": version}
                if "id" in self._roles:
                    named["id"] = _named(self._kind("id"), key, version)
                values |= {self._encoded[self._roles[role]]: value for role, value in named.items()}
                message = self.message(values)
                if message is None:
                    # A value that the type refuses: the plainest ones are tried one by one.
                    message = self._plainest(values)
                made[message.key, version] = message
        return made

    def _values(self, step: int, number: int, rng: random.Random) -> Values:
        if self._drawn:
            return dict(self._drawn[(step + number) % len(self._drawn)])
        return {
            name: options[(step + number) % len(options)] if number < _PLAIN else rng.choice(options)
            for name, options in self._fields.items()
        }

    def _kind(self, role: str) -> Any:
        return self._types[self._roles[role]]

    def _plainest(self, values: Values) -> Message:
        for name, options in self._fields.items():
            for option in options:
                message = self.message({**values, name: option})
                if message is not None:
                    return message
        raise UsageError(
            f"{self.declared.name}: no payload of type {name_of(self.declared.payload)} could be made from its "
            f"annotations: give events with --events FILE"
        )

    # From the user.

    def _grouped(self, events: Iterable[bytes]) -> dict[str, list[Message]]:
        found: dict[str, dict[int, Message]] = {}
        for line in events:
            message = self.event(line) if line.strip() else None
            if message is not None:
                found.setdefault(message.key, {}).setdefault(message.version, message)
        dense: dict[str, list[Message]] = {}
        for key, of in found.items():
            version = self.declared.baseline + 1
            while version in of:
                dense.setdefault(key, []).append(of[version])
                version += 1
        if not dense:
            raise UsageError(
                f"{self.declared.name}: among the events there is none with version {self.declared.baseline + 1}, "
                f"so no key has a history to begin with"
            )
        return dense

    def _of_events(self, keys: int, versions: int, most: int) -> Iterator[Case]:
        assert self._given is not None
        histories = sorted(self._given.values(), key=len, reverse=True)
        for at in range(min(most, len(histories))):
            chosen = [histories[(at + n) % len(histories)] for n in range(min(keys, len(histories)))]
            case = {(one.key, one.version): one for history in chosen for one in history[:versions]}
            if case:
                yield case


def event_of(codec: JsonCodec, value: bytes) -> Message | None:
    """The event that these bytes are; None where they are none of the consumer's."""
    partition = Partition("events", 0)
    events, _ = codec.read(Slice.of(partition, [Record(partition, 0, None, value)]))
    if not events:
        return None
    return Message(events[0].key, events[0].version, events[0].id, value)


def _fields(payload: Any) -> Iterator[tuple[str, str, inspect.Type]]:
    """Name, name in JSON and type of each field. Raises TypeError when a type does not say."""
    model = model_of(payload)
    if model is not None:
        for name, field in model.model_fields.items():
            alias = field.validation_alias or field.alias
            yield name, alias if isinstance(alias, str) else name, _info(field.annotation)
        return
    info = inspect.type_info(payload)
    fields = getattr(info, "fields", None)
    if fields is None:
        raise TypeError
    for field in fields:
        yield field.name, field.encode_name, field.type


def _info(annotation: Any) -> inspect.Type:
    try:
        return inspect.type_info(annotation)
    except TypeError:
        return inspect.AnyType()


def candidates(kind: inspect.Type, deep: int = 0) -> list[Any]:
    """A few values of a type, as JSON has them, the plainest first."""
    found = list(_values(kind, deep))
    unique: list[Any] = []
    for one in found:
        if not any(type(one) is type(other) and one == other for other in unique):
            unique.append(one)
    return unique[:MOST_VALUES] or [None]


def _values(kind: Any, deep: int) -> Iterator[Any]:  # noqa: PLR0912  # one branch a type
    if isinstance(kind, inspect.Metadata):
        yield from _values(kind.type, deep)
    elif isinstance(kind, inspect.UnionType):
        of = [candidates(one, deep) for one in kind.types if not isinstance(one, inspect.NoneType)]
        yield from (options[at] for at in range(MOST_VALUES) for options in of if at < len(options))
        yield from (None for one in kind.types if isinstance(one, inspect.NoneType))
    elif isinstance(kind, inspect.BoolType):
        yield from (True, False)
    elif isinstance(kind, inspect.IntType):
        yield from _within(kind, _INTEGERS)
    elif isinstance(kind, inspect.FloatType):
        yield from _within(kind, _FLOATS)
    elif isinstance(kind, inspect.StrType):
        yield from (text for text in _TEXTS if len(text) >= (kind.min_length or 0))
    elif isinstance(kind, inspect.LiteralType):
        yield from kind.values
    elif isinstance(kind, inspect.EnumType):
        yield from (member.value for member in kind.cls)
    elif type(kind) in _SPECIAL:
        yield from _SPECIAL[type(kind)]
    elif deep < _DEEPEST and hasattr(kind, "fields"):
        options = {field.encode_name: candidates(field.type, deep + 1) for field in kind.fields}
        for at in range(3):
            yield {name: values[at % len(values)] for name, values in options.items()}
    elif deep < _DEEPEST and hasattr(kind, "item_type"):
        items = candidates(kind.item_type, deep + 1)
        yield from ([items[0]], items[:2], [])
    elif deep < _DEEPEST and hasattr(kind, "item_types"):
        yield [candidates(one, deep + 1)[0] for one in kind.item_types]
    elif hasattr(kind, "value_type"):
        yield from ({}, {"k": candidates(kind.value_type, deep + 1)[0]})
    elif isinstance(kind, inspect.AnyType | inspect.RawType):
        yield from (1, "x", -1)


def _within(kind: inspect.IntType | inspect.FloatType, values: Sequence[Any]) -> Iterator[Any]:
    """Those of the values that the type's bounds allow; the bounds themselves, where they are all there is."""
    low = kind.ge if kind.ge is not None else None if kind.gt is None else kind.gt + 1
    high = kind.le if kind.le is not None else None if kind.lt is None else kind.lt - 1
    for value in (*values, *(bound for bound in (low, high) if bound is not None)):
        if (low is None or value >= low) and (high is None or value <= high):
            yield value


def _named(kind: Any, key: int, version: int) -> Any:
    """A key, or with a version an event's id, of the type that its field has."""
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        kind = next((one for one in kind.types if not isinstance(one, inspect.NoneType)), kind)
    if isinstance(kind, inspect.IntType):
        return 100 * (key + 1) + version
    if isinstance(kind, inspect.UUIDType):
        return str(UUID(int=(key + 1) << 64 | version))
    if isinstance(kind, inspect.LiteralType | inspect.EnumType):
        options = candidates(kind)
        return options[key % len(options)]
    return f"{KEYS[key]}{version}" if version else KEYS[key]
