"""Who put the records of a sample where they are: Java's partitioner, an earlier and smaller topic, or another one.

Pure. It guesses by recomputing the partition of every key, and says nothing it has not recomputed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple
from zlib import crc32

from inorder.core.partitioner import partition_for
from inorder.doctor.facts import Sampled

FEW = 3
"""So few records in other places can be explained by too much to name a cause."""


class Placement(NamedTuple):
    """How many keyed records of a sample are not where the topic's size now puts their keys, and why."""

    keyed: int
    elsewhere: int
    grown_from: int | None
    """The number of partitions that explains all of them, if one does."""
    partitioner: str | None
    """The other partitioner that explains the whole sample, if one does."""
    example: str


def consistent(key: bytes, partitions: int) -> int:
    """librdkafka's default: the remainder of the key's CRC-32."""
    return crc32(key) % partitions


def fnv1a(key: bytes, partitions: int) -> int:
    """librdkafka's `fnv1a`, and Sarama's default: the hash without its sign."""
    hashed = 0x811C9DC5
    for byte in key:
        hashed = (hashed ^ byte) * 0x01000193 & 0xFFFFFFFF
    signed = hashed - 0x1_0000_0000 if hashed & 0x8000_0000 else hashed
    return abs(signed) % partitions


OTHERS: dict[str, Callable[[bytes, int], int]] = {
    "consistent_random (CRC-32), librdkafka's default": consistent,
    "fnv1a": fnv1a,
}


def judge(records: Sequence[Sampled], partitions: int) -> Placement:
    """Explain the places of a sample's keys."""
    keyed = [record for record in records if record.key]
    elsewhere = [record for record in keyed if partition_for(record.key, partitions) != record.partition]
    if not elsewhere:
        return Placement(len(keyed), 0, None, None, "")
    first = elsewhere[0]
    key = first.key.decode(errors="replace")
    example = (
        f"key {key} is in partition {first.partition}, and belongs in {partition_for(first.key, partitions)} of "
        f"{partitions}"
    )
    other = next((name for name, place in OTHERS.items() if _explains(place, keyed, partitions)), None)
    sizes = [n for n in range(1, partitions) if _explains(partition_for, elsewhere, n)]
    grown = sizes[-1] if sizes and other is None and (len(elsewhere) >= FEW or len(sizes) == 1) else None
    return Placement(len(keyed), len(elsewhere), grown, other, example)


def _explains(place: Callable[[bytes, int], int], records: Sequence[Sampled], partitions: int) -> bool:
    return all(place(record.key, partitions) == record.partition for record in records)
