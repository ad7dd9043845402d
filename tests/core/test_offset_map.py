"""The note of a commit says exactly what is settled beyond it, is short, and no other text says anything."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from itertools import accumulate, chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inorder.core.event import Partition, Record, Slice
from inorder.core.offset_map import MAX_OFFSET, MOST_CHARACTERS, MOST_RUNS, Beyond, Run, decode, encode
from tests.core.profiles import examples

HOME = Partition("topic", 0)
METADATA_MAX_BYTES = 4096
"""Kafka's default of offset.metadata.max.bytes."""

steps = st.one_of(st.integers(1, 5), st.integers(1, 2**40))
maps = st.tuples(st.integers(0, 2**45), st.lists(st.tuples(steps, steps), max_size=300))


def runs_of(offset: int, distances: list[tuple[int, int]]) -> list[Run]:
    """Runs of these distances and lengths, from an offset on."""
    ends = list(accumulate(chain([offset], *distances)))[1:]
    return list(zip(ends[::2], ends[1::2], strict=True))


@given(maps)
@examples(200)
def test_what_is_written_is_read(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    offset, distances = drawn
    runs = runs_of(offset, distances)
    found = decode(offset, encode(offset, runs))
    if len(runs) <= MOST_RUNS:
        assert found == runs
        return
    assert len(found) == MOST_RUNS
    assert set(found) <= set(runs)
    assert found == sorted(found)
    left_out = max(end - start for start, end in set(runs) - set(found))
    assert left_out <= min(end - start for start, end in found), "the longest are kept"


@given(maps, st.integers(-3, 3).filter(bool))
@examples(50)
def test_it_is_of_one_offset(drawn: tuple[int, list[tuple[int, int]]], by: int) -> None:
    offset, distances = drawn
    assert decode(offset + by, encode(offset, runs_of(offset, distances))) == []


def test_it_is_short() -> None:
    step = MAX_OFFSET // (2 * MOST_RUNS + 2)
    worst = [(start, start + step) for start in range(step, MAX_OFFSET - 2 * step, 2 * step)]
    assert len(worst) >= MOST_RUNS
    text = encode(0, worst)
    assert len(decode(0, text)) == MOST_RUNS
    assert len(text) <= MOST_CHARACTERS < METADATA_MAX_BYTES
    assert len(encode(10_000_000, [(10_000_001, 20_000_000)])) < 30
    assert len(encode(10**6, [(10**6 + 3 * n + 1, 10**6 + 3 * n + 3) for n in range(MOST_RUNS)])) < 400


@given(st.one_of(st.text(), st.text().map("i1:".__add__), st.binary().map(lambda raw: "i1:" + b64encode(raw).decode())))
@examples(300)
def test_any_other_text_says_nothing(text: str) -> None:
    assert decode(7, text) == []


@given(maps.filter(lambda drawn: 0 < len(drawn[1]) <= MOST_RUNS), st.data())
@examples(200)
def test_a_damaged_one_says_nothing(drawn: tuple[int, list[tuple[int, int]]], data: st.DataObject) -> None:
    offset, distances = drawn
    text = encode(offset, runs_of(offset, distances))
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.characters()) + text[at + data.draw(st.integers(0, 2)) :]
    assert decode(offset, damaged) in ([], decode(offset, text)), "what is left of it, or what it was"
    assert decode(offset, text[:at]) == []


@given(st.lists(st.integers(0, 2**80), max_size=9), st.binary(max_size=3))
@examples(300)
def test_one_that_was_made_up_with_a_right_sum_names_nothing_that_cannot_be(numbers: list[int], rest: bytes) -> None:
    """Whoever may commit for the group can write anything. It must stay within offsets, and in order."""
    flat = list(chain.from_iterable(decode(7, made_up([7, *numbers], rest))))
    assert flat == sorted(set(flat))
    assert all(7 < offset <= MAX_OFFSET for offset in flat)


