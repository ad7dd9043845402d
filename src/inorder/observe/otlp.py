"""Sends traces and metrics on as OpenTelemetry's own environment variables say (OTEL_EXPORTER_OTLP_ENDPOINT, …)."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

TIMEOUT_S = 3
"""For one export, unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise: a collector that does not answer must not keep a
worker from ending."""


@contextmanager
def exporting(stream: str, worker: str) -> Iterator[tuple[TracerProvider, MeterProvider]]:
    """Providers for one worker, whose last spans and numbers are sent at the end of the block."""
    named = Resource.create({"service.instance.id": f"{stream}-{worker}"})
    if named.attributes.get("service.name", "unknown_service") == "unknown_service":
        named = named.merge(Resource({"service.name": stream}))
    # One line for an export that failed is enough; its library has one for every attempt.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    timeout_s = None if "OTEL_EXPORTER_OTLP_TIMEOUT" in os.environ else TIMEOUT_S
    tracers = TracerProvider(resource=named)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=timeout_s)))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(timeout=timeout_s))
    meters = MeterProvider([reader], resource=named)
    try:
        yield tracers, meters
    finally:
        tracers.shutdown()
        meters.shutdown(1000 * TIMEOUT_S)
