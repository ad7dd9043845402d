"""Several processes of one group: which are started when, what becomes of those that die, and how the run ends.

Pure: the processes and the clock are played.
"""

from __future__ import annotations

import logging
import selectors
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from inorder.errors import InorderError, UsageError
from inorder.observe.meter import Number, Snapshot
from inorder.observe.metrics import TABLE, Kind
from inorder.worker import supervisor as supervising
from inorder.worker.child import SPARE_S, Order
from inorder.worker.settings import Settings
from inorder.worker.supervisor import (
    FALSE_STARTS,
    FIRST_BACKOFF_S,
    LONGEST_BACKOFF_S,
    STEADY_S,
    TICK_S,
    Supervisor,
)

DRAIN_S = 4.0
COUNTER = next(metric for metric in TABLE if metric.kind is Kind.COUNTER)
GAUGE = next(metric for metric in TABLE if metric.kind is Kind.GAUGE)


class Process:
    """One that does what a test says. What it has said is heard when its parent listens."""

    def __init__(self, name: str, order: Order, number: int, at: float) -> None:
        self.name, self.order, self.pid, self.started_at = name, order, 1_000 + number, at
        self.tally: int | None = None
        self.up = False
        self.ended: str | None = None
        self.error: str | None = None
        self.usage = False
        self.stdout = SimpleNamespace(fileno=lambda: number)
        self.alive = True
        self.code = 0
        self.closed = self.pipe_open = False
        self.log: list[str] = []
        self.counted = 0
        self.unheard: dict[str, Any] = {}
        self.on_terminate: Callable[[], None] = lambda: None

    def says(self, **news: Any) -> None:
        self.unheard |= news

    def works(self) -> None:
        """It has started, and polls."""
        self.says(tally=self.pid, up=True)

    def dies(self, code: int = 0, **news: Any) -> None:
        self.says(**news)
        self.alive, self.code = False, code

    def listen(self) -> bool:
        self.log.append("heard")
        assert not self.closed
        for name, value in self.unheard.items():
            setattr(self, name, value)
        self.unheard = {}
        return self.alive or self.pipe_open

    def numbers(self) -> Snapshot:
        return Snapshot(
            numbers=[Number(COUNTER.name, (), float(self.counted)), Number(GAUGE.name, (), 5.0)], polled_s=self.counted
        )

    def terminate(self) -> None:
        self.log.append("terminated")
        self.on_terminate()

    def kill(self) -> None:
        self.log.append("killed")
        self.dies(-9)

    def close(self) -> int:
        assert not self.alive, "it would be waited for"
        self.log.append("closed")
        self.closed = True
        return self.code


class Selector:
    """Who has something to say. Time goes by while it is waited for."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.registered: dict[int, Any] = {}
        self.closed = False
        self.turns = 0
        self.meanwhile: Callable[[int], None] = lambda turn: None
        self.deaf = False
        """What is said comes after it was looked for."""

    def register(self, stdout: Any, event: int, place: Any) -> None:
        assert event == selectors.EVENT_READ
        assert stdout.fileno() not in self.registered
        self.registered[stdout.fileno()] = place

    def unregister(self, stdout: Any) -> None:
        del self.registered[stdout.fileno()]

    def get_map(self) -> dict[int, Any]:
        return self.registered

    def select(self, timeout_s: float) -> list[tuple[Any, int]]:
        assert timeout_s == TICK_S
        self.scene.at += timeout_s
        self.turns += 1
        assert self.turns < 10_000, "it does not end"
        self.meanwhile(self.turns)
        return [
            (SimpleNamespace(data=place), 1)
            for place in list(self.registered.values())
            if not self.deaf and (place.process.unheard or not place.process.alive)
        ]

    def close(self) -> None:
        self.closed = True


class Scene:
    """A supervisor of so many workers."""

    def __init__(self, workers: int = 1, until_idle_s: float | None = None) -> None:
        self.at = 100.0
        self.processes: list[Process] = []
        self.selector = Selector(self)
        self.settings = Settings(source="kafka://here/topic", until_idle_s=until_idle_s)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(selectors, "DefaultSelector", lambda: self.selector)
            self.supervisor = Supervisor("bank:balance", self.settings, workers, "debug", DRAIN_S, True, True)

    def start(self, name: str, order: Order) -> Process:
        self.processes.append(Process(name, order, len(self.processes), self.at))
        return self.processes[-1]

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.supervisor._turn()

    def wait(self, seconds: float) -> int:
        """Turns for so long. Returns how many processes have been started."""
        end = self.at + seconds
        while self.at < end - TICK_S / 2:
            self.turn()
        return len(self.processes)

    @property
    def last(self) -> Process:
        return self.processes[-1]

    def run(self) -> bool:
        """To its end."""
        return self.supervisor.run()


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scene]:
    def made(*given: Any) -> Scene:
        scene = Scene(*given)
        monkeypatch.setattr(supervising, "Process", scene.start)
        monkeypatch.setattr(supervising, "time", SimpleNamespace(monotonic=lambda: scene.at))
        return scene

    return made


Make = Callable[..., Scene]


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
    scene.turn()
    for process in scene.processes:
        process.works()
    scene.turn(3)
    scene.processes[0].says(error="later")
    scene.turn()
    assert scene.supervisor.tallies == [1_000, 1_001]
    scene.processes[0].dies(1)
    scene.wait(1.0)
    scene.last.works()
    scene.turn()
    assert scene.supervisor.tallies == [1_000, 1_001, 1_002], "what the dead one did counts"


def test_what_is_told_once_a_worker_polls(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
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
    scene.turn()
    for process in scene.processes:
        process.works()
    scene.turn()
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
    assert scene.supervisor.snapshots() == [], "nothing polls yet"
    scene.processes[0].works()
    scene.processes[1].works()
    scene.turn()
    assert [one.value(COUNTER) for one in scene.supervisor.snapshots()] == [3.0, 4.0]
    for process in scene.processes:
        process.dies(1)
    scene.turn()
    assert scene.supervisor.snapshots() == []
    assert [(one.name, one.value) for one in scene.supervisor.left.numbers] == [(COUNTER.name, 7.0)]


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
    scene.turn()
    for process in scene.processes:
        process.works()
    scene.turn()
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
    scene.turn()
    for process in scene.processes:
        process.works()
    scene.turn()
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
    scene.turn()
    for process in scene.processes:
        process.works()
    scene.turn()
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
    scene.turn()
    for process in scene.processes:
        process.works()
    scene.turn()
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
