"""Says now and then, on standard error, how far a run has come."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from inorder.declaration import Declaration
from inorder.errors import InorderError
from inorder.wiring import is_one_reader, open_store, public
from inorder.worker.settings import Settings

log = logging.getLogger("inorder.progress")

EVERY_S = 10.0


class Progress:
    """Within the block, one log line every ten seconds in which something was received."""

    def __init__(self, declared: Declaration, settings: Settings, tallies: Callable[[], Sequence[int]]) -> None:
        self._name = declared.name
        self._source = settings.source
        self._waits = settings.until_idle_s is None and is_one_reader(settings.source)
        self._store = settings.store
        self._tallies = tallies
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        log.info("stream %s: from %s into %s", self._name, public(self._source), public(self._store))
        if self._waits:
            log.info("when all of it is read, the run waits until Ctrl-C; with --until-idle 1 it ends by itself")
        if log.isEnabledFor(logging.INFO):
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _run(self) -> None:
        before, at = 0, time.monotonic()
        while not self._over.wait(EVERY_S):
            try:
                store = open_store(self._store, self._name)
                counts: dict[str, int] = store.counts(list(self._tallies()))
                store.close()
            except InorderError:
                continue  # the workers say so themselves
            received, now = counts.get("received", 0), time.monotonic()
            if received > before:
                rate = (received - before) / (now - at)
                log.info("received %d, applied %d, %.0f events/s", received, counts.get("applied", 0), rate)
            before, at = received, now
