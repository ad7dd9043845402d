"""Events that waited in the store, decoded again."""

from __future__ import annotations

from collections.abc import Sequence

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
        for one in malformed:
            place = of_it[one.index]
            found[place] = _received(rows[place], piece, one.index, None)
            barred[rows[place].key, rows[place].version] = Poison(one.reason)
        for event in events:
            place = of_it[event.index]
            why = _differs(event, rows[place])
            found[place] = _received(rows[place], piece, event.index, None if why else event.payload)
            if why is not None:
                barred[rows[place].key, rows[place].version] = Poison(why)
    return [found[place] for place in range(len(rows))]


def _received(row: HeldRow, piece: Slice, index: int, payload: object) -> Event:
    receiver = (row.receiver, row.outcome.value)
    return Event(row.key, row.version, row.event_id, row.fingerprint, payload, piece, index, receiver)


def _differs(event: Event, row: HeldRow) -> str | None:
    """What is wrong with what a held event is read as now, if anything is."""
    if event.key != row.key:
        return f"key: {event.key!r} now, but the event was received with {row.key!r}"
    if event.version != row.version:
        return f"version: {event.version} now, but the event was received with {row.version}"
    return None
