"""One record as an entry of a batch for SQS: its group is its key, its deduplication id is its event's id.

Where a key cannot be the name of a group, its hash is, and the key itself travels as an attribute; so with a value that
is no text. It never changes what the consumer is given.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from typing import Any

import msgspec

from inorder.producing.channel import Headers
from inorder.producing.delivery import ID_HEADER
from inorder.sources.sqs_record import BASE64, ENCODING_ATTRIBUTE, HEADERS_ATTRIBUTE, KEY_ATTRIBUTE

MOST_HEADERS = 8
"""SQS takes ten attributes; two may be needed for the key and the encoding."""
MOST_BYTES = 1_048_576
"""Of a message, and of a batch: SQS's own limit."""
FIXED_BYTES = 200
"""What an entry takes beside its body and attributes, roughly."""

_NAME = re.compile(r"[!-~]{1,128}")
"""What SQS allows as a group and as a deduplication id: letters, digits, punctuation."""
_ATTRIBUTE = re.compile(r"(?!(?i:aws|amazon|inorder-(key|encoding|headers)))[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*")
_TEXT = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")

Entry = dict[str, Any]


def entry_of(key: bytes, value: bytes, headers: Headers = ()) -> Entry:
    """The entry, without the id that names it in its batch. Raises ValueError with what SQS would not take."""
    attributes = _attributes(headers)
    group = _plain(key)
    if group is None:
        group = hashlib.sha256(key).hexdigest()
        attributes[KEY_ATTRIBUTE] = {"DataType": "Binary", "BinaryValue": key}
    body = _text(value)
    if body is None:
        body = base64.b64encode(value).decode()
        attributes[ENCODING_ATTRIBUTE] = {"DataType": "String", "StringValue": BASE64}
    entry: Entry = {
        "MessageBody": body,
        "MessageGroupId": group,
        "MessageDeduplicationId": _deduplication(dict(headers).get(ID_HEADER.lower())),
    }
    if attributes:
        entry["MessageAttributes"] = attributes
    if (size := size_of(entry)) > MOST_BYTES:
        raise ValueError(f"{size} bytes, of {MOST_BYTES} allowed")
    return entry


def _attributes(headers: Headers) -> dict[str, Any]:
    """Headers as attributes; all of them in one, where they cannot be that."""
    names = [name for name, _ in headers]
    plain = len(set(names)) == len(names) <= MOST_HEADERS and all(content for _, content in headers)
    if plain and all(_ATTRIBUTE.fullmatch(name) for name in names):
        return {name: {"DataType": "Binary", "BinaryValue": content} for name, content in headers}
    return {HEADERS_ATTRIBUTE: {"DataType": "Binary", "BinaryValue": msgspec.json.encode(list(headers))}}


def same_content(key: bytes, value: bytes) -> str:
    """A deduplication id for an event that has no other name: the same line of a file is the same event."""
    return hashlib.sha256(b"%d\0%s%s" % (len(key), key, value)).hexdigest()


def size_of(entry: Entry) -> int:
    """What an entry counts as, or a little more."""
    size = FIXED_BYTES + len(entry["MessageBody"].encode())
    for name, value in entry.get("MessageAttributes", {}).items():
        size += len(name) + len(value["DataType"]) + len(value.get("BinaryValue") or value.get("StringValue"))
    return size


def _deduplication(event_id: bytes | None) -> str:
    """An event without an id is sent again under the same name, and is the same as no other."""
    if event_id is None:
        return uuid.uuid4().hex
    return _plain(event_id) or hashlib.sha256(event_id).hexdigest()


def _plain(name: bytes) -> str | None:
    text = name.decode("ascii", "replace")
    return text if _NAME.fullmatch(text) else None


def _text(value: bytes) -> str | None:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return text if _TEXT.fullmatch(text) else None
