"""The numbers of one process, and how those of several add up. Knows no exporter, no worker and no store.

A snapshot is plain data that goes over a pipe: a process that is killed takes with it what it counted since its last
one, at most a second's worth.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable

import msgspec

from inorder.observe.metrics import BY_NAME, TABLE, Kind, Metric

Series = tuple[str, tuple[str, ...]]
"""A metric's name, and the values of its labels."""


class Number(msgspec.Struct, frozen=True, array_like=True):
    """A counter or a gauge with certain label values."""

    name: str
    labels: tuple[str, ...]
    value: float


class Histogram(msgspec.Struct, frozen=True, array_like=True):
    """How many observations fell into each bucket, the last one being that of all larger ones, and their sum."""

    name: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    sum: float


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers of one process at one moment, or of several, added up."""

    numbers: list[Number] = []
    histograms: list[Histogram] = []
    busiest: list[tuple[str, int]] = []
    """The keys with the most effects lately, and how many; the most first."""
    effects: int = 0
    """How many effects on all keys that was of."""
    polled_s: float = 0.0
    """How long ago the poll loop last turned."""

    def value(self, metric: Metric, *labels: str) -> float:
        """One number; 0 if it is not there."""
        found = (one.value for one in self.numbers if one.name == metric.name and one.labels == labels)
        return next(found, 0.0)


class Meter:
    """Counters, gauges and histograms of one process. Any thread may use it."""

    def __init__(self, metrics: Iterable[Metric] = TABLE) -> None:
        self._lock = threading.Lock()
        self.tee: Callable[[str, float, tuple[str, ...], int], None] | None = None
        """Told of every observation of a histogram as well: name, value, labels, how many."""
        self._numbers: dict[Series, float] = {}
        self._histograms: dict[Series, tuple[list[int], list[float]]] = {}
        for metric in metrics:
            for value in metric.values or ("",) * (not metric.label):
                labels = (value,) if metric.label else ()
                if metric.kind is Kind.HISTOGRAM:
                    self._histograms[metric.name, labels] = ([0] * (len(metric.buckets) + 1), [0.0])
                elif metric.kind is Kind.COUNTER:
                    self._numbers[metric.name, labels] = 0.0

    def add(self, metric: Metric, n: float = 1, *labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            at = metric.name, labels
            self._numbers[at] = self._numbers.get(at, 0.0) + n

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge, or a counter that somebody else counts."""
        with self._lock:
            self._numbers[metric.name, labels] = value

    def clear(self, metric: Metric) -> None:
        """Forget all series of a gauge."""
        with self._lock:
            for at in [at for at in self._numbers if at[0] == metric.name]:
                del self._numbers[at]

    def observe(self, metric: Metric, value: float, *labels: str, n: int = 1) -> None:
        """Add `n` observations to a histogram."""
        with self._lock:
            counts, total = self._histograms[metric.name, labels]
            counts[bisect_left(metric.buckets, value)] += n
            total[0] += n * value
        if self.tee is not None:
            self.tee(metric.name, value, labels, n)

    def snapshot(self) -> Snapshot:
        """All numbers now."""
        with self._lock:
            numbers = [Number(name, labels, value) for (name, labels), value in self._numbers.items()]
            histograms = [
                Histogram(name, labels, tuple(counts), total[0])
                for (name, labels), (counts, total) in self._histograms.items()
            ]
        return Snapshot(numbers=numbers, histograms=histograms)


def added(snapshots: Iterable[Snapshot], most_keys: int = 50) -> Snapshot:
    """What several processes come to: sums, and the largest value of gauges that are the same for all."""
    numbers: dict[Series, float] = {}
    histograms: dict[Series, Histogram] = {}
    busiest: dict[str, int] = {}
    effects, polled_s = 0, 0.0
    for one in snapshots:
        for name, labels, value in map(msgspec.structs.astuple, one.numbers):
            known = numbers.get((name, labels))
            if known is None:
                numbers[name, labels] = value
            else:
                numbers[name, labels] = max(known, value) if BY_NAME[name].largest else known + value
        for histogram in one.histograms:
            at = histogram.name, histogram.labels
            histograms[at] = _sum(histograms[at], histogram) if at in histograms else histogram
        for key, n in one.busiest:
            busiest[key] = busiest.get(key, 0) + n
        effects += one.effects
        polled_s = max(polled_s, one.polled_s)
    return Snapshot(
        numbers=[Number(name, labels, value) for (name, labels), value in numbers.items()],
        histograms=list(histograms.values()),
        busiest=sorted(busiest.items(), key=lambda each: (-each[1], each[0]))[:most_keys],
        effects=effects,
        polled_s=polled_s,
    )


def left_behind(snapshot: Snapshot) -> Snapshot:
    """What remains of a process that has ended: what it counted."""
    kept = [number for number in snapshot.numbers if BY_NAME[number.name].kind is Kind.COUNTER]
    return Snapshot(numbers=kept, histograms=snapshot.histograms)


def _sum(one: Histogram, other: Histogram) -> Histogram:
    counts = tuple(mine + theirs for mine, theirs in zip(one.counts, other.counts, strict=True))
    return Histogram(one.name, one.labels, counts, one.sum + other.sum)
