"""One message of librdkafka as a record. It never changes what the broker gave: keys and values are raw bytes."""

from __future__ import annotations

from confluent_kafka import Message

from inorder.core.event import Partition, Record


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
    found = message.headers()
    return list(found.items()) if isinstance(found, dict) else list(found or ())


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
