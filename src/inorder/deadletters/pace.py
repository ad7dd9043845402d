"""How fast a replay may go: so many events a second, and not at all while the live stream lags behind."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from inorder.errors import Unreachable

log = logging.getLogger("inorder.replay")

CATCH_UP_S = 0.5
"""How much of its time a replay that was held up may make good. More would be a burst."""
LAG_EVERY_S = 1.0
"""How often the live lag is asked for."""


class Pace:
    """Gives out turns: `rate` a second (None: as fast as it goes), none while `lag()` is above `max_lag`.

    Several threads may take turns from one pace. `stop` ends all waiting.
    """

    def __init__(
        self,
        rate: float | None,
        stop: threading.Event,
        lag: Callable[[], int] | None = None,
        max_lag: int = 0,
    ) -> None:
        self._rate = rate
        self._stop = stop
        self._lag = lag
        self._max_lag = max_lag
        self._lock = threading.Lock()
        self._next = time.monotonic()
        self._lag_asked = float("-inf")
        self.yielded_s = 0.0
        """How long the replay has stood still for the live stream."""

    def turn(self) -> bool:
        """Wait for the next turn. False: stopped."""
        return self.turns(1) == 1

    def turns(self, most: int) -> int:
        """Wait for a turn, and take up to `most` that are due with it. 0: stopped."""
        with self._lock:
            self._yield()
            if self._stop.is_set():
                return 0
            if self._rate is None:
                return most
            now = time.monotonic()
            self._next = max(self._next, now - CATCH_UP_S)
            taken = max(1, min(most, int((now - self._next) * self._rate) + 1)) if now >= self._next else 1
            wait_s = self._next - now
            self._next += taken / self._rate
            if wait_s > 0 and self._stop.wait(wait_s):
                return 0
            return taken

    def _why(self) -> str | None:
        """Why to stand still, if there is a reason. A lag that nobody knows is one."""
        assert self._lag is not None
        try:
            behind = self._lag()
        except Unreachable as error:
            return str(error)
        if behind <= self._max_lag:
            return None
        return f"the live stream is {behind:,} events behind, the limit is {self._max_lag:,}"

    def _yield(self) -> None:
        """Stand still while the live stream lags."""
        if self._lag is None or time.monotonic() - self._lag_asked < LAG_EVERY_S:
            return
        began, told = time.monotonic(), False
        while (why := self._why()) is not None:
            if not told:
                log.warning("paused: %s", why)
                told = True
            if self._stop.wait(LAG_EVERY_S):
                return
        self._lag_asked = time.monotonic()
        if told:
            stood = time.monotonic() - began
            self.yielded_s += stood
            self._next = time.monotonic()
            log.info("goes on after %.0f s", stood)
