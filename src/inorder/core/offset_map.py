"""What is settled beyond a committed offset, as a short text that a broker keeps with the commit.

A worker that restarts behind one slow offset reads it and leaves out what was done already. It is about cost alone:
without it, or with a part of it, that work is done again and the guard calls it duplicate. So a text that is not ours,
damaged, or of another offset says nothing, and of more runs than there is room for the longest are kept.

    i1:BASE64    the bytes of: offset, then for each run how far it lies from what is before it and how long it is,
                 then the CRC-32 of all that; numbers as LEB128
"""

from __future__ import annotations

import binascii
import heapq
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterator, Sequence

from inorder.core.event import Slice

MOST_RUNS = 128
MOST_CHARACTERS = 3_200
"""No text is longer: MOST_RUNS of the largest offsets fit. A broker takes 4,096 unless it is told otherwise."""
MAX_OFFSET = 2**63 - 1

_MARK = "i1:"
_CRC_BYTES = 4
_LOW, _MORE = 0x7F, 0x80

Run = tuple[int, int]
"""Offsets from the first up to, and without, the second."""


def encode(offset: int, runs: Sequence[Run]) -> str:
    """The text for what is settled beyond `offset`; "" if there is nothing. Runs are sorted and do not touch."""
    if not runs:
        return ""
    if len(runs) > MOST_RUNS:
        runs = sorted(heapq.nlargest(MOST_RUNS, runs, key=lambda run: run[1] - run[0]))
    numbers, at = [offset], offset
    for start, end in runs:
        numbers += (start - at, end - start)
        at = end
    body = b"".join(map(_packed, numbers))
    return _MARK + b64encode(body + binascii.crc32(body).to_bytes(_CRC_BYTES)).decode()


def decode(offset: int, text: str) -> list[Run]:
    """The runs that `encode` wrote for this offset; none for any other text."""
    if not text.startswith(_MARK) or len(text) > MOST_CHARACTERS:
        return []
    try:
        whole = b64decode(text.removeprefix(_MARK), validate=True)
    except ValueError:
        return []
    body, crc = whole[:-_CRC_BYTES], whole[-_CRC_BYTES:]
    if binascii.crc32(body).to_bytes(_CRC_BYTES) != crc:
        return []
    try:
        numbers = list(_unpacked(body))
    except ValueError:
        return []
    if len(numbers) % 2 != 1 or numbers[0] != offset:
        return []
    runs: list[Run] = []
    at = offset
    for distance, length in zip(numbers[1::2], numbers[2::2], strict=True):
        start, at = at + distance, at + distance + length
        if not distance or not length or at > MAX_OFFSET:
            return []
        runs.append((start, at))
    return runs


class Beyond:
    """What earlier owners settled beyond the offset that a partition begins at. True while it has more to say."""

    def __init__(self, offset: int, runs: Sequence[Run]) -> None:
        self._offset = offset
        self._runs = deque(runs)

    def __bool__(self) -> bool:
        return bool(self._runs)

    def undone(self, piece: Slice) -> list[tuple[int, int]]:
        """What is still to be done of a slice: from one place in it up to another. Asked in the broker's order."""
        runs, count = self._runs, len(piece)
        if piece.offset(0) < self._offset:
            # Not where the note was written: the topic was made anew.
            runs.clear()
        if not runs or piece.next_offset <= runs[0][0]:
            return [(0, count)]
        found: list[tuple[int, int]] = []
        began: int | None = None
        for place in range(count):
            offset = piece.offset(place)
            while runs and runs[0][1] <= offset:
                runs.popleft()
            done = bool(runs) and runs[0][0] <= offset
            if done and began is not None:
                found.append((began, place))
                began = None
            elif not done and began is None:
                began = place
        if began is not None:
            found.append((began, count))
        while runs and runs[0][1] <= piece.next_offset:
            runs.popleft()
        return found


def _packed(number: int) -> bytes:
    found = bytearray()
    while number > _LOW:
        found.append(number & _LOW | _MORE)
        number >>= 7
    found.append(number)
    return bytes(found)


def _unpacked(body: bytes) -> Iterator[int]:
    number = bits = 0
    for byte in body:
        number |= (byte & _LOW) << bits
        bits += 7
        if byte < _MORE:
            yield number
            number = bits = 0
    if bits:
        raise ValueError("cut short")
