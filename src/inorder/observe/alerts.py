"""Every alert, declared once, and the file that Prometheus reads: `python -m inorder.observe.alerts`.

Each links to the section of the runbook that says what to do. Nothing here evaluates a rule.
"""

from __future__ import annotations

import json
from typing import NamedTuple

RUNBOOK = "docs/runbook.md"


class Alert(NamedTuple):
    """One rule."""

    name: str
    expr: str
    hold: str
    """For how long it must be so."""
    severity: str
    summary: str
    section: str
    """The heading of the runbook."""

    @property
    def link(self) -> str:
        """Where the runbook says more."""
        return f"{RUNBOOK}#{self.section}"


def _most(metric: str) -> str:
    """A number that is the same for the whole stream, whoever says it."""
    return f"max by (stream) ({metric})"


def _more(metric: str, window: str = "15m") -> str:
    """By how much a counter has grown."""
    return f"sum by (stream) (increase({metric}[{window}]))"


_LAG = "sum by (stream) (max by (stream, topic, partition) (inorder_lag_events))"
_EARLY = 'sum by (stream) (rate(inorder_arrival_disorder_total{kind="early"}[10m]))'
_RECEIVED = "sum by (stream) (rate(inorder_received_events_total[10m]))"

TABLE = (
    Alert(
        "InorderEffectsOutOfOrder",
        f"{_more('inorder_effect_order_violations_total')} > 0",
        "0m",
        "critical",
        "Effects were committed out of order: states of {{ $labels.stream }} are wrong.",
        "effects-out-of-order",
    ),
    Alert(
        "InorderArrivalDisorder",
        f"{_EARLY} / {_RECEIVED} > 0.05",
        "10m",
        "warning",
        "More than 1 in 20 events of {{ $labels.stream }} arrive before their predecessors. It is absorbed, and costs "
        "time.",
        "events-arrive-out-of-order",
    ),
    Alert(
        "InorderConflict",
        f'{_more("""inorder_events_total{outcome=~"conflict|late"}""")} > 0',
        "0m",
        "critical",
        "Two events of {{ $labels.stream }} claim one version, or one came after its version was skipped.",
        "two-events-claim-one-version",
    ),
    Alert(
        "InorderGapDoesNotFill",
        f'{_most("""inorder_oldest_wait_seconds{why="gap"}""")} > 60',
        "1m",
        "warning",
        "A version of {{ $labels.stream }} is missing for more than a minute; its key waits.",
        "a-gap-that-does-not-fill",
    ),
    Alert(
        "InorderKeysParked",
        f'{_most("""inorder_waiting_keys{why="parked"}""")} > 0',
        "5m",
        "warning",
        "{{ $value }} keys of {{ $labels.stream }} are stopped until somebody decides.",
        "dead-letters-and-parked-keys",
    ),
    Alert(
        "InorderDeadLetters",
        "sum by (stream) (max by (stream, reason) (inorder_open_dead_letters)) > 0",
        "5m",
        "warning",
        "{{ $value }} dead letters of {{ $labels.stream }} are open.",
        "dead-letters-and-parked-keys",
    ),
    Alert(
        "InorderReplayFails",
        f'{_most("""inorder_replay_letters{result="failed"}""")} > 0',
        "1m",
        "warning",
        "{{ $value }} letters of the newest replay of {{ $labels.stream }} failed again.",
        "a-replay-fails",
    ),
    Alert(
        "InorderHotKey",
        f"{_most('inorder_busiest_key_share')} > 0.5 and {_LAG} > 1000",
        "5m",
        "warning",
        "One key has more than half of the effects of {{ $labels.stream }}, and the group is behind.",
        "a-hot-key",
    ),
    Alert(
        "InorderFallsBehind",
        f"{_LAG} > 10000",
        "15m",
        "warning",
        "The group of {{ $labels.stream }} is {{ $value }} events behind.",
        "falling-behind",
    ),
    Alert(
        "InorderPartitionStuck",
        "max by (stream, topic, partition) (inorder_oldest_unsettled_seconds) > 120",
        "2m",
        "critical",
        "{{ $labels.topic }}/{{ $labels.partition }} has a record that is not settled after two minutes.",
        "a-stuck-partition",
    ),
    Alert(
        "InorderZombieWrites",
        f"{_more('inorder_fenced_writes_total')} > 0",
        "0m",
        "warning",
        "A worker of {{ $labels.stream }} wrote for a partition that it no longer had. It was refused.",
        "zombie-writes",
    ),
    Alert(
        "InorderPartitionsLost",
        f'{_more("""inorder_rebalanced_partitions_total{event="lost"}""")} > 0',
        "0m",
        "warning",
        "Partitions of {{ $labels.stream }} were taken from a worker that was too slow to give them back.",
        "zombie-writes",
    ),
    Alert(
        "InorderWorkersDie",
        f"{_more('inorder_worker_restarts_total')} > 2",
        "0m",
        "critical",
        "Worker processes of {{ $labels.stream }} die again and again.",
        "workers-die",
    ),
    Alert(
        "InorderPaused",
        "sum by (stream) (inorder_paused_workers) > 0",
        "1m",
        "critical",
        "Workers of {{ $labels.stream }} wait: the store, or what their handler needs, is down.",
        "the-store-is-down",
    ),
    Alert(
        "InorderStoreDown",
        "min by (stream) (inorder_store_up) == 0",
        "1m",
        "critical",
        "The store of {{ $labels.stream }} does not answer.",
        "the-store-is-down",
    ),
)


def as_yaml(table: tuple[Alert, ...] = TABLE) -> str:
    """The rules file. JSON's texts are YAML's too, so no text can break it."""
    lines = [
        "# Alerts for `inorder run --metrics`. Written by `make ops` from src/inorder/observe/alerts.py.",
        "groups:",
        "  - name: inorder",
        "    rules:",
    ]
    for alert in table:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {json.dumps(alert.expr)}",
            f"        for: {alert.hold}",
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
            f"          summary: {json.dumps(alert.summary)}",
            f"          runbook_url: {json.dumps(alert.link)}",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(as_yaml(), end="")
