"""Dead letters as Spring for Apache Kafka writes them: the record as it was, and headers that tell of its failure.

    kafka_dlt-original-topic            text
    kafka_dlt-original-partition        4 bytes, big-endian
    kafka_dlt-original-offset           8 bytes, big-endian
    kafka_dlt-original-timestamp        8 bytes, big-endian
    kafka_dlt-original-consumer-group   text: who gave up
    kafka_dlt-exception-fqcn, -cause-fqcn, -message, -stacktrace

A record that went through several dead-letter topics may have headers twice: the first says where it came from, the
last what happened to it last.
"""

from __future__ import annotations

from struct import error as StructError
from struct import pack, unpack

import msgspec

from inorder.core.event import Partition, Record
from inorder.core.rows import Letter
from inorder.core.words import one_line

PREFIX = "kafka_dlt-"
_TOPIC, _PARTITION = f"{PREFIX}original-topic", f"{PREFIX}original-partition"
_OFFSET, _TIMESTAMP = f"{PREFIX}original-offset", f"{PREFIX}original-timestamp"
_GROUP = f"{PREFIX}original-consumer-group"
_CAUSE, _EXCEPTION = f"{PREFIX}exception-cause-fqcn", f"{PREFIX}exception-fqcn"
_MESSAGE, _TRACE = f"{PREFIX}exception-message", f"{PREFIX}exception-stacktrace"
_GENERIC = "ListenerExecutionFailedException"
"""What Spring wraps every exception of a listener in. It says nothing."""


class Original(msgspec.Struct, frozen=True):
    """A dead letter of others: the delivery it was, and why it was given up on, as far as the headers tell."""

    record: Record
    group: str | None
    detail: str
    trace: str | None


def read(record: Record) -> Original:
    """What a record of a dead-letter topic was. Without Spring's headers, it counts as being itself."""
    first, last = dict(reversed(record.headers)), dict(record.headers)
    topic = _text(first.get(_TOPIC))
    number, offset = _number(first.get(_PARTITION), 4), _number(first.get(_OFFSET), 8)
    partition, at = record.partition, record.offset
    if topic and number is not None and offset is not None:
        partition, at = Partition(topic, number), offset
    timestamp = _number(first.get(_TIMESTAMP), 8)
    return Original(
        record=msgspec.structs.replace(
            record,
            partition=partition,
            offset=at,
            headers=tuple(pair for pair in record.headers if not pair[0].startswith(PREFIX)),
            timestamp_ms=record.timestamp_ms if timestamp is None else timestamp,
        ),
        group=_text(first.get(_GROUP)),
        detail=_detail(last),
        trace=_text(last.get(_TRACE)),
    )


def headers(letter: Letter, group: str) -> dict[str, bytes]:
    """What a copy of a letter says of itself, for those who read Spring's headers."""
    record = letter.record
    kind, _, message = letter.detail.partition(": ")
    found = {
        _TOPIC: record.partition.topic.encode(),
        _PARTITION: pack(">i", record.partition.number),
        _OFFSET: pack(">q", record.offset),
        _GROUP: group.encode(),
        _EXCEPTION: (kind if message else letter.reason.value).encode(),
        _MESSAGE: (message or letter.detail).encode("utf-8", "backslashreplace"),
    }
    if record.timestamp_ms is not None:
        found[_TIMESTAMP] = pack(">q", record.timestamp_ms)
    if letter.error is not None:
        found[_TRACE] = letter.error.encode("utf-8", "backslashreplace")
    return found


def _detail(last: dict[str, bytes]) -> str:
    kinds = [_text(last.get(_CAUSE)), _text(last.get(_EXCEPTION))]
    named = [kind.rpartition(".")[2] for kind in kinds if kind]
    kind = next((one for one in named if one != _GENERIC), named[0] if named else "unknown")
    message = _text(last.get(_MESSAGE))
    return one_line(f"{kind}: {message}" if message else f"{kind}: given up on by another consumer")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _number(value: bytes | None, size: int) -> int | None:
    """Spring writes numbers in binary; other programs that imitate it, in digits, which no real one looks like."""
    if value is None:
        return None
    try:
        # As many digits as a binary number has bytes are digits too.
        found: int = int(value[:20]) if value.isdigit() else unpack(">i" if size == 4 else ">q", value)[0]  # noqa: PLR2004
    except StructError:
        return None
    return found if 0 <= found < 1 << (8 * size - 1) else None
