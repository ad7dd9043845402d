"""What one transaction writes, as columns in PostgreSQL's format: made before the transaction begins, in any thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inorder.core.changes import Changes
from inorder.core.rows import EntityRow
from inorder.stores.postgres.arrays import Array, blobs, booleans, columns, floats, integers, texts
from inorder.stores.rows import from_held, from_waiting

_RECORD = (texts, integers, integers, blobs, blobs, blobs, integers)
_HELD = (texts, integers, texts, integers, texts, integers, *_RECORD)
_WAITING = (texts, texts, integers, floats, floats, integers, texts, booleans, texts, integers)
_COUNTS = (integers, texts, integers)


class Packed(list[EntityRow]):
    """The rows of entities, and of all that `changes` has beside them. None, or nothing: there is nothing of that kind.

    Whatever is noted in `changes` afterwards is not in it.
    """

    def __init__(self, rows: Sequence[EntityRow], changes: Changes) -> None:
        super().__init__(rows)
        self.entities = _entities(rows) if rows else {}
        self.released = columns((texts, integers), sorted(changes.released)) if changes.released else []
        held = [from_held(changes.held[place]) for place in sorted(changes.held)]
        self.held = columns(_HELD, held) if held else []
        waits = sorted(changes.waits.items())
        over = [key for key, waiting in waits if waiting is None]
        self.over = texts(over) if over else None
        upserts = [from_waiting(key, waiting) for key, waiting in waits if waiting is not None]
        self.waits = columns(_WAITING, upserts) if upserts else []
        counts = [(*at, n) for at, n in sorted(changes.counts.items()) if n]
        self.counts: list[Array] = columns(_COUNTS, counts) if counts else []


def _entities(rows: Sequence[EntityRow]) -> dict[str, Any]:
    """The columns of entities. Ranges and waits are rare: an empty array stands for "all of them none"."""
    ranges = [row.ranges or None for row in rows]
    waits = [row.waits for row in rows]
    return {
        "keys": texts([row.key for row in rows]),
        "expected": integers([row.expected for row in rows]),
        "versions": integers([row.version for row in rows]),
        "ranges": blobs(ranges if any(ranges) else ()),
        "recent": blobs([row.recent for row in rows]),
        "states": blobs([row.state for row in rows]),
        "waits": booleans(waits if any(waits) else ()),
    }
