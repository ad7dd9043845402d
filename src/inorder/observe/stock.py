"""What the store holds, and how far the group is behind: looked up now and then in a thread of its own. Only reads.

These numbers are of the stream as a whole, so every process that serves metrics of a stream says the same.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from inorder.core.rows import Counter, Reason
from inorder.core.waiting import Wait
from inorder.errors import InorderError
from inorder.observe import metrics
from inorder.observe.meter import Meter, Snapshot

EVERY_S = 5.0
"""How often it is looked up."""
SOON_S = 1.0
"""And while it does not answer."""
MOST_KEYS = 20
"""Keys named of each kind."""

log = logging.getLogger("inorder.metrics")

_SKIPPED = {"stale", "resolved"}
_FINE = {"applied", "duplicate"}


class Stock:
    """Within the block, looks every few seconds. `open_lag` says how to ask how far the group is behind, if at all."""

    def __init__(self, open_store: Callable[[], Any], open_lag: Callable[[], Any] | None) -> None:
        self._open_store = open_store
        self._open_lag = open_lag
        self._store: Any = None
        self._lag: Any = None
        self._meter = Meter([metrics.REPLAYED])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inorder-stock", daemon=True)
        self.trouble: str | None = "the store has not been asked yet"
        """Why the store cannot be used; None: it answers."""
        self.waiting: dict[str, list[dict[str, Any]]] = {"parked": [], "held": []}
        """Keys that have been stopped for longest, and those with most events behind them."""

    def __enter__(self) -> Stock:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(1.0)

    def snapshot(self) -> Snapshot:
        """What was found last."""
        return self._meter.snapshot()

    def look(self) -> None:
        """Ask the store, and the source."""
        try:
            if self._store is None:
                self._store = self._open_store()
            self._read(self._store)
        except InorderError as error:
            self.trouble = str(error)
            self._store = self._closed(self._store)
        else:
            self.trouble = None
        self._meter.set(metrics.STORE_UP, float(self.trouble is None))
        if self._open_lag is not None:
            try:
                self._read_lag(self._open_lag)
            except InorderError:
                self._meter.clear(metrics.LAG)
                self._lag = self._closed(self._lag)

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # a thread that ended would leave old numbers standing
                self.trouble = f"{type(error).__name__}: {error}"
                log.error("the store cannot be looked at: %s", self.trouble)
            if self._over.wait(EVERY_S if self.trouble is None else SOON_S):
                break
        self._store, self._lag = self._closed(self._store), self._closed(self._lag)

    @staticmethod
    def _closed(one: Any) -> None:
        if one is not None:
            one.close()

    def _read(self, store: Any) -> None:
        meter, now = self._meter, time.time()
        waits, reasons = store.waits(), {row.reason: row for row in store.open_reasons()}
        for why in map(str, Wait):
            keys, since = waits.get(why, (0, now))
            meter.set(metrics.WAITING_KEYS, keys, why)
            meter.set(metrics.OLDEST_WAIT_S, max(0.0, now - since), why)
        for reason in map(str, Reason):
            meter.set(metrics.OPEN_LETTERS, reasons[reason].letters if reason in reasons else 0, reason)
        oldest = min((row.first_at for row in reasons.values()), default=now)
        meter.set(metrics.OLDEST_LETTER_S, max(0.0, now - oldest))
        meter.set(metrics.HELD, store.held_count())
        meter.set(metrics.REPLAYED, store.counts().get(str(Counter.REPLAYED), 0))
        for result, letters in newest_replay(store).items():
            meter.set(metrics.REPLAY, letters, result)
        self.waiting = {
            "parked": [
                {"key": key, "version": one.version, "age_s": round(max(0.0, now - one.since), 1), "why": one.reason}
                for key, one in store.longest_parked(MOST_KEYS)
            ],
            "held": [{"key": key, "events": events} for key, events in store.held_most(MOST_KEYS)],
        }

    def _read_lag(self, open_lag: Callable[[], Any]) -> None:
        if self._lag is None:
            self._lag = open_lag()
        for partition, behind in self._lag.by_partition().items():
            self._meter.set(metrics.LAG, behind, partition.topic, str(partition.number))


def newest_replay(store: Any) -> dict[str, int]:
    """How far the newest replay plan of a stream is: letters by what became of them; all 0 if there is none."""
    found = dict.fromkeys(metrics.REPLAY.values, 0)
    for plan in store.plans(1):
        for result, letters in store.plan_results(plan.id).items():
            if result is None:
                name = "left"
            elif result in _FINE:
                name = result
            else:
                name = "skipped" if result in _SKIPPED else "failed"
            found[name] += letters
    return found
