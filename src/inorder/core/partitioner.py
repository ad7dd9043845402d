"""Which partition a key goes to: the same one that Kafka's Java clients would choose.

It never looks at anything but the key's bytes and the number of partitions, so every producer agrees.
"""

from __future__ import annotations

from functools import lru_cache

_MULTIPLIER = 0x5BD1E995
_SEED = 0x9747B28C
_MASK = 0xFFFFFFFF


def partition_for(key: bytes, partitions: int) -> int:
    """The partition, from 0, that `key` belongs to while there are `partitions` of them."""
    return (_hash(key) & 0x7FFFFFFF) % partitions


def murmur2(key: bytes) -> int:
    """The 32-bit hash of Kafka's `Utils.murmur2`, signed as Java has it."""
    hashed = _hash(key)
    return hashed - 0x1_0000_0000 if hashed & 0x8000_0000 else hashed


@lru_cache(maxsize=65_536)
def _hash(key: bytes) -> int:
    length = len(key)
    whole = length & ~3
    hashed = _SEED ^ length
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * _MULTIPLIER & _MASK
        word = (word ^ word >> 24) * _MULTIPLIER & _MASK
        hashed = hashed * _MULTIPLIER & _MASK ^ word
    if length > whole:
        hashed = (hashed ^ int.from_bytes(key[whole:], "little")) * _MULTIPLIER & _MASK
    hashed = (hashed ^ hashed >> 13) * _MULTIPLIER & _MASK
    return hashed ^ hashed >> 15
