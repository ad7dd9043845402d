"""Every alert's fault, planted into a live `inorder run --metrics`: its rule is true of what is scraped, no other is.

All runs start together, and their faults are planted one after the other. A thread scrapes all of them from then on and
keeps what fired, for most of it passes; each test waits for what must have been seen.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from inorder.cli import main
from inorder.observe.alerts import TABLE
from tests.cli.conftest import Said
from tests.observe.faults import FAULTS, HEALTHY, PARTITIONS, Fault, Site
from tests.observe.promql import Series, evaluate
from tests.observe.scraping import PATIENCE_S, Scraped, await_
from tests.services import Postgres

pytestmark = [pytest.mark.xdist_group("faults of the alerts"), pytest.mark.timeout(400)]


class Watched:
    """One site, and all that was scraped of it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.at = Scraped(site.run)
        self.series = Series()
        self.fired: set[str] = set()

    def fires(self) -> set[str]:
        """The alerts whose rule is true, however long it must be so."""
        page = self.at.metrics()
        now = time.time()
        self.series.scraped(now, page)
        return {alert.name for alert in TABLE if evaluate(alert.expr, self.series, now)}

    def begun(self) -> bool:
        """Whether the run is up, before anything has happened."""
        page = self.at.metrics()
        return page.value("inorder_partitions") == PARTITIONS and page.value("inorder_store_up") == 1


def quietly(*arguments: object) -> Said:
    """The command in this process; only its exit code is of interest."""
    return Said(int(main([str(argument) for argument in arguments])), "", "")


def watch(found: list[Watched], over: threading.Event) -> None:
    """Scrape all, again and again."""
    while not over.wait(0.2):
        for one in found:
            with contextlib.suppress(OSError):  # a run may end of its fault
                one.fired |= one.fires()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[dict[str, Watched]]:
    """All sites, with their faults planted after a first scrape."""
    sites: dict[str, Site] = {}
    found: list[Watched] = []
    over = threading.Event()
    watcher = threading.Thread(target=watch, args=(found, over))
    watcher.start()
    try:
        for fault in FAULTS:
            store = postgres.fresh_database() if fault.postgres else None
            sites[fault.name] = Site(tmp_path_factory.mktemp(fault.name), fault, store)
        for fault in FAULTS:
            one = Watched(sites[fault.name])
            await_(one.site.run, one.begun)
            assert one.fires() == set(), fault.name
            found.append(one)
            fault.plant(one.site, quietly)
        yield dict(zip(sites, found, strict=True))
    finally:
        over.set()
        watcher.join()
        for site in sites.values():
            site.run.end()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_alerts_of_a_fault_fire_and_no_others(fault: Fault, watched: dict[str, Watched]) -> None:
    one = watched[fault.name]
    if fault is HEALTHY:
        await_(one.site.run, lambda: one.at.metrics().value("inorder_events_total", outcome="applied") == 120)
    until = time.monotonic() + PATIENCE_S
    while not set(fault.alerts) <= one.fired and time.monotonic() < until:
        time.sleep(0.1)
    assert set(fault.alerts) <= one.fired <= {*fault.alerts, *fault.too}, one.site.run.err[-2_000:]


def test_every_alert_has_a_fault() -> None:
    assert {alert.name for alert in TABLE} == {name for fault in FAULTS for name in fault.alerts}
