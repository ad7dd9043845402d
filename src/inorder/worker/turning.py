"""The event loop that async handlers run on: uvloop's where it is installed, else asyncio's with finer timers.

The selector that asyncio uses on Linux rounds each wait up to whole milliseconds: a handler that waits for 10 ms would
wait for 11 or 12, and so would its timeouts. Where asyncio's policy makes another kind of loop, that one is used.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import sys
from types import ModuleType

uvloop: ModuleType | None
try:
    import uvloop
except ImportError:
    uvloop = None

MOST_WATCHED = 1024
"""What `select` can watch: descriptors below this."""


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop, not running yet."""
    loop = asyncio.new_event_loop()
    if type(loop) is not asyncio.SelectorEventLoop or (uvloop is None and sys.platform != "linux"):
        return loop
    loop.close()
    if uvloop is not None:
        made: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return made
    return asyncio.SelectorEventLoop(FineSelector())


if sys.platform == "linux":

    class FineSelector(selectors.EpollSelector):
        """Waits for epoll's own descriptor with `select`, which counts microseconds, and then asks what is ready."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """See `selectors.BaseSelector.select`."""
            if timeout is not None and timeout > 0 and self.fileno() < MOST_WATCHED:
                select.select([self.fileno()], [], [], timeout)
                timeout = 0
            return super().select(timeout)
