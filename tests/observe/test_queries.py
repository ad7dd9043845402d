"""Every query of the alerts and the dashboard reads metrics and labels that exist, and finds something in a scrape."""

from __future__ import annotations

import json
from typing import Any

import promql_parser as ql
import pytest
from prometheus_client.parser import text_string_to_metric_families

from inorder.observe import dashboard
from inorder.observe.alerts import TABLE as ALERTS
from inorder.observe.meter import Meter
from inorder.observe.metrics import TABLE, Kind, Metric
from inorder.observe.prometheus import exposition
from tests.observe.promql import Series, evaluate, names_in

QUERIES = [query for panel in dashboard.PANELS for query, _ in panel.queries]
EXPRESSIONS = [*QUERIES, *(alert.expr for alert in ALERTS)]


def plain(query: str) -> str:
    """A query with Grafana's variables filled in."""
    return query.replace("$__rate_interval", "5m").replace("$stream", ".*")


def filled(times: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """A scrape in which every metric of the table has a value, and counters have grown `times` times."""
    meter = Meter()
    for metric in TABLE:
        if metric.label and not metric.values:
            meter.set(metric, times, *("0" for _ in metric.label))
            continue
        for value in metric.values or ("",):
            labels = (value,) if metric.label else ()
            if metric.kind is Kind.HISTOGRAM:
                meter.observe(metric, 1.5, *labels, n=times)
            else:
                meter.set(metric, times, *labels)
    body, _ = exposition(meter.snapshot(), "s", "1")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def exported(metric: Metric) -> set[str]:
    ends = ("_bucket", "_count", "_sum") if metric.kind is Kind.HISTOGRAM else ("",)
    return {metric.name + end for end in ends}


LABELS = {name: {"stream", "le", *metric.label} for metric in TABLE for name in exported(metric)}


@pytest.mark.parametrize("query", EXPRESSIONS)
def test_names_and_labels_exist(query: str) -> None:
    names = names_in(plain(query))
    assert names <= LABELS.keys()
    known = set().union(*(LABELS[name] for name in names))
    used: set[str] = set()

    def visit(node: Any) -> bool:
        if isinstance(node, ql.AggregateExpr) and node.modifier is not None:
            used.update(node.modifier.labels)
        selector = node.vector_selector if isinstance(node, ql.MatrixSelector) else node
        if isinstance(selector, ql.VectorSelector):
            used.update(matcher.name for matcher in selector.matchers.matchers)
        return True

    ql.walk(ql.parse(plain(query)), visit)
    assert used <= known


@pytest.mark.parametrize("query", QUERIES)
def test_every_panel_shows_something(query: str) -> None:
    series = Series()
    for times in range(1, 6):
        series.scraped(60.0 * times, filled(times))
    found = evaluate(plain(query), series, 300.0)
    assert any(value > 0 for value in found.values())


def test_every_metric_is_shown_or_said_why_not() -> None:
    shown = set().union(*(names_in(plain(query)) for query in QUERIES))
    hidden = {metric.name for metric in TABLE if not exported(metric) & shown}
    assert hidden == {
        "inorder_received_events_total",  # the sum of the outcomes
        "inorder_released_events_total",
        "inorder_replayed_events_total",
        "inorder_oldest_dead_letter_seconds",
        "inorder_in_flight_events",
        "inorder_partitions",
    }


def test_panels_do_not_overlap_and_fit() -> None:
    panels = json.loads(dashboard.as_json())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_a_query_of_something_that_is_not_there_is_noticed() -> None:
    with pytest.raises(AssertionError):
        test_names_and_labels_exist('sum by (stream) (inorder_events_total{key="a"})')
    with pytest.raises(AssertionError):
        test_names_and_labels_exist("inorder_no_such_total")
