"""How a run of several processes ends: of a mistake, when all are idle, when it is stopped, and by force.

Pure: the processes and the clock are played.
"""

from __future__ import annotations

import errno

import pytest

from inorder.errors import InorderError, UsageError
from inorder.worker import supervisor as supervising
from inorder.worker.child import SPARE_S
from inorder.worker.supervisor import (
    FALSE_STARTS,
    FIRST_BACKOFF_S,
    LONGEST_BACKOFF_S,
    TICK_S,
)
from tests.worker.supervised import DRAIN_S, Make, scenes


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    return scenes(monkeypatch)


# What trying again does not mend.


def test_a_mistake_of_the_user_ends_the_run(make: Make) -> None:
    scene = make(2)
    scene.turn()
    scene.processes[0].dies(1, error="no such topic", usage=True)
    scene.processes[1].works()
    scene.processes[1].on_terminate = scene.processes[1].dies
    with pytest.raises(UsageError, match="no such topic"):
        scene.run()
    assert "terminated" in scene.processes[1].log, "the other may finish what runs"
    assert len(scene.processes) == 2


def test_the_first_mistake_is_the_one_that_is_told(make: Make) -> None:
    scene = make(2)
    scene.turn()
    scene.processes[0].dies(1, error="the first", usage=True)
    scene.processes[1].dies(1, error="the second", usage=True)
    with pytest.raises(UsageError, match="the first"):
        scene.run()


def test_an_error_before_any_has_started_ends_the_run(make: Make) -> None:
    scene = make(2)
    scene.turn()
    scene.processes[0].dies(1, error="the store is broken")
    scene.processes[1].on_terminate = scene.processes[1].dies
    with pytest.raises(InorderError, match="the store is broken"):
        scene.run()
    assert len(scene.processes) == 2


