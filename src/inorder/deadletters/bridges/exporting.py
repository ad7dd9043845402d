"""Copies letters to a topic, for teams that watch one. The letters stay: a copy is news, not a hand-over."""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from inorder.deadletters.bridges import spring
from inorder.deadletters.operating import Operator
from inorder.producing.delivery import ID_HEADER, VERSION_HEADER
from inorder.stores.letter_rows import AuditRow
from inorder.stores.rows import LetterRow

AT_ONCE = 500
"""Letters that are copied before the store is told so. After a crash, so many are copied again at most."""


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What an export came to."""

    copied: int
    after: int
    """The last letter that had been copied before."""
    last: int
    """The last letter that is copied now."""


def export_letters(
    look: Any, to: str, by: Operator, *, again: bool = False, stop: threading.Event | None = None
) -> Exported:
    """Copy the letters that are newer than the last copied one, whatever their status; with `again` all of them.

    `look` is an open store of the stream. Each copy has the record's own key, value and headers, Spring's headers,
    and the number of its letter as `inorder-letter`.
    """
    from inorder.producing.producer import Producer  # asyncio and a client come with it

    destination = to.partition("?")[0]
    after = last = 0 if again else look.exported(destination)
    copied, stop = 0, stop or threading.Event()
    with look.transaction() as tx:
        # One that is written late has a lower number than others that can be read already.
        until = tx.last_letter()
    with Producer(to) as producer:
        pending: list[LetterRow] = []

        def confirm() -> None:
            producer.flush()
            with look.transaction() as tx:
                tx.set_exported(destination, pending[-1].id)
                detail = f"letters {pending[0].id} to {pending[-1].id} copied to {destination}"
                tx.add_audit(AuditRow(at=by.now, actor=by.actor, action="export", reason=by.reason, detail=detail))

        for row in look.letters(after=after):
            if row.id > until:
                break
            _send(producer, row, look.stream)
            pending.append(row)
            if len(pending) == AT_ONCE or stop.is_set():
                confirm()
                copied, last = copied + len(pending), row.id
                pending.clear()
            if stop.is_set():
                break
        if pending:
            last = pending[-1].id
            confirm()
            copied += len(pending)
    return Exported(copied=copied, after=after, last=last)


def _send(producer: Any, row: LetterRow, stream: str) -> None:
    letter = row.letter
    record = letter.record
    headers = dict(record.headers) | spring.headers(letter, stream) | {"inorder-letter": str(row.id).encode()}
    # As headers only: letters of a key go out as they failed, and a producer would insist on the order of versions.
    if letter.version is not None and letter.event_id is not None:
        headers |= {VERSION_HEADER: str(letter.version).encode(), ID_HEADER: letter.event_id.encode()}
    # A record without a key has no order to keep; its position tells it from others.
    key = record.key or f"{record.partition}@{record.offset}".encode()
    producer.send(key, record.value or b"", headers=headers)
