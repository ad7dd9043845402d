"""Opens a stream of a store for a look, as `inorder state` and `inorder dlq` need it. Never creates anything."""

from __future__ import annotations

from typing import Any

from inorder.errors import NotFound, UsageError
from inorder.wiring import open_store, public


def streams_of(store: str) -> list[Any]:
    """The streams of a store, as they were declared. Raises `NotFound` if it has none."""
    look = open_store(store, "", create=False)
    try:
        rows: list[Any] = look.streams()
    finally:
        look.close()
    if not rows:
        raise NotFound(f"store {public(store)} has no streams yet: a consumer makes its own when it first runs")
    return rows


def open_stream(store: str, stream: str | None) -> Any:
    """The stream called `stream`, or the only one of the store. To be closed.

    Raises `NotFound` if it is not there, and `UsageError` if there are several and none is named.
    """
    names = [row.name for row in streams_of(store)]
    if stream is None and len(names) > 1:
        raise UsageError(f"store {public(store)} has several streams: add --stream with one of {', '.join(names)}")
    if stream is not None and stream not in names:
        raise NotFound(f"store {public(store)} has no stream {stream!r}: it has {', '.join(names)}")
    return open_store(store, stream or names[0], create=False)
