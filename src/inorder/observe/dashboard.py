"""The Grafana dashboard, declared once: `python -m inorder.observe.dashboard` prints its JSON. It asks nobody."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

_ONLY = 'stream=~"$stream"'
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDE, _HIGH = 24, 8


class Panel(NamedTuple):
    """One panel: queries with their legends, and what a person sees in it."""

    title: str
    note: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    alarm: float | None = None
    """From here on it is red."""


def _rate(metric: str, by: str, matcher: str = "") -> str:
    inside = ", ".join(filter(None, (_ONLY, matcher)))
    return f"sum by ({by}) (rate({metric}{{{inside}}}[$__rate_interval]))"


def _most(metric: str, by: str = "stream", matcher: str = "") -> str:
    inside = ", ".join(filter(None, (_ONLY, matcher)))
    return f"max by ({by}) ({metric}{{{inside}}})"


def _quantile(metric: str, quantile: float) -> str:
    return f"histogram_quantile({quantile}, {_rate(f'{metric}_bucket', 'le')})"


PANELS = (
    Panel(
        "Effects out of order",
        "Must be zero. Anything else: states are wrong, see the runbook.",
        ((f"sum by (stream) (inorder_effect_order_violations_total{{{_ONLY}}})", "{{stream}}"),),
        "stat",
        width=4,
        alarm=1,
    ),
    Panel(
        "Effects checked",
        "How many effects a second were checked: a zero beside it says something only while this is not zero.",
        ((_rate("inorder_effect_order_checks_total", "stream"), "{{stream}}"),),
        "stat",
        "ops",
        4,
    ),
    Panel("Workers", "", ((f"sum by (stream) (inorder_workers{{{_ONLY}}})", "{{stream}}"),), "stat", width=4),
    Panel(
        "Parked keys",
        "Stopped until somebody decides.",
        ((_most("inorder_waiting_keys", matcher='why="parked"'), "{{stream}}"),),
        "stat",
        width=4,
        alarm=1,
    ),
    Panel(
        "Open dead letters",
        "",
        ((f"sum by (stream) ({_most('inorder_open_dead_letters', 'stream, reason')})", "{{stream}}"),),
        "stat",
        width=4,
        alarm=1,
    ),
    Panel(
        "Store",
        "1: it answers.",
        ((f"min by (stream) (inorder_store_up{{{_ONLY}}})", "{{stream}}"),),
        "stat",
        width=4,
    ),
    Panel("Events by outcome", "", ((_rate("inorder_events_total", "outcome"), "{{outcome}}"),), unit="ops"),
    Panel(
        "Arrival disorder",
        "Events that did not arrive in their turn. All of it is absorbed; its cause is before inorder.",
        ((_rate("inorder_arrival_disorder_total", "kind"), "{{kind}}"),),
        unit="ops",
    ),
    Panel(
        "How far ahead events arrive",
        "Versions between an early event and the one that was due.",
        ((_rate("inorder_version_distance_bucket", "le", 'direction="ahead"'), "{{le}}"),),
        "heatmap",
    ),
    Panel(
        "Keys that wait",
        "",
        ((_most("inorder_waiting_keys", "why"), "{{why}}"),),
    ),
    Panel(
        "The longest wait",
        "",
        ((_most("inorder_oldest_wait_seconds", "why"), "{{why}}"),),
        unit="s",
    ),
    Panel("Events that wait in the store", "", ((_most("inorder_held_events"), "{{stream}}"),)),
    Panel(
        "Behind, in events",
        "Records that the group has not committed.",
        ((_most("inorder_lag_events", "topic, partition"), "{{topic}}/{{partition}}"),),
    ),
    Panel(
        "Behind, in seconds",
        "Age of the oldest record that a worker has and has not settled.",
        ((_most("inorder_oldest_unsettled_seconds", "topic, partition"), "{{topic}}/{{partition}}"),),
        unit="s",
    ),
    Panel(
        "From record to settled",
        "",
        tuple((_quantile("inorder_end_to_end_seconds", each), f"p{each * 100:g}") for each in (0.5, 0.99)),
        unit="s",
    ),
    Panel(
        "One batch",
        "Decisions and handlers, and the commit after them: 99th percentiles.",
        (
            (_quantile("inorder_batch_seconds", 0.99), "decide"),
            (_quantile("inorder_store_seconds", 0.99), "store"),
        ),
        unit="s",
    ),
    Panel(
        "Batch size",
        "Decisions in one transaction, on average.",
        ((f"{_rate('inorder_batch_events_sum', 'stream')} / {_rate('inorder_batch_events_count', 'stream')}", "mean"),),
    ),
    Panel(
        "Handlers without tx",
        "99th percentiles.",
        (
            (_quantile("inorder_handler_seconds", 0.99), "call"),
            (_quantile("inorder_lane_wait_seconds", 0.99), "wait before it"),
        ),
        unit="s",
    ),
    Panel(
        "The busiest key",
        "Its part of all effects; /keys and `inorder top` name it.",
        ((_most("inorder_busiest_key_share"), "{{stream}}"),),
        unit="percentunit",
    ),
    Panel(
        "Retries and dead letters",
        "",
        (
            (_rate("inorder_retries_total", "stream"), "retries"),
            (_rate("inorder_dead_letters_total", "reason"), "{{reason}}"),
        ),
        unit="ops",
    ),
    Panel(
        "Replay",
        "Letters of the newest plan, by what became of them.",
        ((_most("inorder_replay_letters", "result"), "{{result}}"),),
    ),
    Panel(
        "Partitions that came and went",
        "lost: taken from a worker that was too slow to give it back.",
        ((f"sum by (event) (increase(inorder_rebalanced_partitions_total{{{_ONLY}}}[5m]))", "{{event}}"),),
    ),
    Panel(
        "Refused writes",
        "fenced: of a worker that had lost its partition. outdated: an entity was changed in the meantime.",
        (
            (_rate("inorder_fenced_writes_total", "stream"), "fenced"),
            (_rate("inorder_outdated_writes_total", "stream"), "outdated"),
        ),
        unit="ops",
    ),
    Panel(
        "Worker processes",
        "",
        (
            (f"sum by (stream) (inorder_workers{{{_ONLY}}})", "run"),
            (f"sum by (cause) (inorder_paused_workers{{{_ONLY}}})", "paused: {{cause}}"),
            (f"sum by (stream) (increase(inorder_worker_restarts_total{{{_ONLY}}}[15m]))", "died in 15 min"),
        ),
    ),
)


def as_json() -> str:
    """The dashboard as Grafana imports it."""
    document = {
        "uid": "inorder",
        "title": "inorder",
        "tags": ["inorder"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": list(_placed()),
    }
    return json.dumps(document, indent=1) + "\n"


def _variables() -> list[dict[str, Any]]:
    streams = "label_values(inorder_workers, stream)"
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "stream",
            "type": "query",
            "datasource": _SOURCE,
            "definition": streams,
            "query": {"query": streams, "refId": "stream"},
            "refresh": 2,
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _placed() -> list[dict[str, Any]]:
    """The panels, from left to right and from top to bottom."""
    found, x, y, high = [], 0, 0, 0
    for number, panel in enumerate(PANELS, 1):
        height = _HIGH // 2 if panel.kind == "stat" else _HIGH
        if x + panel.width > _WIDE:
            x, y = 0, y + high
        found.append(_panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": height}))
        x, high = x + panel.width, height
    return found


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    heat = panel.kind == "heatmap"
    colors: dict[str, Any] = {}
    if panel.alarm is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.alarm}]
        colors = {"thresholds": {"mode": "absolute", "steps": steps}}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.note,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, **colors}, "overrides": []},
        "options": {"calculate": False, "yAxis": {"unit": "short"}} if heat else {},
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": _SOURCE,
                "expr": query,
                "legendFormat": legend,
                **({"format": "heatmap"} if heat else {}),
            }
            for at, (query, legend) in enumerate(panel.queries)
        ],
    }


if __name__ == "__main__":
    print(as_json(), end="")
