"""Puts together what `inorder run --metrics` serves: the workers' snapshots, the store's stock, and the probes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from inorder.errors import UsageError
from inorder.observe import metrics
from inorder.observe.meter import Number, Snapshot, added
from inorder.observe.serving import Answer, Serving, address_of, as_json, said
from inorder.observe.stock import Stock

LIVE_S = 60.0
"""A poll loop that has not turned for so long is stuck. Longer than it may drain or ask an absent store."""
MOST_KEYS = 20


class Workers(NamedTuple):
    """The worker processes of this run, as they say themselves."""

    running: list[Snapshot]
    ended: list[Snapshot]
    """What those counted that have ended."""
    wanted: int
    restarts: int


class Desk:
    """Answers the pages."""

    def __init__(self, stream: str, version: str, workers: Callable[[], Workers], stock: Stock) -> None:
        self._stream = stream
        self._version = version
        self._workers = workers
        self._stock = stock

    def metrics(self, accept: str) -> Answer:
        """Everything, for Prometheus."""
        from inorder.observe.prometheus import exposition

        body, content_type = exposition(self.snapshot(), self._stream, self._version, accept)
        return Answer(200, body, content_type)

    def snapshot(self) -> Snapshot:
        """All numbers of the run and of its stream."""
        workers = self._workers()
        found = added([*workers.running, *workers.ended, self._stock.snapshot()])
        share = found.busiest[0][1] / found.effects if found.busiest and found.effects else 0.0
        more = [
            Number(metrics.WORKERS.name, (), len(workers.running)),
            Number(metrics.RESTARTS.name, (), workers.restarts),
            Number(metrics.BUSIEST_SHARE.name, (), share),
        ]
        names = {number.name for number in more}
        return msgspec.structs.replace(found, numbers=[one for one in found.numbers if one.name not in names] + more)

    def live(self, accept: str) -> Answer:
        """Whether the poll loops turn."""
        late = max((one.polled_s for one in self._workers().running), default=0.0)
        return said(None if late < LIVE_S else f"a poll loop has not turned for {late:.0f} s")

    def ready(self, accept: str) -> Answer:
        """Whether the store answers, and all workers poll."""
        workers = self._workers()
        missing = workers.wanted - len(workers.running)
        return said(self._stock.trouble or (f"{missing} of {workers.wanted} workers do not run" if missing else None))

    def keys(self, accept: str) -> Answer:
        """The keys that are busiest, that have been parked longest, and that most events wait for."""
        found = added(self._workers().running)
        busiest = [
            {"key": key, "effects": n, "share": round(n / found.effects, 4)} for key, n in found.busiest[:MOST_KEYS]
        ]
        return as_json({"stream": self._stream, "effects": found.effects, "busiest": busiest, **self._stock.waiting})


@contextmanager
def served(
    place: str | None,
    stream: str,
    workers: Callable[[], Workers],
    open_store: Callable[[], Any],
    open_lag: Callable[[], Any] | None,
) -> Iterator[None]:
    """Within the block, the pages are served at `place` (PORT or HOST:PORT); nowhere if that is None."""
    if place is None:
        yield
        return
    from inorder import __version__

    with Stock(open_store, open_lag) as stock:
        desk = Desk(stream, __version__, workers, stock)
        pages = {"/metrics": desk.metrics, "/livez": desk.live, "/readyz": desk.ready}
        with Serving(address_of(place), pages, {"/keys": desk.keys}):
            yield


def check(place: str | None) -> None:
    """Raises `UsageError` where `served` could not."""
    if place is None:
        return
    address_of(place)
    try:
        import prometheus_client  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError("prometheus_client is not installed: pip install 'inorder[metrics]'") from None
