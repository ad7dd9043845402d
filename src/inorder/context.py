"""What a handler without `tx` is told about the event it handles."""

from __future__ import annotations

import msgspec


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Makes effects elsewhere safe to repeat.

    An event is handed to the handler again when the worker dies before it could record the completion. Give
    `idempotency_key` to whatever is called, so that it can tell the repetition; or `fence`, which only grows for the
    events of one partition, so that it can refuse a worker that has lost the partition without knowing yet.
    """

    stream: str
    key: str
    version: int
    id: str
    attempt: int
    """1 for the first attempt."""
    fence: int
    partition: str
    """The one that `fence` is of: where the event came from, or, if it waited, where its key is looked after."""

    @property
    def idempotency_key(self) -> str:
        """Names this event's effect, across retries, redeliveries and replays."""
        return f"{self.stream}:{self.key}:{self.version}:{self.id}"
