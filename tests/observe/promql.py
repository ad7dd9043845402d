"""Evaluates the part of PromQL that the alerts and the dashboard use, over samples that a test has taken.

Parsed by promql-parser, which is Prometheus's own grammar. What is not known here is an error, so an expression cannot
pass by being misunderstood.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import promql_parser as ql

LOOKBACK_S = 300.0
"""How old a sample may be and still count as the present value."""

Labels = frozenset[tuple[str, str]]
Samples = list[tuple[float, float]]
Vector = dict[Labels, float]

_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a / b if b else math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a),
}
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_AGGREGATIONS: dict[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "max": max,
    "min": min,
    "count": len,
    "avg": lambda values: sum(values) / len(values),
}


class Series(dict[Labels, Samples]):
    """What was scraped: every series with its samples, oldest first. The name is the label `__name__`."""

    def scraped(self, at: float, page: Mapping[tuple[str, Labels], float]) -> None:
        """Add the samples of one scrape."""
        for (name, labels), value in page.items():
            self.setdefault(labels | {("__name__", name)}, []).append((at, value))


def evaluate(expr: str, series: Series, at: float) -> Vector:
    """The vector that `expr` is at a time."""
    found = _value(ql.parse(expr), series, at)
    assert isinstance(found, dict), f"{expr} is no vector"
    return found


def names_in(expr: str) -> set[str]:
    """The metrics that an expression reads."""
    found: set[str] = set()

    def visit(node: Any) -> bool:
        if isinstance(node, ql.MatrixSelector):
            found.add(str(node.vector_selector.name))
        elif isinstance(node, ql.VectorSelector):
            found.add(str(node.name))
        return True

    ql.walk(ql.parse(expr), visit)
    return found


def _value(node: Any, series: Series, at: float) -> Vector | float:
    if isinstance(node, ql.ParenExpr):
        return _value(node.expr, series, at)
    if isinstance(node, ql.NumberLiteral):
        return float(node.val)
    if isinstance(node, ql.VectorSelector):
        return {
            labels: samples[-1][1]
            for labels, found in _selected(node, series)
            if (samples := [one for one in found if at - LOOKBACK_S < one[0] <= at])
        }
    if isinstance(node, ql.Call):
        return _called(node, series, at)
    if isinstance(node, ql.AggregateExpr):
        return _aggregated(node, _vector(node.expr, series, at))
    if isinstance(node, ql.BinaryExpr):
        return _combined(node, _value(node.lhs, series, at), _value(node.rhs, series, at))
    raise NotImplementedError(type(node).__name__)


def _vector(node: Any, series: Series, at: float) -> Vector:
    found = _value(node, series, at)
    assert isinstance(found, dict)
    return found


def _selected(node: Any, series: Series) -> Iterable[tuple[Labels, Samples]]:
    assert node.offset is None, "offset"
    assert node.at is None, "@"
    for labels, samples in series.items():
        having = dict(labels)
        if having["__name__"] == node.name and all(_matches(one, having) for one in node.matchers.matchers):
            yield labels, samples


def _matches(matcher: Any, having: dict[str, str]) -> bool:
    value, wanted = having.get(matcher.name, ""), matcher.value
    how = str(matcher.op).rpartition(".")[2]
    if how in {"Equal", "NotEqual"}:
        return bool(value == wanted) == (how == "Equal")
    assert how in {"Re", "NotRe"}, how
    return bool(re.fullmatch(wanted, value)) == (how == "Re")


def _called(node: Any, series: Series, at: float) -> Vector:
    name = node.func.name
    if name == "histogram_quantile":
        quantile, buckets = node.args
        return _quantile(float(quantile.val), _vector(buckets, series, at))
    assert name in {"increase", "rate"}, name
    [matrix] = node.args
    range_s = matrix.range.total_seconds()
    found: Vector = {}
    for labels, samples in _selected(matrix.vector_selector, series):
        within = [one for one in samples if at - range_s < one[0] <= at]
        if len(within) > 1:
            grown = _extrapolated(within, at - range_s, at)
            found[_without_name(labels)] = grown / range_s if name == "rate" else grown
    return found


def _extrapolated(samples: Samples, start: float, end: float) -> float:
    """What a counter has grown by, as Prometheus guesses it beyond the first and the last sample."""
    grown = samples[-1][1] - samples[0][1]
    grown += sum(before for (_, before), (_, after) in pairwise(samples) if after < before)
    sampled_s = samples[-1][0] - samples[0][0]
    between_s = sampled_s / (len(samples) - 1)
    to_start_s, to_end_s = samples[0][0] - start, end - samples[-1][0]
    if grown > 0 and samples[0][1] >= 0:
        to_start_s = min(to_start_s, sampled_s * samples[0][1] / grown)
    wide_s = sampled_s
    for gap_s in (to_start_s, to_end_s):
        wide_s += gap_s if gap_s < between_s * 1.1 else between_s / 2
    return grown * wide_s / sampled_s


def _quantile(quantile: float, buckets: Vector) -> Vector:
    groups: dict[Labels, list[tuple[float, float]]] = {}
    for labels, value in buckets.items():
        rest = frozenset(one for one in labels if one[0] not in {"le", "__name__"})
        groups.setdefault(rest, []).append((float(dict(labels)["le"]), value))
    found: Vector = {}
    for labels, edges in groups.items():
        edges.sort()
        rank = quantile * edges[-1][1]
        below = 0.0, 0.0
        for edge, count in edges:
            if count >= rank and count:
                width = 0.0 if math.isinf(edge) else (edge - below[0]) * (rank - below[1]) / (count - below[1])
                found[labels] = below[0] + width
                break
            below = edge, count
        else:
            found[labels] = math.nan
    return found


def _aggregated(node: Any, vector: Vector) -> Vector:
    aggregate = _AGGREGATIONS[str(node.op)]
    assert node.modifier is None or node.modifier.type == ql.AggModifierType.By, "without"
    by = set(node.modifier.labels) if node.modifier else set()
    groups: dict[Labels, list[float]] = {}
    for labels, value in vector.items():
        groups.setdefault(frozenset(one for one in labels if one[0] in by), []).append(value)
    return {labels: aggregate(values) for labels, values in groups.items()}


def _combined(node: Any, left: Vector | float, right: Vector | float) -> Vector | float:
    name = str(node.op)
    assert node.modifier is None or node.modifier.matching is None, "on, ignoring"
    if name == "and":
        assert isinstance(left, dict)
        assert isinstance(right, dict)
        both = {_without_name(labels) for labels in right}
        return {labels: value for labels, value in left.items() if _without_name(labels) in both}
    if isinstance(left, dict) and isinstance(right, dict):
        others = {_without_name(labels): value for labels, value in right.items()}
        pairs = [(labels, value, others.get(_without_name(labels))) for labels, value in left.items()]
    elif isinstance(left, dict):
        pairs = [(labels, value, right) for labels, value in left.items()]  # type: ignore[misc]
    else:
        raise NotImplementedError("a scalar on the left")
    if name in _COMPARISONS:
        return {labels: a for labels, a, b in pairs if b is not None and _COMPARISONS[name](a, b)}
    return {_without_name(labels): _OPERATORS[name](a, b) for labels, a, b in pairs if b is not None}


def _without_name(labels: Labels) -> Labels:
    return frozenset(one for one in labels if one[0] != "__name__")
