"""Numbers of one process, and of several together."""

from __future__ import annotations

import msgspec
import pytest

from inorder.observe import metrics
from inorder.observe.meter import Meter, Snapshot, added, left_behind


def filled(applied: int, oldest_s: float, wait_s: float) -> Snapshot:
    meter = Meter()
    meter.add(metrics.EVENTS, applied, "applied")
    meter.set(metrics.IN_FLIGHT, applied)
    meter.set(metrics.OLDEST_UNSETTLED_S, oldest_s, "topic", "0")
    meter.observe(metrics.LANE_WAIT_S, wait_s)
    return msgspec.structs.replace(meter.snapshot(), busiest=[("a", applied)], effects=applied, polled_s=oldest_s)


def test_counters_are_there_before_anything_happens() -> None:
    found = Meter().snapshot()
    assert found.value(metrics.EFFECT_VIOLATIONS, "gap") == 0
    assert {one.labels for one in found.numbers if one.name == metrics.EFFECT_VIOLATIONS.name} == {
        ("gap",),
        ("repeat",),
        ("backward",),
    }


def test_processes_add_up() -> None:
    found = added([filled(3, 10.0, 0.02), filled(4, 25.0, 7.0)])
    assert found.value(metrics.EVENTS, "applied") == 7
    assert found.value(metrics.IN_FLIGHT) == 7
    assert found.value(metrics.OLDEST_UNSETTLED_S, "topic", "0") == 25.0
    [wait] = [one for one in found.histograms if one.name == metrics.LANE_WAIT_S.name]
    assert sum(wait.counts) == 2
    assert wait.sum == pytest.approx(7.02)
    assert (found.busiest, found.effects, found.polled_s) == ([("a", 7)], 7, 25.0)


def test_an_ended_process_leaves_what_it_counted_and_no_state() -> None:
    left = left_behind(filled(3, 10.0, 0.02))
    assert left.value(metrics.EVENTS, "applied") == 3
    assert metrics.IN_FLIGHT.name not in {one.name for one in left.numbers}
    assert (left.busiest, left.polled_s) == ([], 0.0)


def test_a_snapshot_goes_over_a_pipe_unchanged() -> None:
    before = filled(3, 10.0, 0.02)
    assert msgspec.json.decode(msgspec.json.encode(before), type=Snapshot) == before


def test_an_observation_on_a_boundary_belongs_below_it() -> None:
    meter = Meter()
    for value in (0.5, 1.0, 1.5, 20_000.0):
        meter.observe(metrics.DISTANCE, value, "ahead")
    [ahead] = [one for one in meter.snapshot().histograms if one.labels == ("ahead",)]
    assert ahead.counts == (2, 1, 0, 0, 0, 0, 0, 0, 0, 1)
