"""One message of librdkafka as a record. It never changes what the broker gave: keys and values are raw bytes.

Headers are left out where one has a name that is not UTF-8: Python's client of librdkafka cannot read any of them then.
"""

from __future__ import annotations

import logging
from operator import methodcaller

from confluent_kafka import Message

from inorder.core.event import Partition, Record

_log = logging.getLogger("inorder.source")
_headers_of = methodcaller("headers")
"""It returns something even where it fails. Called like this that is a SystemError at all times; called directly it is
none once the interpreter has made the call fast, and the error comes up anywhere later."""


def offset_of(message: Message) -> int:
    """The message's offset."""
    offset = message.offset()
    assert offset is not None
    return offset


def record_of(message: Message) -> Record:
    """The whole message."""
    topic, number = message.topic(), message.partition()
    assert topic is not None
    assert number is not None
    kind, timestamp_ms = message.timestamp()
    return Record(
        partition=Partition(topic, number),
        offset=offset_of(message),
        key=message.key(),
        value=message.value(),
        headers=tuple((name, _bytes(value)) for name, value in _headers(message)),
        timestamp_ms=timestamp_ms if kind else None,
    )


def _headers(message: Message) -> list[tuple[str, str | bytes | None]]:
    try:
        found = _headers_of(message)
    except SystemError:
        message.set_headers([])  # what it would give next has holes, which the interpreter does not survive
        what = "its headers are left out: one has a name that is not UTF-8"
        _log.warning("%s/%s at %s: %s", message.topic(), message.partition(), message.offset(), what)
        return []
    return list(found.items()) if isinstance(found, dict) else list(found or ())


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
