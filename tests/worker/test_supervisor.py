"""Several processes of one group: which are started when, and what becomes of those that die.

Pure: the processes and the clock are played.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from inorder.worker.supervisor import (
    FIRST_BACKOFF_S,
    LONGEST_BACKOFF_S,
    STEADY_S,
    TICK_S,
)
from tests.worker.supervised import COUNTER, Make, scenes


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    return scenes(monkeypatch)


# Starting.


def test_each_place_has_a_process_that_knows_its_name(make: Make) -> None:
    scene = make(3, 2.5)
    scene.turn()
    assert [process.name for process in scene.processes] == ["1", "2", "3"]
    order = scene.processes[1].order
    assert (order.target, order.log_level, order.watched, order.otel) == ("bank:balance", "debug", True, True)
    assert (order.settings.worker, order.settings.source, order.settings.until_idle_s) == (
        "2",
        "kafka://here/topic",
        2.5,
    )
    assert scene.supervisor.pids == [1_000, 1_001, 1_002]
    scene.turn(5)
    assert len(scene.processes) == 3


def test_the_rows_of_counts_of_all_processes_are_known_each_once(make: Make) -> None:
    scene = make(2)
    scene.begin()
    scene.turn(2)
    scene.processes[0].says(error="later")
    scene.turn()
    assert scene.supervisor.tallies == [1_000, 1_001]
    scene.processes[0].dies(1)
    scene.wait(1.0)
    scene.last.works()
    scene.turn()
    assert scene.supervisor.tallies == [1_000, 1_001, 1_002], "what the dead one did counts"


def test_what_is_told_once_a_worker_polls(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "inorder.worker")
    scene = make(2)
    scene.turn()
    scene.last.says(error=None)
    scene.turn()
    assert scene.supervisor.tallies == [], "it has none yet"
    scene.last.says(tally=5)
    scene.turn()
    assert caplog.text == ""
    scene.last.says(up=True)
    scene.turn()
    scene.last.says(error=None)
    scene.turn()
    assert caplog.text.count("worker 2 is up, process 1001") == 1


# Deaths.


def test_another_takes_the_place_of_one_that_dies(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    scene = make(2)
    scene.begin()
    scene.processes[1].dies(-9)
    scene.turn()
    assert "worker 2 has ended: killed by SIGKILL; another takes its place in 0.2 s" in caplog.text
    assert (scene.supervisor.restarts, scene.supervisor.pids) == (1, [1_000])
    assert scene.wait(FIRST_BACKOFF_S - TICK_S) == 2, "not at once"
    assert scene.wait(3 * TICK_S) == 3
    assert (scene.last.name, scene.supervisor.pids) == ("2", [1_000, 1_002])
    assert scene.processes[1].log[-1] == "closed"
    assert sorted(scene.selector.registered) == [0, 2]


def test_the_wait_is_doubled_for_each_death_in_a_row(make: Make) -> None:
    scene = make()
    waits: list[float] = []
    for _ in range(9):
        scene.turn()
        scene.last.works()
        scene.turn()
        scene.last.dies(1)
        scene.turn()
        died, started = scene.at, len(scene.processes)
        while len(scene.processes) == started:
            scene.turn()
        waits.append(scene.last.started_at - died)
    expected = [min(FIRST_BACKOFF_S * 2**n, LONGEST_BACKOFF_S) for n in range(9)]
    assert waits == pytest.approx(expected, abs=TICK_S * 1.01)
    assert scene.supervisor.restarts == 9


def test_a_death_after_a_long_life_is_the_first_one_again(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    scene = make()
    for lives_s, wait_s in ((1.0, "0.2"), (1.0, "0.4"), (STEADY_S + 1.0, "0.2"), (STEADY_S - 1.0, "0.4")):
        scene.turn()
        scene.last.works()
        scene.wait(lives_s)
        caplog.clear()
        scene.last.dies(1)
        scene.turn()
        assert f"another takes its place in {wait_s} s" in caplog.text
        scene.wait(1.0)


@pytest.mark.parametrize(
    ("news", "said"),
    [
        ({"error": "the store is broken"}, "the store is broken"),
        ({"ended": "stopped"}, "stopped"),
        ({"ended": "idle"}, "idle"),
        ({}, "exit code 1"),
    ],
)
def test_a_death_is_told_in_its_own_last_words(
    make: Make, news: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene = make()
    scene.turn()
    scene.last.works()
    scene.turn()
    scene.last.dies(1, **news)
    scene.turn()
    assert f"worker 1 has ended: {said}; another takes its place" in caplog.text


def test_last_words_are_heard_whenever_they_come(make: Make) -> None:
    scene = make(1, 1.0)
    scene.turn()
    scene.selector.deaf = True
    scene.last.dies(0, tally=7, up=True, ended="idle")
    scene.turn()
    assert scene.supervisor.tallies == [7]
    assert scene.run()
    assert len(scene.processes) == 1


def test_what_a_dead_process_had_counted_is_kept_and_what_it_measured_is_not(make: Make) -> None:
    scene = make(2)
    scene.turn()
    for process, counted in zip(scene.processes, (3, 4), strict=True):
        process.counted = counted
    assert scene.supervisor.counted()[0] == [], "nothing polls yet"
    scene.processes[0].works()
    scene.processes[1].works()
    scene.turn()
    assert [one.value(COUNTER) for one in scene.supervisor.counted()[0]] == [3.0, 4.0]
    for process in scene.processes:
        process.dies(1)
    scene.turn()
    running, ended = scene.supervisor.counted()
    assert running == []
    assert [(one.name, one.value) for one in ended.numbers] == [(COUNTER.name, 7.0)]


def test_a_pipe_that_a_process_has_left_to_others_is_listened_to_no_more(make: Make) -> None:
    scene = make()
    scene.turn()
    scene.last.works()
    scene.last.pipe_open = True
    scene.turn()
    scene.last.dies(-9)
    scene.turn()
    assert scene.selector.registered == {}
    assert scene.wait(1.0) == 2


def test_a_run_until_idle_replaces_one_that_dies_of_something_else(make: Make) -> None:
    scene = make(1, 1.0)
    scene.turn()
    scene.last.works()
    scene.turn()
    scene.last.dies(-9)
    assert scene.wait(1.0) == 2
