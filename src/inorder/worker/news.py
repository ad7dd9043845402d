"""Whether there is something new, between two threads one of which may be told to end at any moment."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue


class News:
    """Told by many, waited for by one.

    Not an event: a thread that is told to end may be just within it, and the lock in it would stay taken.
    """

    def __init__(self) -> None:
        self._told: SimpleQueue[None] = SimpleQueue()

    def tell(self) -> None:
        """There is something new. From any thread."""
        self._told.put(None)

    def wait(self, timeout_s: float) -> None:
        """Until there is, or the time is over."""
        with suppress(Empty):
            self._told.get(timeout=timeout_s)

    def taken(self) -> None:
        """What was told by now is known."""
        with suppress(Empty):
            while True:
                self._told.get_nowait()
