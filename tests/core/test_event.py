"""Slices give out their records one by one and in parts; a fingerprint is never that of no event."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import pytest

from inorder.core.event import MAX_VERSION, Event, Malformed, Partition, Record, Slice, fingerprint

HERE = Partition("topic", 3)


def test_the_highest_version_is_the_largest_that_every_store_keeps() -> None:
    assert MAX_VERSION == 9_223_372_036_854_775_807


def test_a_fingerprint_is_that_of_the_id_and_never_that_of_none() -> None:
    assert crc32(b"") == 0
    assert [fingerprint(one) for one in ("a", "b", "")] == [crc32(b"a"), crc32(b"b"), 1]


def plain() -> Slice:
    return Slice.of(HERE, [Record(HERE, offset, b"k", b"%d" % offset) for offset in (4, 5, 9)])


def translated() -> Slice:
    """Of the broker's own messages, here pairs, and with an end that lies beyond the last of them."""
    messages = [(4, b"4"), (5, b"5"), (9, b"9")]
    values = [value for _, value in messages]
    return Slice(
        HERE, messages, values, 12, lambda found: Record(HERE, found[0], b"k", found[1]), lambda found: int(found[0])
    )


@pytest.mark.parametrize(("whole", "end"), [(plain(), 10), (translated(), 12)], ids=["records", "messages"])
def test_a_slice_gives_out_records_and_parts_of_itself(whole: Slice, end: int) -> None:
    assert (len(whole), whole.next_offset) == (3, end)
    assert [whole.offset(place) for place in range(3)] == [4, 5, 9]
    assert whole.record(1) == Record(HERE, 5, b"k", b"5")
    assert whole.part(0, 3) is whole
    first, last, middle = whole.part(0, 2), whole.part(1, 3), whole.part(1, 2)
    assert [(list(part.values), part.next_offset) for part in (first, last, middle)] == [
        ([b"4", b"5"], 6),
        ([b"5", b"9"], end),
        ([b"5"], 6),
    ]
    assert (last.offset(1), last.record(1).value, last.partition) == (9, b"9", HERE)


def test_what_was_read_knows_its_delivery() -> None:
    assert Event("k", 1, "k1", 1, None, plain(), 2).record.offset == 9
    assert Malformed("no JSON", plain(), 0).record.offset == 4
    assert str(HERE) == "topic/3"


def test_events_are_equal_when_all_that_they_are_is() -> None:
    piece, receiver = Slice.of(HERE, [Record(HERE, 0, None, b"")]), (1, "held")
    values: dict[str, Any] = {
        "key": "a",
        "version": 1,
        "id": "a1",
        "fingerprint": 7,
        "payload": {},
        "slice": piece,
        "index": 0,
    }
    one = Event(**values, receiver=receiver)
    assert one == Event(**values, receiver=receiver)
    others: dict[str, Any] = {"key": "b", "version": 2, "id": "b1", "fingerprint": 8, "payload": {"n": 1}, "index": 1}
    others |= {"slice": Slice.of(HERE, [Record(HERE, 0, None, b"")]), "receiver": None}
    assert all(one != Event(**values | {"receiver": receiver} | {name: other}) for name, other in others.items())
    assert one != 1
    assert repr(one) == "Event(key='a', version=1, id='a1')"
