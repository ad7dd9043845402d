"""Whatever is wrong with a record: no event, a reason that names the field, and never an exception."""

from __future__ import annotations

from typing import Any

import pytest

import inorder
from inorder.core.event import MAX_VERSION, Event, Record, Slice
from tests.codecs.reading import DEEP, HOME, PAYLOADS, TYPED, Entry, codec_for, entry, name_of, read, reason

IN_EVERY_TYPE = {
    "no value": (None, "value"),
    "no bytes": (b"", "value"),
    "no JSON": (b"balance", "value"),
    "one NUL": (b"\0", "value"),
    "an open string": (b'"', "value"),
    "a byte order mark": (b"\xef\xbb\xbf" + entry(), "value"),
    "UTF-16": (entry().decode().encode("utf-16"), "value"),
    "an array": (b"[]", "value"),
    "a number": (b"1", "value"),
    "a text": (b'"key"', "value"),
    "null": (b"null", "value"),
    "truncated": (entry()[:-3], "id"),
    "something behind": (entry() + b" {}", "id"),
    "two documents": (entry() + entry(), "id"),
    "a trailing comma": (entry(more=","), "id"),
    "1 MiB and more": (entry(more=',"x":"' + "x" * 1_048_576 + '"'), "value"),
    "no key": (b'{"version":1,"id":"i"}', "key"),
    "no version": (b'{"key":"a","id":"i"}', "version"),
    "no id": (b'{"key":"a","version":1}', "id"),
    "nothing": (b"{}", "key"),
    "names in capitals": (b'{"KEY":"a","VERSION":1,"ID":"i"}', "key"),
    "key null": (entry(key="null"), "key"),
    "key empty": (entry(key='""'), "key"),
    "key true": (entry(key="true"), "key"),
    "key fractional": (entry(key="1.5"), "key"),
    "key an object": (entry(key='{"a":1}'), "key"),
    "key with NUL": (entry(key='"a\\u0000b"'), "key"),
    "key with a raw NUL": (entry(key='"a\0b"'), "key"),
    "key with a raw line feed": (entry(key='"a\nb"'), "key"),
    "key half a surrogate pair": (entry(key='"\\ud800"'), "key"),
    "key the other half": (entry(key='"\\udc00"'), "key"),
    "key half a pair in UTF-8": (entry(key='"\ud800"'), "key"),
    "key not UTF-8": (entry().replace(b'"a"', b'"\xff"'), "key"),
    "key too long": (entry(key='"' + "x" * 1_025 + '"'), "key"),
    "key too long in UTF-8": (entry(key='"' + "é" * 513 + '"'), "key"),
    "key of 2,000 digits": (entry(key="9" * 2_000), "key"),
    "key of 5,000 digits": (entry(key="9" * 5_000), "key"),
    "key deep": (entry(key="[" * DEEP + "]" * DEEP), "key"),
    "version null": (entry(version="null"), "version"),
    "version zero": (entry(version="0"), "version"),
    "version minus zero": (entry(version="-0"), "version"),
    "version negative": (entry(version="-1"), "version"),
    "version true": (entry(version="true"), "version"),
    "version fractional": (entry(version="1.5"), "version"),
    "version 1.0": (entry(version="1.0"), "version"),
    "version 1e0": (entry(version="1e0"), "version"),
    "version a text": (entry(version='"1"'), "version"),
    "version an array": (entry(version="[1]"), "version"),
    "version 2^63": (entry(version=str(MAX_VERSION + 1)), "version"),
    "version 2^64": (entry(version=str(2**64)), "version"),
    "version of 5,000 digits": (entry(version="9" * 5_000), "version"),
    "version 1e400": (entry(version="1e400"), "version"),
    "version with a zero before": (entry(version="01"), "version"),
    "version NaN": (entry(version="NaN"), "version"),
    "version Infinity": (entry(version="-Infinity"), "version"),
    "id null": (entry(id="null"), "id"),
    "id empty": (entry(id='""'), "id"),
    "id with NUL": (entry(id='"\\u0000"'), "id"),
    "id half a surrogate pair": (entry(id='"\\ud800"'), "id"),
    "id too long": (entry(id='"' + "x" * 1_025 + '"'), "id"),
    "key twice": (entry(more=',"key":"b"'), "key"),
    "key twice alike": (entry(more=',"key":"a"'), "key"),
    "key twice, once escaped": (entry(more=',"k\\u0065y":"b"'), "key"),
    "version twice": (entry(more=',"version":2'), "version"),
    "id twice": (entry(more=',"id":"j"'), "id"),
    "another field twice": (entry(more=',"x":1,"x":2'), "x"),
    "another field four times": (entry(more=',"x":1,"x":2,"x":3,"x":4'), "x"),
    "a nested field twice": (entry(more=',"x":[{"y":{"z":1,"\\u007a":1}}]'), "z"),
    "a field without a name twice": (entry(more=',"":1,"":2'), ""),
    "NaN": (entry(more=',"amount":NaN'), "amount"),
    "Infinity": (entry(more=',"amount":Infinity'), "amount"),
    "NaN in an array": (entry(more=',"more":[1,NaN]'), "more"),
    "10,000 arrays deep": (entry(more=',"more":' + "[" * DEEP + "]" * DEEP), "more"),
    "half a surrogate pair": (entry(more=',"more":"\\ud800"'), "more"),
    "a name half a surrogate pair": (entry(more=',"\\ud800":1'), ""),
    "a name with an escape sequence twice": (entry(more=',"\\u001b[31m":1,"\\u001b[31m":2'), "\\x1b[31m"),
    "a name of 1,000 characters twice": (entry(more=f',"{"n" * 1_000}":1,"{"n" * 1_000}":2'), "n" * 499 + "…"),
    "not UTF-8": (entry(more=',"more":"?"').replace(b"?", b"\xff"), "more"),
}

