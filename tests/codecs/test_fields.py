"""Where key, version and id come from: fields, callables of the record, the broker's position, or nothing."""

from __future__ import annotations

import uuid
from enum import Enum, StrEnum
from typing import Any, Generic, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import inorder
from inorder.core.event import Event, Malformed, Record
from tests.codecs.reading import PAYLOADS, Entry, codec_for, entry, name_of, read, reason
from tests.core.profiles import examples

T = TypeVar("T")


class Region(StrEnum):
    NORTH = "north"


class Shop(Enum):
    FIRST = 1


class Typed(msgspec.Struct):
    region: Region
    shop: Shop
    number: int
    token: uuid.UUID


class Named(msgspec.Struct):
    region: Region
    name: str
    number: int


class Of(TypedDict, Generic[T]):
    key: str
    version: int
    id: T


class Aliased(pydantic.BaseModel):
    key: str = pydantic.Field(alias="Key")
    version: int = pydantic.Field(validation_alias="Version")


def first_header(record: Record) -> str:
    return record.headers[0][1].decode("utf-8", "surrogateescape")


@pytest.mark.parametrize("payload", PAYLOADS, ids=name_of)
def test_a_callable_is_given_the_whole_record(payload: Any) -> None:
    seen: list[Record] = []

    def key(record: Record) -> str:
        seen.append(record)
        return "from the record"

    codec = codec_for(payload, key=key, version=lambda record: record.offset, id=lambda record: "an id")
    found = read(codec, entry(), offset=12)
    assert isinstance(found, Event)
    assert (found.key, found.version, found.id) == ("from the record", 12, "an id")
    assert seen == [found.record]


@pytest.mark.parametrize("role", ["key", "version", "id"])
@pytest.mark.parametrize(
    "error",
    [KeyError(), KeyError("x"), ValueError("two\nlines"), UnicodeDecodeError("utf-8", b"", 0, 1, "?")],
    ids=repr,
)
def test_a_callable_that_raises_makes_the_record_malformed(role: str, error: Exception) -> None:
    def fail(record: Record) -> str:
        raise error

    found = reason(codec_for(Entry, **{role: fail}), entry())
    assert found.startswith(f"{role}: {type(error).__name__}")


def test_a_callable_whose_error_cannot_be_shown_makes_the_record_malformed() -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail(record: Record) -> str:
        raise Unspeakable

    assert reason(codec_for(Entry, key=fail), entry()).startswith("key: Unspeakable")


@pytest.mark.parametrize("role", ["key", "id"])
@pytest.mark.parametrize("wrong", [None, "", b"a", 1.5, True, [], "a\0", "\ud800", "x" * 1_025, 10**400, {1}], ids=repr)
def test_a_callable_that_returns_no_text_makes_the_record_malformed(role: str, wrong: Any) -> None:
    assert reason(codec_for(Entry, **{role: lambda record: wrong}), entry()).startswith(f"{role}:")


@pytest.mark.parametrize("wrong", [None, "1", 0, -1, True, 1.0, 2**63, pytest.param(10**5_000, id="10^5000")])
def test_a_callable_that_returns_no_version_makes_the_record_malformed(wrong: Any) -> None:
    assert reason(codec_for(Entry, version=lambda record: wrong), entry()).startswith("version:")


def test_a_header_that_is_not_utf_8_makes_no_key() -> None:
    assert reason(codec_for(Entry, key=first_header), entry()).startswith("key:")


@given(st.one_of(st.none(), st.binary(max_size=20)))
@examples(200)
def test_whatever_the_key_of_a_record_is_it_makes_a_key_or_a_malformed_record(raw: bytes | None) -> None:
    def key(record: Record) -> Any:
        return record.key.decode("utf-8", "surrogateescape") if record.key is not None else None

    found = read(codec_for(Entry, key=key), entry(), key=raw)
    good = bool(raw) and b"\0" not in (raw or b"") and (raw or b"").decode("utf-8", "replace").encode() == raw
    assert isinstance(found, Event) == good
    if isinstance(found, Event):
        assert found.key.encode() == raw


