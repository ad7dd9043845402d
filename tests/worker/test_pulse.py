"""A worker's sign of life: when it is written, what it says, and how hard its end is tried to be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from inorder.core.event import Partition
from inorder.errors import Unreachable
from inorder.worker.pulse import BEAT_EVERY_S, LAST_PAUSE_S, LAST_TRIES, Pulse
from tests.worker.played import HERE, THERE, Still


class Store:
    """Takes a beat, has no time for it, or is away."""

    def __init__(self) -> None:
        self.beats: list[tuple[int, Sequence[Partition] | None, float]] = []
        self.ends: list[bool | Exception] = []

    def beat(self, tally: int, partitions: Sequence[Partition] | None, events_per_s: float) -> bool:
        end = self.ends.pop(0) if self.ends else True
        if isinstance(end, Exception):
            raise end
        if end:
            self.beats.append((tally, partitions, events_per_s))
        return end


class Scene:
    def __init__(self) -> None:
        self.clock, self.store = Still(), Store()
        store: Any = self.store
        self.pulse = Pulse(store, 3, self.clock)


def test_it_is_written_now_and_then_with_the_pace_since_the_last_time() -> None:
    scene = Scene()
    scene.clock.at += 0.5
    scene.pulse.beat({THERE: 8, HERE: 7})
    assert scene.store.beats == [(3, [HERE, THERE], 0.0)]
    scene.pulse.events += 30
    scene.clock.at += BEAT_EVERY_S - 0.1
    scene.pulse.beat([HERE, THERE])
    assert len(scene.store.beats) == 1, "too early"
    scene.clock.at += 0.1
    scene.pulse.beat([HERE, THERE])
    assert scene.store.beats[1][2] == pytest.approx(30 / BEAT_EVERY_S)
    scene.clock.at += BEAT_EVERY_S
    scene.pulse.beat([HERE, THERE])
    assert scene.store.beats[2:] == [(3, [HERE, THERE], 0.0)], "those were told of"


def test_other_partitions_are_told_of_at_once() -> None:
    scene = Scene()
    scene.pulse.events = 5
    scene.pulse.beat([HERE])
    assert scene.store.beats == [(3, [HERE], 0.0)], "in no time there is no pace"
    scene.pulse.beat([])
    scene.pulse.beat([])
    assert scene.store.beats[1:] == [(3, [], 0.0)]


def test_a_store_that_has_no_time_for_it_is_asked_the_next_time() -> None:
    scene = Scene()
    scene.pulse.events, scene.clock.at = 10, scene.clock.at + BEAT_EVERY_S
    scene.store.ends = [False]
    scene.pulse.beat([])
    scene.clock.at += BEAT_EVERY_S
    scene.pulse.beat([])
    assert scene.store.beats == [(3, [], 10 / (2 * BEAT_EVERY_S))], "nothing of it is forgotten"


def test_a_store_that_is_away_is_not_asked_in_every_turn() -> None:
    scene = Scene()
    scene.clock.at += BEAT_EVERY_S
    scene.store.ends = [Unreachable("away")]
    scene.pulse.beat([])
    scene.pulse.beat([])
    assert scene.store.beats == []
    scene.clock.at += BEAT_EVERY_S
    scene.pulse.beat([])
    assert len(scene.store.beats) == 1


def test_the_pace_of_a_moment_is_a_pace_too() -> None:
    scene = Scene()
    scene.pulse.events, scene.clock.at = 10, scene.clock.at + 0.5
    scene.pulse.beat([HERE])
    assert scene.store.beats == [(3, [HERE], 20.0)]


def test_an_end_that_was_told_is_not_told_again() -> None:
    scene = Scene()
    scene.store.ends = [False]
    scene.pulse.end()
    assert (scene.store.beats, scene.clock.slept) == ([(3, None, 0.0)], [LAST_PAUSE_S])


def test_the_end_is_tried_to_be_told_for_a_while() -> None:
    scene = Scene()
    scene.store.ends = [False] * (LAST_TRIES - 1)
    scene.pulse.end()
    assert scene.store.beats == [(3, None, 0.0)]
    assert scene.clock.slept == [LAST_PAUSE_S] * (LAST_TRIES - 1)


def test_an_end_that_cannot_be_told_is_not_tried_for_ever() -> None:
    scene = Scene()
    scene.store.ends = [False] * 1_000
    scene.pulse.end()
    assert 1_000 - len(scene.store.ends) == LAST_TRIES
    scene.store.ends = [Unreachable("away")]
    scene.pulse.end()
    assert scene.store.beats == []
