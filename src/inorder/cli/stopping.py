"""SIGINT and SIGTERM: the first asks for a clean end, the second ends at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from inorder.cli.codes import Exit
from inorder.cli.failing import complain

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
TOGETHER_S = 0.2
"""Signals that come within this time are one: `timeout` sends its own to the process, and once more to its group."""


class Stopping:
    """Within the block, the first signal calls `stop`, and a second one `kill` before the process ends.

    When the first has not led to an end after `limit_s`, the process ends as well.
    """

    def __init__(self, stop: Callable[[], None], limit_s: float, kill: Callable[[], None] = lambda: None) -> None:
        self.received: int | None = None
        self._received_at = 0.0
        self._stop = stop
        self._kill = kill
        self._limit_s = limit_s
        self._before: dict[int, Any] = {}
        self._over = threading.Event()

    def __enter__(self) -> Stopping:
        # Only the main thread may set handlers; elsewhere whoever runs the command has set its own.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self.received is not None:
            # The process ends, and the second of two signals that are one may find it still doing so.
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def interrupted(self) -> bool:
        """Whether the end was asked for with Ctrl-C."""
        return self.received == signal.SIGINT

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            if time.monotonic() - self._received_at < TOGETHER_S:
                return
            self._end(128 + number, "ended at once, by the second signal")
        self.received, self._received_at = number, time.monotonic()
        threading.Thread(target=self._watch, name="watch-stop", daemon=True).start()
        self._stop()
        # The other of two is heard here. The call that the main thread goes on with may take longer than the two are
        # apart, and signals are heard only after it.
        time.sleep(TOGETHER_S / 2)

    def _watch(self) -> None:
        if not self._over.wait(self._limit_s):
            self._end(Exit.FAILURE, f"did not stop within {self._limit_s:g} s")

    def _end(self, code: int, why: str) -> None:
        self._kill()
        complain(f"{why}; what was not settled will be handed out again")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
