"""Effects out of order are seen: by the judge alone, and when a worker's guard is taken away."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import inorder
from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.guard import Decision, Guard
from inorder.core.order import Order
from inorder.core.planner import Planner
from inorder.core.rows import Effects
from inorder.declaration import declaration_of
from inorder.observe import metrics
from inorder.observe.busiest import WINDOW_S, Busiest
from inorder.observe.effect_order import violations
from inorder.observe.meter import Snapshot
from inorder.observe.watching import Watching
from inorder.worker.run import Worker
from inorder.worker.settings import Settings
from tests.cli.conftest import events, write_lines

STRICT, LATEST, COMMUTATIVE, UNGUARDED = Order


@pytest.mark.parametrize(
    ("order", "before", "versions", "found"),
    [
        (STRICT, 0, [1, 2, 3], []),
        (STRICT, 7, [8], []),
        (STRICT, 7, [9], ["gap"]),
        (STRICT, 7, [8, 10, 11], ["gap"]),
        (STRICT, 7, [8, 8], ["repeat"]),
        (STRICT, 7, [7], ["repeat"]),
        (STRICT, 7, [3], ["backward"]),
        (STRICT, 0, [2, 1, 3], ["gap", "backward", "gap"]),
        (UNGUARDED, 0, [1, 2], []),
        (UNGUARDED, 2, [2], ["repeat"]),
        (LATEST, 3, [7, 9], []),
        (LATEST, 3, [7, 5], ["backward"]),
        (LATEST, 3, [3], ["repeat"]),
        (COMMUTATIVE, 3, [9, 5], []),
        (COMMUTATIVE, 3, [9, 5, 9], ["repeat"]),
        (COMMUTATIVE, 3, [2], ["repeat"]),
    ],
)
def test_the_judge(order: Order, before: int, versions: list[int], found: list[str]) -> None:
    assert list(violations(order, Effects("a", before, versions))) == found


@inorder.fold(key="account", version="version", id="id", name="sums")
def sums(total: int | None, entry: dict[str, Any]) -> int:
    return (total or 0) + int(entry["amount"])


@inorder.handler(key="account", version="version", id="id", name="calls")
def calls(entry: dict[str, Any]) -> None: ...


@inorder.fold(key="account", version="version", id="id", name="naive", order="unguarded")
def naive(total: int | None, entry: dict[str, Any]) -> int:
    return (total or 0) + int(entry["amount"])


def observed(function: object, folder: Path) -> Snapshot:
    """What is counted of a run over six accounts of 30 events in disorder, one in five of them twice."""
    rng = random.Random(7)
    found = [event for event in events(6, 30) for _ in range(rng.choice((1, 1, 1, 1, 2)))]
    order = sorted(range(len(found)), key=lambda at: at + rng.random() * 20)
    file = write_lines(folder / "events.jsonl", [found[at] for at in order])
    watching = Watching(declaration_of(function).order)  # type: ignore[arg-type]
    settings = Settings(source=str(file), store=f"sqlite:///{folder}/s.db", until_idle_s=0.05)
    assert Worker(function, settings, observer=watching).run()  # type: ignore[arg-type]
    return watching.snapshot()


def violated(found: Snapshot) -> float:
    return sum(found.value(metrics.EFFECT_VIOLATIONS, kind) for kind in metrics.EFFECT_VIOLATIONS.values)


@pytest.mark.parametrize("function", [sums, calls])
def test_disorder_that_is_absorbed_is_none_of_effects(function: object, tmp_path: Path) -> None:
    found = observed(function, tmp_path)
    assert found.value(metrics.EFFECT_CHECKS) == found.value(metrics.EVENTS, "applied") == 180
    assert violated(found) == 0
    assert found.value(metrics.ARRIVAL_DISORDER, "duplicate") == found.value(metrics.EVENTS, "duplicate") > 20
    assert found.effects == sum(n for _, n in found.busiest) == 180
    assert found.value(metrics.IN_FLIGHT) == 0


def test_early_events_are_counted_although_nothing_had_to_be_held(tmp_path: Path) -> None:
    found = observed(sums, tmp_path)
    assert found.value(metrics.EVENTS, "held") == 0
    assert found.value(metrics.ARRIVAL_DISORDER, "early") > 30
    [ahead] = [one for one in found.histograms if one.name == metrics.DISTANCE.name and one.labels == ("ahead",)]
    assert sum(ahead.counts) == found.value(metrics.ARRIVAL_DISORDER, "early")


def test_a_naive_consumer_is_seen_to_be_wrong(tmp_path: Path) -> None:
    assert violated(observed(naive, tmp_path)) > 50


def test_without_the_guard_the_same_stream_is_seen_to_end_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply_all(self: Guard, entity: Entity, event: Event) -> Decision:
        return Decision.APPLY

    monkeypatch.setattr(Guard, "decide", apply_all)
    monkeypatch.setattr(Planner, "_in_sequence", lambda self, entities, found, *_: by_key_of(found))
    assert violated(observed(sums, tmp_path)) > 20


def by_key_of(found: list[Event]) -> dict[str, list[Event]]:
    aside: dict[str, list[Event]] = {}
    for event in found:
        aside.setdefault(event.key, []).append(event)
    return aside


def test_the_busiest_keys_are_those_of_late() -> None:
    now = [0.0]
    busiest = Busiest(lambda: now[0])
    busiest.add([("old", 9), ("a", 1)])
    now[0] = WINDOW_S + 1
    busiest.add([("a", 5), ("b", 2)])
    assert busiest.top(2) == ([("old", 9), ("a", 6)], 17)
    now[0] = 2 * WINDOW_S + 2
    assert busiest.top(2) == ([("a", 5), ("b", 2)], 7)
    now[0] = 9 * WINDOW_S
    assert busiest.top(2) == ([], 0)
