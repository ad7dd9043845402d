"""Translates between the core's values and the columns of any database. Never runs a statement."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

import msgspec

from inorder.core.entity import Entity
from inorder.core.event import Partition, Record
from inorder.core.order import Order, Outcome
from inorder.core.ranges import Ranges
from inorder.core.rows import EntityRow, HeldRow, Letter, Reason
from inorder.core.waiting import NEVER, Wait, Waiting

Row = Sequence[Any]

_decode_pairs = msgspec.json.Decoder(list[tuple[int, int]]).decode
_decode_partitions = msgspec.json.Decoder(list[Partition]).decode
_decode_headers = msgspec.json.Decoder(tuple[tuple[str, bytes], ...]).decode


class StreamRow(msgspec.Struct, frozen=True):
    """One stream of a store, as it was declared."""

    name: str
    order: Order
    baseline: int


class LetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter of a store, and what has been done about it. `status` is open, resolved or skipped."""

    id: int
    letter: Letter
    tally: int
    status: str
    note: str | None
    resolved_at: float | None
    code_version: str | None


class OpenRow(msgspec.Struct, frozen=True):
    """The open dead letters of one reason. `keys` counts those whose key could be read."""

    reason: str
    letters: int
    keys: int
    first_at: float


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a worker, as of its last sign of life."""

    tally: int
    worker: str
    runs_s: float
    silent_s: float
    partitions: list[Partition]
    events_per_s: float


def plain(text: str) -> str:
    """Text that every database takes: NUL and halves of surrogate pairs, which a message may quote, are written out."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same for every text among these."""
    return {name: plain(value) if isinstance(value, str) else value for name, value in values.items()}


def to_entity(row: Row) -> Entity:
    """From: key, version, revision, ranges, recent, state, waits."""
    recent = array("I")
    recent.frombytes(row[4])
    ranges = Ranges(_decode_pairs(row[3])) if row[3] else None
    return Entity(row[0], row[1], row[2], ranges, recent, row[5])


def to_waiting(row: Row) -> Waiting:
    """From: why, version, since, due_at, attempts, reason, missing, home topic, home partition."""
    why, version, since, due_at, attempts, reason, missing, topic, number = row
    return Waiting(
        Wait(why),
        version,
        since,
        NEVER if due_at is None else due_at,
        attempts,
        reason,
        bool(missing),
        None if topic is None else Partition(topic, number),
    )


def from_waiting(key: str, waiting: Waiting) -> tuple[Any, ...]:
    """To: key, then the columns `to_waiting` reads."""
    topic, number = waiting.home if waiting.home is not None else (None, None)
    due_at = None if waiting.due_at == NEVER else waiting.due_at
    return (
        key,
        waiting.why.value,
        waiting.version,
        waiting.since,
        due_at,
        waiting.attempts,
        plain(waiting.reason),
        waiting.missing,
        topic,
        number,
    )


def to_record(row: Row) -> Record:
    """From: topic, partition, offset, raw key, raw value, headers, timestamp."""
    headers = _decode_headers(row[5]) if row[5] else ()
    return Record(Partition(row[0], row[1]), row[2], row[3], row[4], headers, row[6])


def from_record(record: Record) -> tuple[Any, ...]:
    """To the columns `to_record` reads."""
    headers = msgspec.json.encode(record.headers) if record.headers else None
    return (*record.partition, record.offset, record.key, record.value, headers, record.timestamp_ms)


def to_held(key: str, row: Row) -> HeldRow:
    """From: version, event id, fingerprint, outcome, receiver, then a record."""
    return HeldRow(key, row[0], row[1], row[2], Outcome(row[3]), row[4], to_record(row[5:]))


def from_held(row: HeldRow) -> tuple[Any, ...]:
    """To: key, then the columns `to_held` reads."""
    return (
        row.key,
        row.version,
        row.event_id,
        row.fingerprint,
        row.outcome.value,
        row.receiver,
        *from_record(row.record),
    )


def to_worker(row: Row) -> WorkerRow:
    """From: tally, worker, runs, silent, partitions, events per second."""
    tally, worker, runs_s, silent_s, partitions, pace = row
    return WorkerRow(
        tally=tally,
        worker=worker,
        runs_s=runs_s,
        silent_s=max(0.0, silent_s),
        partitions=_decode_partitions(partitions or "[]"),
        events_per_s=pace or 0.0,
    )


def to_letter(row: Row) -> LetterRow:
    """From: id, tally, status, note, resolved_at, code version, reason, detail, key, version, event id,
    error, attempts, first_at, last_at, then a record.
    """
    return LetterRow(
        id=row[0],
        tally=row[1],
        status=row[2],
        note=row[3],
        resolved_at=row[4],
        code_version=row[5],
        letter=Letter(
            reason=Reason(row[6]),
            detail=row[7],
            key=row[8],
            version=row[9],
            event_id=row[10],
            error=row[11],
            attempts=row[12],
            first_at=row[13],
            last_at=row[14],
            record=to_record(row[15:]),
        ),
    )


def from_letter(letter: Letter, tally: int) -> tuple[Any, ...]:
    """To: tally, print, reason, detail, key, version, event id, error, attempts, first_at, last_at, then a
    record, then the code version.

    The print tells two records at one position apart (a topic that was deleted and made again starts its
    offsets anew), so that the second one gets its own letter.
    """
    record = letter.record
    return (
        tally if letter.tally is None else letter.tally,
        crc32(record.value or b"", crc32(record.key or b"")),
        letter.reason.value,
        plain(letter.detail),
        None if letter.key is None else plain(letter.key),
        letter.version,
        None if letter.event_id is None else plain(letter.event_id),
        None if letter.error is None else plain(letter.error),
        letter.attempts,
        letter.first_at,
        letter.last_at,
        *from_record(record),
        letter.code_version,
    )


def outdated(rows: Iterable[EntityRow], found: dict[str, int]) -> list[str]:
    """The keys of `rows` whose revision, as `found`, is not the expected one; if there are none, all keys."""
    wanted = list(rows)
    return [row.key for row in wanted if found.get(row.key, 0) != row.expected] or [row.key for row in wanted]
