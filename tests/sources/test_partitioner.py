"""Keys go where Kafka's Java clients would send them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inorder.core.partitioner import murmur2, partition_for


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_kafkas_own_test(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed


def test_a_negative_hash_loses_its_sign_bit_and_not_its_sign() -> None:
    assert partition_for(b"foobar", 1000) == (-790332482 & 0x7FFFFFFF) % 1000 != 790332482 % 1000


@given(st.binary(max_size=40), st.integers(1, 200))
def test_a_key_has_one_partition(key: bytes, partitions: int) -> None:
    assert 0 <= partition_for(key, partitions) < partitions
    assert partition_for(key, 1) == 0
