"""`inorder.run` and `inorder.Worker`: consumers started from the user's own program."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import Any

from inorder.core.order import Outcome
from inorder.core.rows import Counter
from inorder.declaration import Declaration, declaration_of
from inorder.observe.nobody import NOBODY
from inorder.ports import Observer, Store
from inorder.wiring import lasting, open_source, open_store
from inorder.worker.assemble import Assembled
from inorder.worker.settings import Report, Settings


class Worker:
    """One worker inside the user's program. `run` blocks; `stop` may be called from anywhere.

    `on_poll` is called before each poll: the sign of life for whoever watches this worker.
    Raises `UsageError` for a wrong declaration or URL, `Unreachable` when the source or the store does not answer.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        settings: Settings,
        on_poll: Callable[[], None] = lambda: None,
        observer: Observer = NOBODY,
    ) -> None:
        self._declared = declaration_of(function)
        self._settings = settings
        # It is opened again, for each thread and when one is replaced: always the same, wherever a handler goes. At
        # first as it was written, for what is said of one that cannot be opened.
        stores = chain([settings.store], repeat(lasting(settings.store)))
        source = open_source(settings.source, self._declared.name)
        try:
            self._parts = Assembled(
                self._declared,
                settings,
                source,
                lambda: open_store(next(stores), self._declared.name),
                on_poll=on_poll,
                observer=observer,
            )
        except BaseException:
            source.close()
            raise
        self.tally: int = self._parts.tally

    def run(self) -> bool:
        """Work until stopped or idle. Returns whether everything that ran was finished within the limit."""
        try:
            return self._parts.loop.run(self._settings.until_idle_s)
        finally:
            self._parts.control.close()

    def stop(self) -> None:
        """Finish what runs, and return from `run`."""
        self._parts.loop.stop()


def run(
    function: Callable[..., Any],
    *,
    source: str,
    store: str = "sqlite:///inorder.db",
    concurrency: int = 16,
    connections: int = 1,
    until_idle_s: float | None = None,
) -> Report:
    """Run a consumer in this process until it is idle (or for ever), and say what became of what it received.

    `source` and `store` are URLs. `concurrency` is of handlers without `tx`; `connections` of handlers with it, on
    PostgreSQL: transactions at once. For several processes use the command: `inorder run --workers N`.
    """
    settings = Settings(
        source=source, store=store, concurrency=concurrency, connections=connections, until_idle_s=until_idle_s
    )
    began, there = time.monotonic(), lasting(store)
    worker = Worker(function, settings)
    worker.run()
    declared = declaration_of(function)
    look = open_store(there, declared.name)
    try:
        return report(declared, look, [worker.tally], time.monotonic() - began)
    finally:
        look.close()


def report(declared: Declaration, store: Any, tallies: Sequence[int], elapsed_s: float) -> Report:
    """What these tallies say, with what waits in the store now."""
    found: Store = store
    counts = found.counts(tallies)
    received = counts.get("received", 0)
    return Report(
        stream=declared.name,
        received=received,
        outcomes={str(name): counts.get(name, 0) for name in (*Outcome, Counter.REPLAYED)},
        released=counts.get("released", 0),
        retries=counts.get("retries", 0),
        held_now=store.held_count(),
        parked_keys=store.parked_count(),
        elapsed_s=round(elapsed_s, 3),
        events_per_s=round(received / elapsed_s, 1) if elapsed_s else 0.0,
    )