IN_TYPES_THAT_NAME_THEIR_FIELDS = {
    "key a number": (entry(key="1"), "key"),
    "id a number": (entry(id="1"), "id"),
}


@pytest.mark.parametrize("payload", PAYLOADS, ids=name_of)
@pytest.mark.parametrize(("value", "field"), IN_EVERY_TYPE.values(), ids=IN_EVERY_TYPE)
def test_it_is_malformed_and_the_reason_names_the_field(payload: Any, value: bytes | None, field: str) -> None:
    found = reason(codec_for(payload), value)
    if field:
        assert found.startswith(f"{field}:") or found == field, found


@pytest.mark.parametrize("payload", TYPED, ids=name_of)
@pytest.mark.parametrize(
    ("value", "field"), IN_TYPES_THAT_NAME_THEIR_FIELDS.values(), ids=IN_TYPES_THAT_NAME_THEIR_FIELDS
)
def test_a_wrong_type_is_malformed_where_the_payload_says_so(payload: Any, value: bytes, field: str) -> None:
    assert reason(codec_for(payload), value).startswith(f"{field}:")


@pytest.mark.parametrize("payload", PAYLOADS, ids=name_of)
def test_10_000_objects_deep_is_malformed(payload: Any) -> None:
    assert ":" in reason(codec_for(payload), b'{"key":' * DEEP + b"1" + b"}" * DEEP)
    assert ":" in reason(codec_for(payload), b"[" * DEEP + b"]" * DEEP)


@pytest.mark.parametrize("payload", PAYLOADS, ids=name_of)
@pytest.mark.parametrize(
    ("value", "key", "version", "event_id"),
    [
        pytest.param(entry(), "a", 1, "i", id="plain"),
        pytest.param(b' {\n"id" :"i",\t"version": 1 ,\r"key":"a"} ', "a", 1, "i", id="white space, another order"),
        pytest.param(entry(version=str(MAX_VERSION)), "a", MAX_VERSION, "i", id="the highest version"),
        pytest.param(entry(key='"\\u00fc \\"\\\\"'), 'ü "\\', 1, "i", id="escapes"),
        pytest.param(entry(key='"\\ud83d\\ude00"'), "😀", 1, "i", id="a whole surrogate pair"),
        pytest.param(entry(key='"' + "é" * 512 + '"'), "é" * 512, 1, "i", id="the longest key"),
        pytest.param(entry(id='"' + "x" * 1_024 + '"'), "a", 1, "x" * 1_024, id="the longest id"),
        pytest.param(entry(more=',"other":{"key":"b","x":{"key":"c"}}'), "a", 1, "i", id="names again, elsewhere"),
        pytest.param(entry(more=',"amount":1e-400'), "a", 1, "i", id="a very small number"),
        pytest.param(entry(more=',"other":"' + "x" * 1_000_000 + '"'), "a", 1, "i", id="nearly 1 MiB"),
    ],
)
def test_what_is_unusual_and_right_is_read(payload: Any, value: bytes, key: str, version: int, event_id: str) -> None:
    found = read(codec_for(payload), value)
    assert isinstance(found, Event), found
    assert (found.key, found.version, found.id) == (key, version, event_id)


def test_one_bad_record_does_not_touch_its_neighbours() -> None:
    values = [entry(version="1"), b"bad", entry(version="2"), None, entry(version="3")]
    records = [Record(HOME, offset, None, value) for offset, value in enumerate(values)]
    events, malformed = codec_for(Entry).read(Slice.of(HOME, records))
    assert [(event.version, event.record.offset) for event in events] == [(1, 0), (2, 2), (3, 4)]
    assert [one.record.offset for one in malformed] == [1, 3]


@pytest.mark.parametrize("payload", PAYLOADS, ids=name_of)
def test_nothing_bad_is_taken_for_right_between_two_that_are(payload: Any) -> None:
    """Most of what makes a record right is looked at for many together."""
    codec = codec_for(payload)
    for what, (value, _) in IN_EVERY_TYPE.items():
        records = [Record(HOME, offset, None, one) for offset, one in enumerate([entry(), value, entry()])]
        events, malformed = codec.read(Slice.of(HOME, records))
        assert ([one.index for one in events], [one.index for one in malformed]) == ([0, 2], [1]), what


@pytest.mark.parametrize("value", [entry(), entry(key='"\\u0061"')], ids=["plain", "with an escape"])
def test_the_limit_on_events_is_in_bytes_and_exact(value: bytes) -> None:
    size = len(value)
    assert isinstance(read(codec_for(Entry, limits=inorder.Limits(event_bytes=size)), value), Event)
    tight = codec_for(Entry, limits=inorder.Limits(event_bytes=size - 1))
    assert reason(tight, value) == f"value: {size} bytes, of {size - 1} allowed"
    assert reason(tight, None) == "value: null"


def test_some_places_of_a_slice_are_read_as_they_are_with_the_whole() -> None:
    values = [entry(version="1"), b"bad", entry(version="2"), entry(version="3"), None, entry(version="4")]
    piece = Slice.of(HOME, [Record(HOME, offset, None, value) for offset, value in enumerate(values, 40)])
    codec = codec_for(Entry)
    events, malformed = codec.read(piece)
    for start in range(len(piece)):
        for stop in range(start + 1, len(piece) + 3):
            places = range(start, stop)
            some, bad = codec.read(piece, start, stop)
            assert some == [event for event in events if event.index in places]
            assert bad == [one for one in malformed if one.index in places]
            assert all(event.slice is piece for event in some)