@pytest.mark.parametrize(
    ("numbers", "runs"),
    [
        ([7, 5, 2], [(12, 14)]),
        ([7, 5, 2, 1, 1], [(12, 14), (15, 16)]),
        ([7, 0, 2], []),
        ([7, 5, 0], []),
        ([7, 5, 2, 0, 1], []),
        ([7, 1, 2**63 - 9], [(8, 2**63 - 1)]),
        ([7, 1, 2**63 - 8], []),
        ([7, 5], []),
        ([8, 5, 2], []),
    ],
)
def test_runs_are_apart_and_end_within_offsets(numbers: list[int], runs: list[Run]) -> None:
    assert decode(7, made_up(numbers)) == runs
    assert decode(7, made_up(numbers).removeprefix("i1:")) == [], "it has no mark"
    assert decode(7, made_up(numbers, b"\x85")) == [], "its last number is cut short"
    assert decode(7, made_up(numbers).replace(":", ":!")) == [], "that is no Base64"


def test_an_older_worker_wrote_the_same() -> None:
    assert encode(300, [(310, 320), (447, 575)]) == "i1:rAIKCn+AAWaLuBo="


def test_of_more_than_there_is_room_for_the_longest_are_kept() -> None:
    longest = [(10 * n, 10 * n + 5) for n in range(2, MOST_RUNS + 2)]
    others = [(10**6 + 10 * n, 10**6 + 10 * n + 4) for n in range(MOST_RUNS)]
    assert decode(1, encode(1, [(5, 9), *longest, *others])) == longest


def made_up(numbers: list[int], rest: bytes = b"") -> str:
    """A text with a right sum."""
    body = b"".join(map(leb128, numbers)) + rest
    return "i1:" + b64encode(body + binascii.crc32(body).to_bytes(4)).decode()


def leb128(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number % 128 + 128)
        number //= 128
    return bytes([*found, number])


def test_one_that_is_too_long_is_not_read() -> None:
    text = made_up([7, *[1] * 2 * 4000])
    assert decode(7, text) == []
    assert len(b64decode(text[3:])) > MOST_CHARACTERS


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.sets(st.integers(0, 39)), st.integers(1, 12))
@examples(300)
def test_of_each_slice_what_is_not_in_the_map_is_left(done: list[bool], missing: set[int], most: int) -> None:
    """Offsets from 100 on, some of which the broker does not have, in slices of `most`."""
    offset = 100
    places = [offset + at for at, one in enumerate(done) if one and at]
    runs = [(at, at + 1) for at in places]
    exist = [offset + at for at in range(len(done)) if at not in missing]
    beyond = Beyond(offset, runs)
    left: list[int] = []
    for at in range(0, len(exist), most):
        piece = Slice.of(HOME, [Record(HOME, n, None, None) for n in exist[at : at + most]])
        for start, stop in beyond.undone(piece):
            part = piece.part(start, stop)
            offsets = [part.offset(place) for place in range(len(part))]
            assert part.next_offset == offsets[-1] + 1
            left += offsets
    assert left == [n for n in exist if n not in places]


def test_it_has_nothing_more_to_say_once_its_last_run_is_passed() -> None:
    beyond = Beyond(100, [(101, 103), (105, 106)])
    for first, stop, left, more in ((100, 103, [(0, 1)], True), (103, 105, [(0, 2)], True), (105, 106, [], False)):
        piece = Slice.of(HOME, [Record(HOME, n, None, None) for n in range(first, stop)])
        assert (beyond.undone(piece), bool(beyond)) == (left, more)


def test_a_partition_that_begins_before_the_note_is_done_from_its_beginning() -> None:
    """The topic was made anew: its offsets name other records."""
    beyond = Beyond(100, [(110, 120)])
    for first in (0, 110):
        piece = Slice.of(HOME, [Record(HOME, n, None, None) for n in range(first, first + 10)])
        assert beyond.undone(piece) == [(0, 10)]
    assert not beyond
