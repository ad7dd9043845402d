"""The table of metrics: what every line of it keeps to."""

from __future__ import annotations

import re

import pytest

from inorder.observe.metrics import BY_NAME, TABLE, Kind, Metric

FORBIDDEN = re.compile(r"key|id|offset|entity|version|account")


def name_of(metric: Metric) -> str:
    return metric.name


def test_no_name_is_used_twice() -> None:
    assert len(BY_NAME) == len(TABLE) > 30


@pytest.mark.parametrize("metric", TABLE, ids=name_of)
def test_names_and_labels_keep_to_the_rules(metric: Metric) -> None:
    assert re.fullmatch(r"inorder_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert metric.name.endswith("_seconds") == (metric.unit == "s")
    assert [label for label in metric.label if FORBIDDEN.search(label)] == []
    assert metric.help.endswith(".")
    if metric.kind is not Kind.GAUGE:
        # A counter that appears at 5 has not increased, as far as Prometheus can tell: all are there from the start.
        assert len(metric.label) == bool(metric.values)
