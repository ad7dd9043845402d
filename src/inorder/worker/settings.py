"""What a worker is started with, in one value that can be handed to another process."""

from __future__ import annotations

import msgspec

DEFAULT_STORE = "sqlite:///inorder.db"
"""Where a consumer keeps what it knows, unless it is told otherwise."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `inorder run` and `inorder.run`. Times are seconds."""

    source: str
    store: str = DEFAULT_STORE
    concurrency: int = 16
    """Handlers without `tx` that run at once in one process."""
    connections: int = 1
    """Transactions of a handler with `tx` that run at once in one process, each on a connection of its own."""
    until_idle_s: float | None = None
    """Stop when nothing came for so long and the stream is settled to its end; None: never."""
    worker: str = "1"
    """Names this worker in logs and counts."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to: the closing document of `inorder run --json`."""

    stream: str
    received: int
    outcomes: dict[str, int]
    released: int
    """Events held by earlier runs and by this one that took effect in this one."""
    retries: int
    held_now: int
    parked_keys: int
    elapsed_s: float
    events_per_s: float
