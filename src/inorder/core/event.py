"""What arrives: records as the broker keeps them, and the events that a codec reads out of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, final
from zlib import crc32

import msgspec
from mypy_extensions import mypyc_attr

MAX_VERSION = 2**63 - 1
"""Highest version: the largest signed 64-bit integer, which every store can keep."""


class Partition(NamedTuple):
    """One ordered log of a source. For a queue without partitions the number is 0."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"


class Record(msgspec.Struct, frozen=True):
    """One delivery, whole, as the broker gave it."""

    partition: Partition
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int | None = None


class Lease(Protocol):
    """How long a queue keeps a delivery from everybody else. Once over, it is over for good."""

    def holds(self) -> bool:
        """Whether the delivery is still ours alone: only then may work on it begin."""


class Slice:
    """Consecutive deliveries of one partition, in the broker's order.

    Values are at hand for every record; the rest of a record is put together only when somebody asks, because
    a healthy stream never does. `records` is either the records themselves or the broker's own messages with
    `to_record` to translate one of them. `next_offset` is what to commit once all of the slice is settled. Of a queue,
    where nothing is below anything else, a slice is one message under a `lease`, and `next_offset` is the number that
    the source knows this delivery by.
    """

    __slots__ = ("_offset_of", "_to_record", "lease", "next_offset", "partition", "records", "values")

    def __init__(
        self,
        partition: Partition,
        records: Sequence[Any],
        values: Sequence[bytes | None],
        next_offset: int,
        to_record: Callable[[Any], Record] | None = None,
        offset_of: Callable[[Any], int] | None = None,
        lease: Lease | None = None,
    ) -> None:
        self.partition = partition
        self.records = records
        self.values = values
        self.next_offset = next_offset
        self._to_record = to_record
        self._offset_of = offset_of
        self.lease = lease

    @classmethod
    def of(cls, partition: Partition, records: Sequence[Record]) -> Slice:
        """A slice of finished records; at least one."""
        return cls(partition, records, [record.value for record in records], records[-1].offset + 1)

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, stop: int) -> Slice:
        """The deliveries from one place up to another, as a slice of their own."""
        whole = stop == len(self)
        if whole and not start:
            return self
        end = self.next_offset if whole else self.offset(stop - 1) + 1
        records, values = self.records[start:stop], self.values[start:stop]
        return Slice(self.partition, records, values, end, self._to_record, self._offset_of, self.lease)

    def record(self, index: int) -> Record:
        """The whole record at `index` of this slice."""
        found = self.records[index]
        return found if self._to_record is None else self._to_record(found)

    def offset(self, index: int) -> int:
        """The offset of the record at `index` of this slice."""
        found = self.records[index]
        return found.offset if self._offset_of is None else self._offset_of(found)


@final
@mypyc_attr(acyclic=True)
class Event:
    """One event of one entity, read from `slice` at `index`.

    `fingerprint` is that of the id. `receiver` is set when the event comes back from the store, where it waited: the
    tally that counted its delivery, and the outcome it was counted as. A final decision gives its place there up.
    """

    __slots__ = ("fingerprint", "id", "index", "key", "payload", "receiver", "slice", "version")

    def __init__(
        self,
        key: str,
        version: int,
        id: str,
        fingerprint: int,
        payload: Any,
        slice: Slice,
        index: int,
        receiver: tuple[int, str] | None = None,
    ) -> None:
        self.key = key
        self.version = version
        self.id = id
        self.fingerprint = fingerprint
        self.payload = payload
        self.slice = slice
        self.index = index
        self.receiver = receiver

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and self._all() == other._all()

    __hash__ = None  # type: ignore[assignment]  # its payload may change

    def __repr__(self) -> str:
        return f"Event(key={self.key!r}, version={self.version}, id={self.id!r})"

    def _all(self) -> tuple[Any, ...]:
        place = (self.slice, self.index, self.receiver)
        return (self.key, self.version, self.id, self.fingerprint, self.payload, *place)

    @property
    def record(self) -> Record:
        """The delivery this event was read from."""
        return self.slice.record(self.index)


class Malformed(msgspec.Struct):
    """A delivery that no event could be read from. `reason` names the field and what is wrong with it.

    `key` is there where at least that could be read, for whoever looks for the letter; nothing is decided on it.
    """

    reason: str
    slice: Slice
    index: int
    key: str | None = None

    @property
    def record(self) -> Record:
        """The delivery, whole."""
        return self.slice.record(self.index)


def fingerprint(event_id: str) -> int:
    """CRC-32 of an event id. Never 0, which stands for "no event" (a version that an operator skipped)."""
    return crc32(event_id.encode()) or 1
