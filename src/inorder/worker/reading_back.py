"""Events decoded again: those that waited in the store, and those that a handler has been given before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inorder.codecs.json import JsonCodec
from inorder.core.event import Event, Partition, Slice
from inorder.core.rows import HeldRow
from inorder.errors import Poison


def read_back(codec: JsonCodec, rows: Sequence[HeldRow], barred: dict[tuple[str, int], Exception]) -> list[Event]:
    """Held events in the order of their rows, as what they were received as: neither a new codec nor a new declaration
    changes that.

    One that can no longer be decoded, or is now read as another one, is barred: it fails when its turn comes.
    """
    places: dict[Partition, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.record.partition, []).append(place)
    found: dict[int, Event] = {}
    for partition, of_it in places.items():
        piece = Slice.of(partition, [rows[place].record for place in of_it])
        events, malformed = codec.read(piece)
        read = {event.index: event for event in events}
        reasons = {one.index: one.reason for one in malformed}
        for index, place in enumerate(of_it):
            row, event = rows[place], read.get(index)
            why = reasons[index] if event is None else _differs(event, row)
            if why is not None:
                barred[row.key, row.version] = Poison(why)
            payload = None if event is None or why is not None else event.payload
            receiver = (row.receiver, row.outcome.value)
            found[place] = Event(row.key, row.version, row.event_id, row.fingerprint, payload, piece, index, receiver)
    return [found[place] for place in range(len(rows))]


def renew(codec: JsonCodec, events: Iterable[Event], barred: dict[tuple[str, int], Exception]) -> None:
    """Give events that are decided once more a payload as received: a handler may have changed the one it was given.

    One that can no longer be decoded is barred: it fails when its turn comes.
    """
    for event in events:
        try:
            event.payload = codec.payload(event)
        except Poison as error:
            barred[event.key, event.version] = error


def _differs(event: Event, row: HeldRow) -> str | None:
    """What is wrong with what a held event is read as now, if anything is."""
    if event.key != row.key:
        return f"key: {event.key!r} now, but the event was received with {row.key!r}"
    if event.version != row.version:
        return f"version: {event.version} now, but the event was received with {row.version}"
    return None
