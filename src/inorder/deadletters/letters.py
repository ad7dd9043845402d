"""Letters as events again: the payload as received, or as an operator edited it, through the consumer's own codec."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from inorder.codecs.json import JsonCodec
from inorder.core.event import Event, Slice, fingerprint
from inorder.stores.rows import LetterRow


class Unreadable(NamedTuple):
    """Why no event can be read from a letter."""

    reason: str


def planned(codec: JsonCodec, row: LetterRow, edit: int | None, edited: tuple[int, bytes] | None) -> Event | Unreadable:
    """The event of a letter that was planned with this edit, or none. `edited` is the edit in force now."""
    if edited is not None and edited[0] != edit:
        return Unreadable("was edited after the plan was made: plan it again")
    return event_of(codec, row, None if edited is None else edited[1])


def event_of(codec: JsonCodec, row: LetterRow, edited: bytes | None) -> Event | Unreadable:
    """The event of a letter. An edit or a new declaration cannot change what it was known as (key, version, id)."""
    letter = row.letter
    record = letter.record if edited is None else msgspec.structs.replace(letter.record, value=edited)
    events, malformed = codec.read(Slice.of(record.partition, [record]))
    if malformed:
        return Unreadable(malformed[0].reason)
    event = events[0]
    if letter.key is not None and event.key != letter.key:
        return Unreadable(f"key: {event.key!r}, but the event was received with {letter.key!r}")
    if letter.version is not None and event.version != letter.version:
        return Unreadable(f"version: {event.version}, but the event was received with {letter.version}")
    if letter.event_id is not None and event.id != letter.event_id:
        # An id made from the bytes changes with them; the event stays the same.
        event.id, event.fingerprint = letter.event_id, fingerprint(letter.event_id)
    return event