def test_an_error_where_others_work_may_pass(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    scene = make(2)
    scene.turn()
    scene.processes[0].works()
    scene.turn()
    scene.processes[1].dies(1, error="the store is broken")
    assert scene.wait(1.0) == 3
    scene.last.works()
    scene.turn()
    assert "worker 2 has ended: the store is broken" in caplog.text


@pytest.mark.parametrize("others_work", [True, False])
def test_one_that_never_starts_ends_the_run_at_last(make: Make, others_work: bool) -> None:
    scene = make(2)
    scene.turn()
    first = scene.processes[0]
    first.on_terminate = first.dies
    if others_work:
        first.works()
        scene.turn()
    scene.processes[1].dies(9)
    for _ in range(FALSE_STARTS - 2):
        scene.wait(1.0)
        scene.last.dies(9)
    scene.wait(1.0)
    assert len(scene.processes) == FALSE_STARTS + 1
    scene.last.dies(9)
    with pytest.raises(InorderError, match=f"worker 2 could not start, {FALSE_STARTS} times in a row: exit code 9"):
        scene.run()
    assert len(scene.processes) == FALSE_STARTS + 1


def out_of_processes(name: str, order: object) -> None:
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def test_a_process_that_the_machine_cannot_start_is_started_later_and_costs_the_others_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene = make(2)
    scene.begin()
    scene.processes[1].dies(-9)
    scene.turn()
    with monkeypatch.context() as patched:
        patched.setattr(supervising, "Process", out_of_processes)
        scene.wait(FIRST_BACKOFF_S + 3 * TICK_S)
    assert "worker 2 cannot be started: [Errno 11] Resource temporarily unavailable; another takes its" in caplog.text
    scene.wait(1.0)
    assert scene.supervisor.pids == [1_000, 1_002]
    assert scene.supervisor.restarts == 1, "one has died"
    assert scene.processes[0].alive


def test_a_machine_that_can_start_nothing_ends_the_run_at_last_and_the_others_finish(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make(2)
    scene.begin()
    first = scene.processes[0]
    first.on_terminate = first.dies
    scene.processes[1].dies(-9)
    scene.turn()
    monkeypatch.setattr(supervising, "Process", out_of_processes)
    with pytest.raises(InorderError, match=f"worker 2 could not start, {FALSE_STARTS} times in a row: .*unavailable"):
        scene.run()
    assert "terminated" in first.log
    assert "killed" not in first.log


def test_false_starts_count_in_a_row(make: Make) -> None:
    scene = make()
    scene.turn()
    for round_ in range(3):
        for _ in range(FALSE_STARTS - 1):
            scene.last.dies(9)
            scene.wait(LONGEST_BACKOFF_S + 1)
        scene.last.works()
        scene.turn()
        scene.last.dies(1)
        assert scene.wait(LONGEST_BACKOFF_S + 1) == (round_ + 1) * FALSE_STARTS + 1, "once it has worked, it will again"


# The end.


def test_a_run_ends_when_every_process_was_idle(make: Make) -> None:
    scene = make(2, 1.0)
    scene.begin()
    scene.processes[0].dies(0, ended="idle")
    scene.turn(20)
    assert len(scene.processes) == 2, "its place is done"
    end = scene.selector.turns + 5

    def be_idle(turn: int) -> None:
        if turn == end:
            scene.processes[1].dies(0, ended="idle")

    scene.selector.meanwhile = be_idle
    assert scene.run()
    assert scene.selector.closed
    assert [process.log[-1] for process in scene.processes] == ["closed"] * 2
    assert "killed" not in scene.processes[1].log, "it may take its time"
    assert scene.supervisor.restarts == 0


def test_a_process_that_left_something_running_makes_the_run_unclean(make: Make) -> None:
    scene = make(2, 1.0)
    scene.turn()
    scene.processes[0].dies(1, ended="idle", tally=5)
    scene.turn()
    scene.processes[1].dies(0, ended="idle", tally=6)
    assert not scene.run()


def test_a_stop_lets_every_process_finish(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    scene = make(2)
    scene.begin()
    scene.supervisor.stop()
    scene.wait(DRAIN_S)
    assert [process.log.count("terminated") for process in scene.processes] == [1, 1]
    for process in scene.processes:
        process.dies(0, ended="stopped")
    assert scene.run()
    assert all("killed" not in process.log for process in scene.processes)
    assert (len(scene.processes), scene.supervisor.restarts, caplog.text) == (2, 0, "")


def test_a_process_that_does_not_end_in_time_is_killed(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    scene = make(2)
    scene.begin()
    scene.supervisor.stop()
    scene.turn()
    scene.processes[0].dies(0, ended="stopped")
    scene.wait(DRAIN_S + SPARE_S - 2 * TICK_S)
    assert scene.processes[1].log[-1] != "killed"
    scene.wait(4 * TICK_S)
    assert scene.processes[1].log.count("killed") == 1
    assert not scene.run()
    assert caplog.text.count("workers did not end within 9 s and are killed") == 1


def test_one_that_cannot_even_be_killed_is_told_of_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    scene = make()
    scene.turn()
    scene.last.works()
    scene.last.kill = lambda: None  # type: ignore[method-assign]
    scene.turn()
    scene.supervisor.stop()
    scene.wait(10 * (DRAIN_S + SPARE_S))
    assert caplog.text.count("are killed") == 1
    scene.last.dies(0)
    assert not scene.run(), "it was not clean"


@pytest.mark.parametrize(("tally", "clean"), [(None, True), (5, False)])
def test_one_that_dies_of_the_signal_had_begun_something_or_had_not(make: Make, tally: int | None, clean: bool) -> None:
    scene = make()
    scene.turn()
    scene.last.says(tally=tally)
    scene.turn()
    scene.supervisor.stop()
    scene.turn()
    scene.last.dies(-15)
    assert scene.run() is clean


def test_nobody_takes_a_place_while_the_run_ends(make: Make) -> None:
    scene = make(2)
    scene.begin()
    scene.processes[0].dies(1)
    scene.turn()
    scene.supervisor.stop()
    scene.wait(1.0)
    assert len(scene.processes) == 2
    scene.processes[1].dies(0)
    assert scene.run()


def test_a_stop_before_the_beginning_starts_nothing(make: Make) -> None:
    scene = make(2)
    scene.supervisor.stop()
    assert scene.run()
    assert scene.processes == []


def test_a_run_that_breaks_leaves_no_process_behind(make: Make) -> None:
    scene = make(2)
    scene.turn()

    def broken() -> bool:
        raise ValueError("a bug")

    scene.processes[0].listen = broken  # type: ignore[method-assign]
    scene.processes[0].says(up=True)
    with pytest.raises(ValueError, match="a bug"):
        scene.supervisor.run()
    assert [process.log[-2:] for process in scene.processes] == [["killed", "closed"]] * 2
    assert scene.selector.closed


def test_all_processes_can_be_ended_at_once(make: Make) -> None:
    scene = make(3)
    scene.supervisor.kill()
    scene.turn()
    scene.supervisor.kill()
    assert [process.log[-1] for process in scene.processes] == ["killed"] * 3


def test_one_that_closed_its_pipe_is_listened_to_no_more(make: Make) -> None:
    scene = make()
    scene.turn()
    process = scene.last
    process.works()
    scene.turn()
    heard = process.listen
    process.listen = lambda: heard() and False  # type: ignore[method-assign]
    process.says(error="its last words")
    scene.turn()
    assert scene.selector.registered == {}
    scene.turn(3)
    assert len(scene.processes) == 1, "it lives"
    process.dies(1)
    assert scene.wait(1.0) == 2
