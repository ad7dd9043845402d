"""Takes over dead letters that others wrote to a topic, or that a queue's redrive policy has moved to another queue.

Each becomes a letter of the stream, once, with its own key. What was taken over from a queue is deleted there.

No key is parked by it: the events may long be dealt with. The guard says of each letter what it is when it is planned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.event import Partition, Record, Slice
from inorder.core.order import Outcome
from inorder.core.rows import Letter, Reason
from inorder.deadletters.bridges import queue, spring
from inorder.deadletters.operating import Operator
from inorder.declaration import declaration_of
from inorder.ports import Queue
from inorder.stores.letter_rows import AuditRow
from inorder.wiring import open_source, open_store

MOST = 1_000
"""Records of one transaction."""


class Imported(msgspec.Struct, kw_only=True):
    """What an import came to."""

    read: int = 0
    imported: int = 0
    unreadable: int = 0
    """Of the imported ones, those that no event can be read from."""
    known: int = 0
    """Letters that the store had already."""
    of_others: int = 0
    """Given up on by another consumer group than the one asked for."""


class _Listener:
    def assigned(self, partitions: Sequence[Partition]) -> None:
        pass

    def revoked(self, partitions: Sequence[Partition]) -> None:
        pass

    def lost(self, partitions: Sequence[Partition]) -> None:
        pass


def import_letters(
    function: Callable[..., Any],
    store: str,
    source: str,
    by: Operator,
    *,
    of_group: str | None = None,
    stop: threading.Event | None = None,
) -> Imported:
    """Read a dead-letter topic or queue to its end. How far it was read is kept by the broker, for the next time."""
    declared = declaration_of(function)
    codec, found, stop = JsonCodec(declared), Imported(), stop or threading.Event()
    keep = open_store(store, declared.name)
    try:
        keep.register(declared.order, declared.baseline)
        topic = open_source(source, f"{declared.name}-dead-letters")
        read = queue.read if isinstance(topic, Queue) else spring.read
        tally = keep.tally("import")
        try:
            topic.subscribe(_Listener())
            while not stop.is_set():
                pieces = topic.poll(MOST, 0.2)
                for piece in pieces:
                    _take_in(keep, tally, codec, piece, found, by, of_group, read)
                if pieces and isinstance(topic, Queue):
                    topic.settle([piece.next_offset for piece in pieces])
                elif pieces:
                    topic.commit({piece.partition: piece.next_offset for piece in pieces})
                elif topic.at_end():
                    break
        finally:
            topic.close()
    finally:
        keep.close()
    return found


def _take_in(
    keep: Any,
    tally: int,
    codec: JsonCodec,
    piece: Slice,
    found: Imported,
    by: Operator,
    of_group: str | None,
    read: Callable[[Record], spring.Original],
) -> None:
    """Write the letters of a slice, in one transaction."""
    letters = []
    for index in range(len(piece)):
        original = read(piece.record(index))
        found.read += 1
        if of_group is not None and original.group not in {None, of_group}:
            found.of_others += 1
        else:
            letters.append(_letter(codec, original, by.now))
    with keep.transaction() as tx:
        new = [letter for letter in letters if tx.import_letter(letter, tally)]
        changes = Changes(tally)
        if new:
            changes.delivered(Outcome.DEAD_LETTERED, len(new))
            tx.write([], changes, {})
            detail = f"{len(new)} letters from {piece.partition}"
            tx.add_audit(AuditRow(at=by.now, actor=by.actor, action="import", reason=by.reason, detail=detail))
    found.imported += len(new)
    found.known += len(letters) - len(new)
    found.unreadable += sum(letter.reason is Reason.MALFORMED for letter in new)


def _letter(codec: JsonCodec, original: spring.Original, now: float) -> Letter:
    record = original.record
    events, malformed = codec.read(Slice.of(record.partition, [record]))
    # Not later than now: what producers call the time may be anything, and nothing has failed in the future.
    at = now if record.timestamp_ms is None else min(now, record.timestamp_ms / 1000)
    event = events[0] if events else None
    return Letter(
        reason=Reason.FAILED if event is not None else Reason.MALFORMED,
        detail=original.detail if event is not None else malformed[0].reason,
        record=record,
        key=event.key if event is not None else malformed[0].key,
        version=event.version if event is not None else None,
        event_id=event.id if event is not None else None,
        error=original.trace,
        attempts=1,
        first_at=at,
        last_at=max(at, min(now, time.time())),
    )
