"""What a store says of its streams at one moment, for `inorder status`. Only reads."""

from __future__ import annotations

import time
from typing import Any

from inorder.core.order import Outcome
from inorder.core.waiting import Wait
from inorder.observe.stock import newest_replay
from inorder.worker.pulse import BEAT_EVERY_S

SILENT_S = 3 * BEAT_EVERY_S
"""A worker that gave no sign of life for so long counts as gone."""
MOST_KEYS = 10
"""Parked keys that are named."""


def status_of(store: Any, order: str) -> dict[str, Any]:
    """The document of one stream."""
    now = time.time()
    counts, waits = store.counts(), store.waits()
    workers = [_worker(row) for row in store.workers()]
    live = [one for one in workers if one["live"]]
    reasons = store.open_reasons()
    return {
        "stream": store.stream,
        "order": order,
        "received": counts.get("received", 0),
        "outcomes": {str(outcome): counts.get(outcome, 0) for outcome in Outcome},
        "events_per_s": round(sum(one["events_per_s"] for one in live), 1),
        "held": store.held_count(),
        "waiting_keys": {
            str(why): {"keys": waits[why][0], "oldest_age_s": _age(waits[why][1], now)} for why in Wait if why in waits
        },
        "parked": [
            {
                "key": key,
                "version": one.version,
                "age_s": _age(one.since, now),
                "behind": store.held_versions(key)[0],
                "why": one.reason,
            }
            for key, one in store.longest_parked(MOST_KEYS)
        ],
        "dead_letters": [
            {"reason": row.reason, "open": row.letters, "keys": row.keys, "oldest_age_s": _age(row.first_at, now)}
            for row in reasons
        ],
        "replay": _replay(store, waits),
        "workers": workers,
    }


def _worker(row: Any) -> dict[str, Any]:
    live = row.silent_s < SILENT_S
    return {
        "worker": row.worker,
        "run": row.tally,
        "live": live,
        "seen_s_ago": round(row.silent_s, 1),
        "runs_s": round(row.runs_s, 1),
        "events_per_s": round(row.events_per_s if live else 0.0, 1),
        "partitions": [str(partition) for partition in row.partitions],
    }


def _replay(store: Any, waits: dict[str, tuple[int, float]]) -> dict[str, Any] | None:
    """The newest plan, where it was begun and has letters left, or is draining what waited behind them."""
    draining = waits.get(Wait.REPLAY, (0, 0.0))[0]
    plans = store.plans(1)
    if not plans:
        return None
    letters = newest_replay(store)
    begun, left = sum(letters.values()) - letters["left"], letters["left"]
    if not draining and not (begun and left):
        return None
    return {"plan": plans[0].id, "actor": plans[0].actor, "letters": letters, "draining_keys": draining}


def _age(since: float, now: float) -> float:
    return round(max(0.0, now - since), 1)
