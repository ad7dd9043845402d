"""For each alert, series over time that make it fire and others that must not, as promtool writes them down."""

from __future__ import annotations

from typing import NamedTuple

S = 'stream="s"'


class Case(NamedTuple):
    """Series, one value a minute, and the alerts that fire at `minute`."""

    name: str
    series: dict[str, str]
    minute: int
    alerts: tuple[str, ...]


def _one(name: str, labels: str, values: str, minute: int, *alerts: str) -> Case:
    inside = f"{{{S}{', ' if labels else ''}{labels}}}"
    return Case(f"{name} {labels} {values}", {f"{name}{inside}": values}, minute, alerts)


def _lag(values: str, share: str) -> dict[str, str]:
    lag = f'inorder_lag_events{{{S}, topic="t", partition="%d"}}'
    return {lag % 0: values, lag % 1: values, f"inorder_busiest_key_share{{{S}}}": share}


def _disorder(early: str, received: str) -> dict[str, str]:
    return {
        f'inorder_arrival_disorder_total{{{S}, kind="early"}}': early,
        f'inorder_arrival_disorder_total{{{S}, kind="duplicate"}}': received,
        f"inorder_received_events_total{{{S}}}": received,
    }


_VIOLATIONS = "inorder_effect_order_violations_total"
_OLDEST = "inorder_oldest_unsettled_seconds"
_REBALANCED = "inorder_rebalanced_partitions_total"
_PARTITION = 'topic="t", partition="0"'

CASES = (
    _one(_VIOLATIONS, 'kind="gap"', "0 0 1 1", 3, "InorderEffectsOutOfOrder"),
    _one(_VIOLATIONS, 'kind="gap"', "0x5", 5),
    _one(_VIOLATIONS, 'kind="gap"', "7x5", 5),
    _one(_VIOLATIONS, 'kind="gap"', "0 1x30", 30),
    Case("early a tenth", _disorder("0+60x30", "0+600x30"), 25, ("InorderArrivalDisorder",)),
    Case("early a tenth, not for long", _disorder("0+60x30", "0+600x30"), 8, ()),
    Case("early one in a hundred", _disorder("0+6x30", "0+600x30"), 25, ()),
    Case("nothing received", _disorder("5x30", "9x30"), 25, ()),
    _one("inorder_events_total", 'outcome="conflict"', "0 0 1", 2, "InorderConflict"),
    _one("inorder_events_total", 'outcome="late"', "0 0 1", 2, "InorderConflict"),
    _one("inorder_events_total", 'outcome="duplicate"', "0+9x9", 9),
    _one("inorder_oldest_wait_seconds", 'why="gap"', "0+60x5", 4, "InorderGapDoesNotFill"),
    _one("inorder_oldest_wait_seconds", 'why="gap"', "0 20 50 0 30 59", 5),
    _one("inorder_oldest_wait_seconds", 'why="parked"', "0+60x5", 5),
    _one("inorder_waiting_keys", 'why="parked"', "0 1x8", 8, "InorderKeysParked"),
    _one("inorder_waiting_keys", 'why="parked"', "0 1x3 0x9", 8),
    _one("inorder_waiting_keys", 'why="gap"', "0 1x8", 8),
    _one("inorder_open_dead_letters", 'reason="malformed"', "0 3x8", 8, "InorderDeadLetters"),
    _one("inorder_open_dead_letters", 'reason="malformed"', "0x9", 8),
    _one("inorder_replay_letters", 'result="failed"', "0 2x4", 4, "InorderReplayFails"),
    _one("inorder_replay_letters", 'result="left"', "9x4", 4),
    Case("hot and behind", _lag("900x9", "0.9x9"), 8, ("InorderHotKey",)),
    Case("hot and in time", _lag("400x9", "0.9x9"), 8, ()),
    Case("behind, no key is hot", _lag("900x9", "0.1x9"), 8, ()),
    Case("far behind", _lag("6000x20", "0.1x20"), 18, ("InorderFallsBehind",)),
    Case("far behind, not for long", _lag("6000x5 10x20", "0.1x20"), 18, ()),
    _one(_OLDEST, _PARTITION, "0+60x9", 6, "InorderPartitionStuck"),
    _one(_OLDEST, _PARTITION, "0 60 90 1 60 90 1", 6),
    _one("inorder_fenced_writes_total", "", "0 0 1 1", 3, "InorderZombieWrites"),
    _one("inorder_fenced_writes_total", "", "4x3", 3),
    _one(_REBALANCED, 'event="lost"', "0 0 3", 2, "InorderPartitionsLost"),
    _one(_REBALANCED, 'event="revoked"', "0+4x9", 9),
    _one("inorder_worker_restarts_total", "", "0 1 2 3 4", 4, "InorderWorkersDie"),
    _one("inorder_worker_restarts_total", "", "0 0 1 1 1", 4),
    _one("inorder_paused_workers", 'cause="store"', "0 1x4", 4, "InorderPaused"),
    _one("inorder_paused_workers", 'cause="handler"', "0 1 0 1 0", 3),
    _one("inorder_store_up", "", "1 0x4", 4, "InorderStoreDown"),
    _one("inorder_store_up", "", "1 0 1 1", 3),
)


def values(written: str) -> list[float]:
    """The values of `1 2`, `0+60x3` and `5x2`, as promtool reads them: the first, and then so many more."""
    found: list[float] = []
    for part in written.split():
        first, times = part.partition("x")[::2]
        start, step = first.partition("+")[::2]
        found += [float(start) + n * float(step or 0) for n in range(int(times or 0) + 1)]
    return found
