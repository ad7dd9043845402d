"""The embedded broker seen from the producing side: topics, appends, growth, and where everybody stands.

It never takes part in a group: that is `inorder.sources.embedded_group`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from inorder.core.event import Partition
from inorder.core.partitioner import partition_for
from inorder.errors import UsageError
from inorder.sources.embedded_file import EmbeddedFile

OFFSET_BITS = 40
MAX_PARTITIONS = 10_000
encode_headers = msgspec.msgpack.Encoder().encode
decode_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode


class Message(NamedTuple):
    """One record to append. Its key chooses the partition, as in Kafka; without a key they take turns."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int | None = None
    partition: int | None = None


class EmbeddedBroker:
    """A broker in the SQLite file `path`, which is created if it is not there.

    What `append_many` returned from is on the disk (synchronous=FULL): an acknowledged record is never lost.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = EmbeddedFile(path, create=True, synchronous="FULL")
        self._turn = 0

    def create_topic(self, topic: str, partitions: int) -> None:
        """Create `topic`; it must not be there yet."""
        if not topic or "/" in topic:
            raise UsageError(f"{topic!r} is no name for a topic: it needs a character, and no slash")
        _check_count(topic, partitions)
        with self._file.write():
            if self._file.value("find_topic", topic) is not None:
                raise UsageError(f"topic {topic!r} is already in {self._file.path}")
            number = self._file.execute("add_topic", topic).lastrowid
            self._file.execute_many("add_log", [(number, log) for log in range(partitions)])

    def grow(self, topic: str, partitions: int) -> None:
        """Let `topic` have `partitions` from now on. Keys may move, as in Kafka; records stay."""
        _check_count(topic, partitions)
        with self._file.write():
            number = find_topic(self._file, topic)
            have = len(self._file.rows("logs", number))
            if partitions < have:
                raise UsageError(f"topic {topic!r} has {have} partitions and cannot shrink to {partitions}")
            self._file.execute_many("add_log", [(number, log) for log in range(have, partitions)])
            self._file.execute("bump_all", number)

    def append_many(self, topic: str, messages: Sequence[Message]) -> list[tuple[int, int]]:
        """Append all in one transaction; returns the partition and offset of each."""
        now_ms = int(time.time() * 1000)
        with self._file.write():
            logs = self._file.rows("logs", find_topic(self._file, topic))
            ends = [end for _, _, end in logs]
            bases = [log << OFFSET_BITS for log, _, _ in logs]
            given: list[tuple[int, int]] = []
            rows: list[tuple[Any, ...]] = []
            for key, value, headers, timestamp_ms, partition in messages:
                number = self._choose(topic, key, partition, len(logs))
                offset = ends[number]
                ends[number] = offset + 1
                given.append((number, offset))
                packed = encode_headers(headers) if headers else None
                at_ms = now_ms if timestamp_ms is None else timestamp_ms
                rows.append((bases[number] + offset, key, value, packed, at_ms))
            self._file.execute_many("append", rows)
            grown = [(end, log) for end, (log, _, before) in zip(ends, logs, strict=True) if end > before]
            self._file.execute_many("advance", grown)
        return given

    def _choose(self, topic: str, key: bytes | None, partition: int | None, partitions: int) -> int:
        if partition is not None:
            if not 0 <= partition < partitions:
                raise UsageError(f"topic {topic!r} has no partition {partition}: it has 0 to {partitions - 1}")
            return partition
        if key is not None:
            return partition_for(key, partitions)
        self._turn += 1
        return self._turn % partitions

    def topics(self) -> list[str]:
        """The names of all topics."""
        return [name for (name,) in self._file.rows("list_topics")]

    def ends(self, topic: str) -> dict[Partition, int]:
        """The offset that the next record of each partition will have."""
        number = find_topic(self._file, topic)
        return {Partition(topic, log): end for _, log, end in self._file.rows("logs", number)}

    def committed(self, topic: str, group: str) -> dict[Partition, int]:
        """The offset below which `group` has settled everything, for each partition."""
        number = find_topic(self._file, topic)
        found = self._file.value("find_group", number, group)
        return {Partition(topic, log): at for log, at in self._file.rows("committed", found, number)}

    def close(self) -> None:
        """Close the file. Closing twice is harmless."""
        self._file.close()


def find_topic(file: EmbeddedFile, topic: str) -> int:
    """The number of `topic`, or a `UsageError` that says which topics there are."""
    number: int | None = file.value("find_topic", topic)
    if number is None:
        names = ", ".join(name for (name,) in file.rows("list_topics")) or "none"
        raise UsageError(
            f"no topic {topic!r} in {file.path} (it has: {names}): name one of these, or produce to it first"
        )
    return number


def _check_count(topic: str, partitions: int) -> None:
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise UsageError(f"topic {topic!r} cannot have {partitions} partitions: 1 to {MAX_PARTITIONS}")
