"""Any bytes: an event that every store can take, or a malformed record with a reason. Never an exception."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from inorder.core.event import MAX_VERSION, Event
from tests.codecs.reading import PAYLOADS, codec_for, entry, read
from tests.core.profiles import examples

CODECS = [codec_for(payload) for payload in PAYLOADS] + [codec_for(payload, id=None) for payload in PAYLOADS]
SEEDS = [
    entry(),
    entry(more=',"amount":1.5,"more":[{"x":null}]'),
    entry(key='"\\ud83d\\ude00"', more=',"k\\u0065y":1'),
    b'{"key":1,"version":1e3,"id":"\xc3\xa9"}',
]
PIECES = [
    *(b'"', b"\\", b"\\u", b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b'"key":', b'"version":', b'"id":'),
    *(b"0", b"-", b"1e9", b".", b"9" * 30, b"NaN", b"null", b"true"),
    *(b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\n", b" "),
]


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A good record after a few cuts, insertions and repetitions."""
    value = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(value)))
        end = draw(st.integers(start, min(len(value), start + 12)))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.just(value[start:end] * 2), st.just(b"")))
        value = value[:start] + piece + value[end:]
    return value


def check(value: bytes) -> None:
    for codec in CODECS:
        found = read(codec, value)
        if isinstance(found, Event):
            assert type(found.version) is int
            assert 0 < found.version <= MAX_VERSION
            for text in (found.key, found.id):
                assert type(text) is str
                assert text
                assert "\0" not in text
                assert len(text.encode()) <= 1_024
            assert 0 < found.fingerprint < 2**32
        else:
            assert ":" in found.reason
            assert found.reason.isprintable()


@given(st.binary(max_size=200))
@examples(150)
def test_any_bytes(value: bytes) -> None:
    check(value)


@given(mangled())
@example(b'{"key":1,"version":1e999999"id":"a"}')
@examples(500)
def test_records_that_were_mangled(value: bytes) -> None:
    check(value)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["key", "version", "id", "amount", "more"]), json_values, max_size=5))
@examples(200)
def test_any_json_in_the_right_fields(payload: dict[str, Any]) -> None:
    check(json.dumps(payload).encode())