def test_whole_numbers_enumerations_and_uuids_stand_for_their_text() -> None:
    token = uuid.UUID("12345678123456781234567812345678")
    value = msgspec.json.encode(Typed(Region.NORTH, Shop.FIRST, 7, token))
    for field, text in {"region": "north", "shop": "1", "number": "7", "token": str(token)}.items():
        found = read(codec_for(Typed, key=field, version="number", id=field), value)
        assert isinstance(found, Event)
        assert (found.key, found.id) == (text, text)
        assert (type(found.key), type(found.id)) == (str, str)


@pytest.mark.parametrize(("key", "event_id"), [("region", "name"), ("name", "region")])
def test_an_enumeration_of_texts_stands_for_its_text_beside_a_plain_one(key: str, event_id: str) -> None:
    found = read(codec_for(Named, key=key, version="number", id=event_id), b'{"region":"north","name":"a","number":7}')
    assert isinstance(found, Event)
    assert {key: found.key, event_id: found.id} == {"region": "north", "name": "a"}
    assert (type(found.key), type(found.id)) == (str, str)


@pytest.mark.parametrize("payload", PAYLOADS, ids=name_of)
def test_a_position_is_the_offset_counted_from_one(payload: Any) -> None:
    codec = codec_for(payload, version=inorder.POSITION, order="latest")
    found = read(codec, entry(version="1"), offset=0)
    assert isinstance(found, Event)
    assert found.version == 1


@pytest.mark.parametrize("payload", PAYLOADS, ids=name_of)
def test_without_an_id_two_records_are_the_same_event_when_their_bytes_are(payload: Any) -> None:
    codec = codec_for(payload, id=None)
    ids = [
        found.id for value in [entry(), entry(), entry(version="2")] if isinstance(found := read(codec, value), Event)
    ]
    assert len(ids) == 3
    assert ids[0] == ids[1] != ids[2]


def test_a_typed_dict_with_a_parameter_is_read_by_its_keys() -> None:
    assert isinstance(read(codec_for(Of[str]), entry()), Event)
    assert isinstance(read(codec_for(Of[int]), entry()), Malformed)


def test_a_payload_of_any_type_is_read_by_its_keys() -> None:
    found = read(codec_for(Any), entry(key='"b"'))
    assert isinstance(found, Event)
    assert (found.key, found.version, found.id) == ("b", 1, "i")


@pytest.mark.parametrize("version", ['"1"', "true", "1.0"])
def test_pydantic_makes_no_version_of_what_is_none_under_an_alias_either(version: str) -> None:
    codec = codec_for(Aliased, id=None)
    assert isinstance(read(codec, b'{"Key":"a","Version":1}'), Event)
    assert reason(codec, f'{{"Key":"a","Version":{version}}}'.encode()).startswith("version:")


class OfAnyName(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)
    key: str = pydantic.Field(alias="Key")
    version: int = pydantic.Field(validation_alias=pydantic.AliasChoices("Version", "revision"))


@pytest.mark.parametrize("name", ["Version", "revision", "version"])
@pytest.mark.parametrize("version", ['"1"', "true", "1.0"])
def test_nor_under_any_of_several_names(name: str, version: str) -> None:
    codec = codec_for(OfAnyName, id=None)
    for key in ("Key", "key"):
        value = f'{{"{key}":"a","{name}":'
        assert isinstance(read(codec, f"{value}1}}".encode()), Event)
        found = read(codec, f"{value}{version}}}".encode())
        assert isinstance(found, Malformed)
        assert found.reason.startswith("version:")
        assert found.key == "a"


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 8])
def test_the_limit_on_keys_is_in_bytes_and_exact(limit: int) -> None:
    codec = codec_for(Entry, limits=inorder.Limits(key_bytes=limit))
    for text in ["x" * limit, "é" * (limit // 2)]:
        found = read(codec, entry(key=f'"{text}"', id='"i"'))
        assert isinstance(found, Event) == bool(text)
    assert isinstance(read(codec, entry(key='"' + "x" * (limit + 1) + '"')), Malformed)
