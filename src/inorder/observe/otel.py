"""Traces and metrics as OpenTelemetry. The only module that knows its library; decides nothing.

One span for each slice of a poll, from its arrival until all of it is settled, with links to what its records carry as
`traceparent`: links and not parents, since one batch has many. Names are those of the messaging conventions, which are
in development: a change of them is made here. A key or an id is never an attribute of a metric.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import metrics as api
from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Histogram, Observation
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from inorder.core.engine import Unit
from inorder.core.event import Slice
from inorder.core.order import Order
from inorder.observe.metrics import BY_NAME, TABLE, Kind, Metric
from inorder.observe.watching import Watching

MOST_LINKS = 128
"""Links of one span, which is also the most that OpenTelemetry's SDK keeps."""

_CARRIED = {"traceparent", "tracestate"}
_context = TraceContextTextMapPropagator()


class Telling(Watching):
    """The observer of one worker that tells OpenTelemetry as well. `system` is the broker's name: kafka, aws_sqs, …

    Providers are the process's own unless given.
    """

    def __init__(
        self,
        order: Order,
        stream: str,
        system: str,
        tracers: trace.TracerProvider | None = None,
        meters: api.MeterProvider | None = None,
    ) -> None:
        super().__init__(order)
        self._stream = stream
        self._system = system
        self._tracer = trace.get_tracer("inorder", tracer_provider=tracers)
        self._begun: dict[Unit, tuple[int, list[Link]]] = {}
        self._histograms: dict[str, Histogram] = {}
        meter = (meters or api.get_meter_provider()).get_meter("inorder")
        for metric in TABLE:
            self._declare(meter, metric)
        self._meter.tee = self._record

    # Spans.

    def received(self, unit: Unit, piece: Slice) -> None:
        """A slice has arrived: its span begins."""
        super().received(unit, piece)
        self._begun[unit] = time.time_ns(), links_of(piece)

    def settled(self, unit: Unit) -> None:
        """All of a slice is settled: its span ends."""
        super().settled(unit)
        begun = self._begun.pop(unit, None)
        if begun is not None:
            self._span(unit, *begun, outcome="settled")

    def lapsed(self, unit: Unit) -> None:
        """The lease of a slice has ended before its turn came."""
        super().lapsed(unit)
        self._begun.pop(unit, None)

    def owned(self, partitions: Iterable[Any], came: int = 0, went: int = 0, lost: int = 0) -> None:
        """What was under way of partitions that are no longer ours was left to others."""
        kept = set(partitions)
        super().owned(kept, came, went, lost)
        for unit in [unit for unit in self._begun if unit.partition not in kept]:
            self._span(unit, *self._begun.pop(unit), outcome="revoked")

    def _span(self, unit: Unit, began_ns: int, links: list[Link], outcome: str) -> None:
        attributes: dict[str, str | int] = {
            "messaging.system": self._system,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": unit.partition.topic,
            "messaging.destination.partition.id": str(unit.partition.number),
            "messaging.consumer.group.name": self._stream,
            "messaging.batch.message_count": unit.events,
            "inorder.outcome": outcome,
        }
        name = f"process {unit.partition.topic}"
        span = self._tracer.start_span(name, None, SpanKind.CONSUMER, attributes, links, start_time=began_ns)
        span.end()

    # Metrics.

    def _declare(self, meter: api.Meter, metric: Metric) -> None:
        name = "inorder." + metric.name.removeprefix("inorder_").removesuffix("_total")
        if metric.kind is Kind.HISTOGRAM:
            self._histograms[metric.name] = meter.create_histogram(
                name, metric.unit, metric.help, explicit_bucket_boundaries_advisory=metric.buckets
            )
            return
        create = meter.create_observable_counter if metric.kind is Kind.COUNTER else meter.create_observable_gauge
        create(name, [self._observed(metric)], metric.unit, metric.help)

    def _observed(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            found = [one for one in self.snapshot().numbers if one.name == metric.name]
            return [Observation(one.value, self._attributes(metric, one.labels)) for one in found]

        return observe

    def _record(self, name: str, value: float, labels: tuple[str, ...], n: int) -> None:
        attributes = self._attributes(BY_NAME[name], labels)
        for _ in range(n):
            self._histograms[name].record(value, attributes)

    def _attributes(self, metric: Metric, labels: tuple[str, ...]) -> dict[str, str]:
        return {"stream": self._stream, **dict(zip(metric.label, labels, strict=True))}


def links_of(piece: Slice) -> list[Link]:
    """Links to the traces that the records of a slice belong to, each once."""
    links: dict[tuple[int, int], Link] = {}
    for index in range(len(piece)):
        headers = piece.record(index).headers
        carrier = {name.lower(): value.decode("latin-1") for name, value in headers if name.lower() in _CARRIED}
        if not carrier:
            continue
        found = trace.get_current_span(_context.extract(carrier)).get_span_context()
        if found.is_valid:
            links[found.trace_id, found.span_id] = Link(found)
            if len(links) == MOST_LINKS:
                break
    return list(links.values())
