"""What OpenTelemetry is told: a span for each slice, with links, and the same numbers as Prometheus; all is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from inorder.core.order import Order
from inorder.observe import metrics
from inorder.observe.otel import MOST_LINKS, Telling
from inorder.sources.embedded_broker import EmbeddedBroker, Message
from inorder.worker.run import Worker
from inorder.worker.settings import Settings
from tests.cli.conftest import CONSUMERS, Start, events, write_lines
from tests.observe.consumers import steady
from tests.observe.scraping import await_

TRACE = "4bf92f3577b34da6a3ce929d0e0e{:04x}"


class Told:
    """What a worker over a topic of one partition has told."""

    def __init__(self, folder: Path, headers: list[tuple[tuple[str, bytes], ...]]) -> None:
        broker = EmbeddedBroker(folder / "b.db")
        broker.create_topic("entries", 1)
        found = events(2, len(headers) // 2)
        lines = write_lines(folder / "lines", found).read_bytes().splitlines()
        broker.append_many("entries", [Message(b"k", line, has) for line, has in zip(lines, headers, strict=True)])
        broker.close()
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.telling = Telling(Order.STRICT, "stream", "kafka", tracers, MeterProvider([self.reader]))
        source, store = f"embedded://{folder}/b.db/entries", f"sqlite:///{folder}/s.db"
        Worker(steady, Settings(source=source, store=store, until_idle_s=0.05), observer=self.telling).run()

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()


def parent(number: int) -> tuple[tuple[str, bytes], ...]:
    return (("traceparent", f"00-{TRACE.format(number)}-00f067aa0ba902b7-01".encode()), ("other", b"\xff"))


def test_a_slice_is_a_span_with_links_to_what_its_records_carry(tmp_path: Path) -> None:
    told = Told(tmp_path, [parent(1), parent(2), parent(1), (("traceparent", b"nonsense"),), (), ()])
    [span] = told.spans
    assert span.name == "process entries"
    assert span.kind is SpanKind.CONSUMER
    assert span.parent is None
    assert [f"{link.context.trace_id:x}" for link in span.links] == [TRACE.format(1), TRACE.format(2)]
    assert span.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "entries",
        "messaging.destination.partition.id": "0",
        "messaging.consumer.group.name": "stream",
        "messaging.batch.message_count": 6,
        "inorder.outcome": "settled",
    }
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time < span.end_time


def test_links_are_bounded(tmp_path: Path) -> None:
    told = Told(tmp_path, [parent(number + 1) for number in range(2 * MOST_LINKS)])
    assert max(len(span.links) for span in told.spans) == MOST_LINKS


def test_metrics_are_the_same_as_elsewhere(tmp_path: Path) -> None:
    told = Told(tmp_path, [()] * 10)
    data = told.reader.get_metrics_data()
    assert data is not None
    [resource] = data.resource_metrics
    [scope] = resource.scope_metrics
    points = {
        (one.name, tuple(sorted((name, value) for name, value in (point.attributes or {}).items()))): point
        for one in scope.metrics
        for point in one.data.data_points
    }
    applied = points["inorder.events", (("outcome", "applied"), ("stream", "stream"))]
    assert not isinstance(applied, HistogramDataPoint)
    assert getattr(applied, "value", None) == 10 == told.telling.snapshot().value(metrics.EVENTS, "applied")
    batch = points["inorder.batch_events", (("stream", "stream"),)]
    assert isinstance(batch, HistogramDataPoint)
    assert (batch.count, batch.sum) == (1, 10)
    assert tuple(batch.explicit_bounds) == metrics.BATCH_EVENTS.buckets
    labels = {name for _, attributes in points for name, _ in attributes}
    assert labels <= {"stream", *(label for metric in metrics.TABLE for label in metric.label)}


@pytest.fixture
def collector() -> Iterator[tuple[str, dict[str, int]]]:
    """An endpoint that takes whatever is sent to it, and how many bytes that was by path."""
    got: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            got[self.path] = got.get(self.path, 0) + len(self.rfile.read(size))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_run_sends_what_it_has_before_it_ends(
    start: Start, tmp_path: Path, collector: tuple[str, dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, got = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    file = write_lines(tmp_path / "events.jsonl", events(2, 3))
    run = start("run", f"{CONSUMERS}:ledger", "--from", file, "--until-idle", 0.1, "--otel")
    await_(run, lambda: run.process.poll() is not None)
    assert run.code() == 0
    assert set(got) == {"/v1/traces", "/v1/metrics"}
    assert all(size > 100 for size in got.values())
