"""A snapshot as Prometheus reads it. The only module that knows prometheus-client."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from inorder.observe.meter import Histogram, Number, Snapshot
from inorder.observe.metrics import TABLE, Kind
from inorder.observe.metrics import Metric as Declared


def exposition(snapshot: Snapshot, stream: str, version: str, accept: str = "") -> tuple[bytes, str]:
    """The page of metrics in the format that `accept` asks for, and its content type."""
    encode, content_type = choose_encoder(accept)
    return encode(_Page(snapshot, stream, version)), content_type


class _Page(Collector):
    """One snapshot, as the encoder wants it."""

    def __init__(self, snapshot: Snapshot, stream: str, version: str) -> None:
        self._stream = stream
        self._version = version
        self._numbers: dict[str, list[Number]] = {}
        self._histograms: dict[str, list[Histogram]] = {}
        for number in snapshot.numbers:
            self._numbers.setdefault(number.name, []).append(number)
        for histogram in snapshot.histograms:
            self._histograms.setdefault(histogram.name, []).append(histogram)

    def collect(self) -> Iterator[Metric]:
        """Each metric of the table that has a value, in the order of the table."""
        info = InfoMetricFamily("inorder_build", "Which inorder this is.", labels=["stream"])
        info.add_metric([self._stream], {"version": self._version})
        yield info
        for metric in TABLE:
            if metric.kind is Kind.HISTOGRAM:
                if metric.name in self._histograms:
                    yield self._histogram(metric)
            elif metric.name in self._numbers:
                yield self._number(metric)

    def _number(self, metric: Declared) -> Metric:
        family: CounterMetricFamily | GaugeMetricFamily
        labels = ["stream", *metric.label]
        if metric.kind is Kind.COUNTER:
            family = CounterMetricFamily(metric.name, metric.help, labels=labels)
        else:
            family = GaugeMetricFamily(metric.name, metric.help, labels=labels)
        for number in self._numbers[metric.name]:
            family.add_metric([self._stream, *number.labels], number.value)
        return family

    def _histogram(self, metric: Declared) -> Metric:
        family = HistogramMetricFamily(metric.name, metric.help, labels=["stream", *metric.label])
        edges = [*map(_edge, metric.buckets), "+Inf"]
        for histogram in self._histograms[metric.name]:
            buckets = list(zip(edges, map(float, accumulate(histogram.counts)), strict=True))
            family.add_metric([self._stream, *histogram.labels], buckets, histogram.sum)
        return family


def _edge(bound: float) -> str:
    return str(float(bound))
