"""A record that no event can be read from still has a key, where that can be read."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from inorder.core.event import Malformed
from tests.codecs.reading import PAYLOADS, codec_for, entry, name_of, read


def key_of(codec: Any, value: bytes | None, key: bytes | None = None) -> str | None:
    found = read(codec, value, key)
    assert isinstance(found, Malformed)
    return found.key


@pytest.mark.parametrize("payload", PAYLOADS, ids=name_of)
@pytest.mark.parametrize(
    ("value", "key"),
    [
        (entry(version="0"), "a"),
        (entry(version='"x"'), "a"),
        (entry(id="null"), "a"),
        (b'{"key":"a"}', "a"),
        (entry(key="7", version="0"), "7"),
        (entry(key="null", version="0"), None),
        (entry(key='{"a":1}', version="0"), None),
        (entry(key='"a\\u0000"', version="0"), None),
        (entry(key='"' + "x" * 1_025 + '"', version="0"), None),
        (b'{"key":"a","key":"b","version":1,"id":"i"}', None),
        (entry()[:-1], None),
        (b"[" * 10_000, None),
        (b"[]", None),
        (b"7", None),
        (b"\xff", None),
        (None, None),
    ],
)
def test_the_key_is_what_stands_in_its_field(payload: Any, value: bytes | None, key: str | None) -> None:
    assert key_of(codec_for(payload), value) == key


class Renamed(msgspec.Struct, rename="camel"):
    account_id: str
    version: int
    id: str


@dataclasses.dataclass
class Plain:
    account_id: str
    version: int
    id: str


def test_a_field_is_looked_for_by_its_name_in_json() -> None:
    assert key_of(codec_for(Renamed, key="account_id"), b'{"accountId":"a","version":0,"id":"i"}') == "a"
    assert key_of(codec_for(Renamed, key="account_id"), b'{"account_id":"a","version":0,"id":"i"}') is None
    assert key_of(codec_for(Plain, key="account_id"), b'{"account_id":"a","version":0,"id":"i"}') == "a"


def test_a_function_of_the_record_is_asked() -> None:
    codec = codec_for(dict, key=lambda record: record.key.decode())
    assert key_of(codec, b"not JSON", b"a") == "a"
    assert key_of(codec, b"not JSON", None) is None
