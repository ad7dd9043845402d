"""Draws what the runbook's symptoms look like, from real runs: `python -m docs.symptoms` writes docs/plots/*.svg.

Each run is `inorder run --metrics` with a fault planted, scraped four times a second. Takes half a minute; curves
differ a little from run to run.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from inorder.lab.drawing import svg
from inorder.lab.results import Line, Plot, Point
from tests.cli.conftest import events
from tests.observe.consumers import BAD
from tests.observe.faults import HEALTHY, PARTITIONS, Site
from tests.observe.scraping import Page, Scraped, await_

PLOTS = Path(__file__).with_name("plots")
EVERY_S, SAMPLES, PIECES = 0.25, 40, 24


class Watched:
    """One run, fed piece by piece, and what was scraped of it."""

    def __init__(self, folder: Path, consumer: str, pieces: list[list[dict[str, Any]]]) -> None:
        folder.mkdir()
        self.site = Site(folder, HEALTHY._replace(consumer=consumer), None)
        self._pieces = pieces
        self.pages: list[tuple[float, Page]] = []

    def begin(self) -> None:
        """Wait until it is up."""
        self._at = Scraped(self.site.run)
        await_(self.site.run, lambda: self._at.metrics().value("inorder_partitions") == PARTITIONS)

    def step(self, at: float) -> None:
        """Send the next piece, and scrape."""
        if self._pieces:
            self.site.send(self._pieces.pop(0))
        self.pages.append((at, self._at.metrics()))

    def line(self, label: str, tone: str, name: str, **labels: str) -> Line:
        """One metric over time."""
        points: list[Point] = [(at, page.value(name, **labels)) for at, page in self.pages]
        return Line(label=label, tone=tone, points=points, steps=True)


def shuffled() -> list[list[dict[str, Any]]]:
    """Ten accounts of 48 events, some way out of order and some of them twice, in pieces."""
    rng = random.Random(11)
    found = [one for one in events(10, 48) for _ in range(rng.choice((1, 1, 1, 1, 2)))]
    order = sorted(range(len(found)), key=lambda at: at + rng.random() * 60)
    size = len(found) // PIECES + 1
    return [[found[at] for at in order[start : start + size]] for start in range(0, len(found), size)]


def even(most: str | None) -> list[list[dict[str, Any]]]:
    """A stream in order; with `most`, nine in ten of its events are of that one key."""
    versions: dict[str, int] = {}

    def one(key: str) -> dict[str, Any]:
        versions[key] = versions.get(key, 0) + 1
        return {"id": f"{key}-{versions[key]}", "account": key, "version": versions[key], "amount": 1}

    keys = [f"a{number:02}" for number in range(12)]
    return [[one(most if most and n % 10 else keys[n % 12]) for n in range(60)] for _ in range(PIECES)]


def drawn(runs: dict[str, Watched]) -> Iterator[Plot]:
    """The plots of the runs."""
    violations, disorder = "inorder_effect_order_violations_total", "inorder_arrival_disorder_total"
    yield Plot(
        name="effects-out-of-order",
        title="One stream, out of order: effects committed out of order",
        x="seconds",
        y=violations,
        marks=[
            runs["naive"].line('order="unguarded"', "naive", violations),
            runs["steady"].line('order="strict"', "inorder", violations),
        ],
    )
    yield Plot(
        name="events-arrive-out-of-order",
        title="The same stream, guarded: disorder on arrival, none of effects",
        x="seconds",
        y="events",
        marks=[
            runs["steady"].line("early", "two", disorder, kind="early"),
            runs["steady"].line("duplicate", "four", disorder, kind="duplicate"),
            runs["steady"].line("effects out of order", "inorder", violations),
        ],
    )
    share = "inorder_busiest_key_share"
    yield Plot(
        name="a-hot-key",
        title="Twelve keys, and twelve of which one has nine in ten events",
        x="seconds",
        y=share,
        marks=[runs["hot"].line("one hot key", "naive", share), runs["even"].line("even", "inorder", share)],
    )
    age = "inorder_oldest_unsettled_seconds"
    stuck = runs["stuck"]
    last = stuck.pages[-1][1]
    number = max(map(str, range(PARTITIONS)), key=lambda one: last.value(age, partition=one))
    other = next(one for one in map(str, range(PARTITIONS)) if one != number)
    yield Plot(
        name="a-stuck-partition",
        title="A handler hangs: the oldest record that is not settled",
        x="seconds",
        y=age,
        marks=[
            stuck.line(f"partition {number}", "naive", age, partition=number),
            stuck.line(f"partition {other}", "inorder", age, partition=other),
        ],
    )


def main() -> None:
    """Run all, and draw."""
    quiet: list[list[dict[str, Any]]] = [[] for _ in range(6)]
    hang = [*quiet, [{"id": "x", "account": "a", "version": 1, "amount": BAD}]]
    feeds: dict[str, tuple[str, Callable[[], list[list[dict[str, Any]]]]]] = {
        "naive": ("naive", shuffled),
        "steady": ("steady", shuffled),
        "hot": ("steady", lambda: even("hot")),
        "even": ("steady", lambda: even(None)),
        "stuck": ("hanging", lambda: hang),
    }
    with tempfile.TemporaryDirectory(prefix="inorder-symptoms-") as name:
        runs = {one: Watched(Path(name) / one, consumer, feed()) for one, (consumer, feed) in feeds.items()}
        try:
            for run in runs.values():
                run.begin()
            began = time.monotonic()
            for number in range(SAMPLES):
                time.sleep(max(0.0, began + number * EVERY_S - time.monotonic()))
                for run in runs.values():
                    run.step(round(time.monotonic() - began, 3))
            PLOTS.mkdir(exist_ok=True)
            for plot in drawn(runs):
                (PLOTS / f"{plot.name}.svg").write_text(svg(plot))
        finally:
            for run in runs.values():
                run.site.run.end()


if __name__ == "__main__":
    main()
