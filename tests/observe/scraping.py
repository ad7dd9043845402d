"""Asks a running `inorder run --metrics 0` as Prometheus would."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.cli.process import Running

Labels = frozenset[tuple[str, str]]


PATIENCE_S = 100.0
"""For what takes a second or two on a machine with nothing else to do."""


def await_(run: Running, true: Callable[[], object]) -> None:
    """Wait for something that this run will bring about."""
    until = time.monotonic() + PATIENCE_S
    while not true() and run.process.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    assert true(), run.err[-3_000:]


class Page(dict[tuple[str, Labels], float]):
    """All samples of one scrape."""

    def value(self, name: str, **labels: str) -> float:
        """The sum of all series of this name that have these labels; 0 if there are none."""
        wanted = set(labels.items())
        return sum(value for (found, having), value in self.items() if found == name and wanted <= having)


class Scraped:
    """The pages of one run."""

    def __init__(self, run: Running) -> None:
        await_(run, lambda: re.search(r"metrics at http://localhost:\d+", run.err))
        [port] = set(re.findall(r"metrics at http://localhost:(\d+)", run.err))
        self.base = f"http://127.0.0.1:{port}"

    def get(self, path: str, host: str | None = None) -> tuple[int, str]:
        """Status and body."""
        try:
            with urllib.request.urlopen(self.base + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self) -> Page:
        """A scrape."""
        status, text = self.get("/metrics")
        assert status == 200
        page = Page()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                page[sample.name, frozenset(sample.labels.items())] = sample.value
        return page

    def keys(self) -> dict[str, Any]:
        """The busiest keys, and those that wait."""
        status, text = self.get("/keys")
        assert status == 200
        found: dict[str, Any] = json.loads(text)
        return found
