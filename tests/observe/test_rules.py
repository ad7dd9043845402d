"""The rules over series that are written down: each fires when it is to, and stays silent otherwise.

Decided by an evaluator of our own, and by promtool as well where that is installed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from inorder.observe import alerts, dashboard
from inorder.observe.alerts import TABLE, Alert
from tests.observe.promql import LOOKBACK_S, Series, evaluate
from tests.observe.rule_cases import CASES, Case, values

ROOT = Path(__file__).resolve().parents[2]
MINUTE_S = 60.0
LABEL = re.compile(r'(\w+)="([^"]*)"')


def series_of(case: Case) -> Series:
    found = Series()
    for written, numbers in case.series.items():
        name, _, rest = written.partition("{")
        labels = frozenset({("__name__", name), *LABEL.findall(rest)})
        found[labels] = [(minute * MINUTE_S, value) for minute, value in enumerate(values(numbers))]
    return found


def fires(alert: Alert, case: Case, series: Series) -> bool:
    """Whether the rule has been true for as long as it must be."""
    hold = int(alert.hold.removesuffix("m"))
    since = case.minute - hold
    return since >= 0 and all(
        evaluate(alert.expr, series, minute * MINUTE_S) for minute in range(since, case.minute + 1)
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_who_fires(case: Case) -> None:
    series = series_of(case)
    assert {alert.name for alert in TABLE if fires(alert, case, series)} == set(case.alerts)


def test_every_alert_has_a_case_that_fires_and_one_of_its_metric_that_does_not() -> None:
    firing = {name for case in CASES for name in case.alerts}
    assert firing == {alert.name for alert in TABLE}


def promtool_says(folder: Path) -> subprocess.CompletedProcess[str]:
    """What promtool makes of the rules file and of all cases."""
    rules = folder / "alerts.yaml"
    rules.write_text(alerts.as_yaml())
    tests = [
        {
            "interval": "1m",
            "name": case.name,
            "input_series": [{"series": name, "values": numbers} for name, numbers in case.series.items()],
            "alert_rule_test": [
                {"eval_time": f"{case.minute}m", "alertname": alert.name, "exp_alerts": _expected(alert, case)}
                for alert in TABLE
            ],
        }
        for case in CASES
    ]
    file = folder / "test.yaml"
    file.write_text(json.dumps({"rule_files": [rules.name], "evaluation_interval": "1m", "tests": tests}))
    return subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)


if shutil.which("promtool"):

    def test_promtool_agrees(tmp_path: Path) -> None:
        said = promtool_says(tmp_path)
        assert said.returncode == 0, said.stdout + said.stderr


def _expected(alert: Alert, case: Case) -> list[dict[str, object]]:
    if alert.name not in case.alerts:
        return []
    [labels] = evaluate(alert.expr, series_of(case), case.minute * MINUTE_S)
    [value] = evaluate(alert.expr, series_of(case), case.minute * MINUTE_S).values()
    named = dict(labels)
    number = f"{value:g}"

    def filled(text: str) -> str:
        text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: named[found[1]], text)
        return text.replace("{{ $value }}", number)

    annotations = {"summary": filled(alert.summary), "runbook_url": alert.link}
    return [{"exp_labels": {**named, "severity": alert.severity}, "exp_annotations": annotations}]


def test_the_files_are_what_is_declared() -> None:
    assert (ROOT / "ops" / "alerts.yaml").read_text() == alerts.as_yaml(), "make ops writes it anew"
    assert (ROOT / "ops" / "dashboard.json").read_text() == dashboard.as_json(), "make ops writes it anew"


def test_the_evaluator_counts_as_prometheus_does() -> None:
    """Numbers as in Prometheus's own documentation of extrapolation, and a counter that began anew."""
    grown = frozenset({("__name__", "a_total"), ("x", "1")})
    began = frozenset({("__name__", "b_total")})
    series = Series({grown: [(60.0 * n, 10.0 * n) for n in range(11)], began: [(0, 5.0), (60, 9.0), (120, 1.0)]})
    [(labels, value)] = evaluate("increase(a_total[5m])", series, 600.0).items()
    assert labels == frozenset({("x", "1")})
    assert value == pytest.approx(50.0, rel=0.2)
    assert evaluate("rate(a_total[5m])", series, 600.0)[labels] == pytest.approx(value / 300)
    assert next(iter(evaluate("increase(b_total[3m])", series, 120.0).values())) == pytest.approx(5.0, rel=0.6)
    assert evaluate("a_total", series, 600.0 + LOOKBACK_S) == {}
    assert evaluate('a_total{x!="1"}', series, 600.0) == {}
    assert list(evaluate('a_total{x=~"1|2"}', series, 600.0).values()) == [100.0]
