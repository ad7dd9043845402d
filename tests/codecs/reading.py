"""One event of each payload type, and codecs that read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import msgspec
import pydantic

import inorder
from inorder.codecs.json import JsonCodec
from inorder.core.event import Event, Malformed, Partition, Record, Slice
from inorder.declaration import declaration_of

HOME = Partition("topic", 3)
DEEP = 10_000


class Entry(msgspec.Struct):
    key: str
    version: int
    id: str


class EntryWithMore(msgspec.Struct):
    key: str
    version: int
    id: str
    amount: float = 0.0
    more: Any = None


@dataclass
class EntryClass:
    key: str
    version: int
    id: str
    amount: float = 0.0


class EntryDict(TypedDict):
    key: str
    version: int
    id: str
    amount: NotRequired[float]


class EntryModel(pydantic.BaseModel):
    key: str
    version: int
    id: str
    amount: float = 0.0


TYPED: list[Any] = [Entry, EntryWithMore, EntryClass, EntryDict, EntryModel]
PAYLOADS: list[Any] = [*TYPED, dict, dict[str, Any]]


def name_of(payload: Any) -> str:
    """What a test of this payload is called."""
    return "dict of Any" if payload == dict[str, Any] else str(payload.__name__)


def codec_for(payload: Any, **options: Any) -> JsonCodec:
    """The codec of a consumer of this payload."""

    def consume(entry: Any) -> None:
        raise NotImplementedError

    consume.__annotations__["entry"] = payload
    declare = inorder.handler(**{"key": "key", "version": "version", "id": "id", **options})
    return JsonCodec(declaration_of(declare(consume)))


def read(codec: JsonCodec, value: bytes | None, key: bytes | None = None, offset: int = 7) -> Event | Malformed:
    """What one record comes to. The record is kept whole, whatever it comes to."""
    record = Record(HOME, offset, key, value, (("trace", b"\xff"),), 5)
    events, malformed = codec.read(Slice.of(HOME, [record]))
    assert len(events) + len(malformed) == 1
    found = events[0] if events else malformed[0]
    assert found.record == record
    return found


def reason(codec: JsonCodec, value: bytes | None) -> str:
    """Why a record cannot be read: one line that a store, a log and a terminal can take."""
    found = read(codec, value)
    assert isinstance(found, Malformed), f"read as {found}"
    assert found.reason.isprintable()
    assert len(found.reason) <= 500
    return found.reason


def entry(key: str = '"a"', version: str = "1", id: str = '"i"', more: str = "") -> bytes:
    """The JSON of an entry, each value as JSON."""
    return f'{{"key":{key},"version":{version},"id":{id}{more}}}'.encode("utf-8", "surrogatepass")
