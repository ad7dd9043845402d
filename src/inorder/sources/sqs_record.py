"""One message of SQS as a record. It never changes the body, which is text, unless our own producer has wrapped it.

A message has no offset. In its place stands the sequence number, which grows within a message group: as much of it as
fits into 63 bits.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from inorder.core.event import Partition, Record

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import MessageSystemAttributeNameType

KEY_ATTRIBUTE = "inorder-key"
"""The key, where it cannot be the name of a message group."""
ENCODING_ATTRIBUTE = "inorder-encoding"
BASE64 = "base64"
"""The body, where the value is no text that SQS takes."""
MESSAGE_ID, GROUP, SEQUENCE, RECEIVES = "sqs-message-id", "sqs-group", "sqs-sequence", "sqs-receives"
"""Headers that say where a message was."""

SOURCE = "sqs-source"
"""Of a message in a dead-letter queue: the queue it was moved from."""
HEADERS_ATTRIBUTE = "inorder-headers"
"""All headers, where they cannot be attributes: there are more than ten, or their names are not allowed."""

SYSTEM_ATTRIBUTES: Sequence[MessageSystemAttributeNameType] = (
    "MessageGroupId",
    "SequenceNumber",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "DeadLetterQueueSourceArn",
)

_OURS = {KEY_ATTRIBUTE, ENCODING_ATTRIBUTE, HEADERS_ATTRIBUTE}
_packed = msgspec.json.Decoder(list[tuple[str, bytes]])

Raw = Mapping[str, Any]


def offset_of(message: Raw) -> int:
    """What stands for the message's offset."""
    return sequence(message["Attributes"].get("SequenceNumber", ""))


def sequence(number: str) -> int:
    """A sequence number, as much of it as an offset can be."""
    return int(number) % 2**63 if number.isdigit() else 0


def group_of(message: Raw) -> str:
    """The message group."""
    return str(message["Attributes"].get("MessageGroupId", ""))


def value_of(message: Raw) -> bytes:
    """The value: the body."""
    body = str(message["Body"])
    if "MessageAttributes" in message and _attribute(message, ENCODING_ATTRIBUTE) == BASE64.encode():
        try:
            return base64.b64decode(body, validate=True)
        except ValueError:
            pass  # not our producer's work: what is there is what is given out
    return body.encode("utf-8", "surrogatepass")


def record_of(message: Raw, partition: Partition) -> Record:
    """The whole message."""
    attributes = message["Attributes"]
    sent = attributes.get("SentTimestamp", "")
    headers = [
        (name, _bytes(value)) for name, value in message.get("MessageAttributes", {}).items() if name not in _OURS
    ]
    places = {
        MESSAGE_ID: message["MessageId"],
        GROUP: group_of(message),
        SEQUENCE: attributes.get("SequenceNumber", ""),
        RECEIVES: attributes.get("ApproximateReceiveCount", ""),
        SOURCE: attributes.get("DeadLetterQueueSourceArn", "").rpartition(":")[2],
    }
    if (packed := _attribute(message, HEADERS_ATTRIBUTE)) is not None:
        with suppress(msgspec.MsgspecError):  # not our producer's work
            headers += _packed.decode(packed)
    return Record(
        partition=partition,
        offset=offset_of(message),
        key=_attribute(message, KEY_ATTRIBUTE) or group_of(message).encode(),
        value=value_of(message),
        headers=(*headers, *((name, value.encode()) for name, value in places.items() if value)),
        timestamp_ms=int(sent) if sent.isdigit() else None,
    )


def _attribute(message: Raw, name: str) -> bytes | None:
    found = message.get("MessageAttributes", {}).get(name)
    return None if found is None else _bytes(found)


def _bytes(attribute: Raw) -> bytes:
    if "BinaryValue" in attribute:
        return bytes(attribute["BinaryValue"])
    return str(attribute.get("StringValue", "")).encode()
