"""What a batch runner says is next while a batch is written, and what becomes of that.

Pure but for the last test: no thread runs.
"""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from inorder.core.effect import NoRoom
from inorder.core.waiting import Wait, Waiting
from inorder.errors import HandlerTimeout, Unreachable
from inorder.worker import runner as running
from inorder.worker.pool import Pool
from inorder.worker.runner import BatchRunner
from tests.worker.batching import Scene as Folds
from tests.worker.batching import job as entries
from tests.worker.bench import PATIENCE_S
from tests.worker.played import HERE, THERE, Still
from tests.worker.threaded import FENCES, RETRY, Scene, Store, played


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    found = played(monkeypatch)
    found.batches.looks_ahead = 1
    return found


def keys(turn: Any) -> list[str]:
    return [event.key for event in turn.job.events]


def test_what_is_queued_is_next_and_is_run_next(scene: Scene) -> None:
    scene.submit("a")
    assert scene.next()
    for one in ("bcde", "fgh"):
        scene.submit(one)
    assert scene.next()
    assert scene.next()
    nothing, following, end = scene.batches.follows
    assert (nothing, end) == (None, None)
    assert following is not None
    assert keys(following) == ["f", "g", "h"]
    assert scene.runs == [["a"], ["b", "c", "d", "e"], ["f", "g", "h"]]
    assert len(scene.runner.settled()) == 3


def test_what_is_next_is_merged_and_has_the_keys_that_are_due(scene: Scene) -> None:
    scene.submit("a")
    follow = scene.runner._follow

    def meanwhile() -> None:
        scene.submit("b")
        scene.submit("cd")
        scene.submit("efg")
        scene.runner.own(FENCES, {"k": RETRY})
        turn = follow(scene.batches)  # type: ignore[arg-type]
        assert turn is not None
        assert (keys(turn), turn.due, turn.fences) == (["b", "c", "d"], ["k"], FENCES)
        again = follow(scene.batches)  # type: ignore[arg-type]
        assert again is not None
        assert (again.job, again.due) == (turn.job, turn.due), "until it is run it stays the same"
        scene.batches.meanwhile = lambda: None

    scene.batches.meanwhile = meanwhile
    assert scene.next()
    assert scene.runner.busy()
    assert scene.next()
    assert [run[:2] for run in scene.batches.runs] == [(["a"], []), (["b", "c", "d"], ["k"])]


def test_what_is_next_keeps_a_runner_busy_and_its_thread_awake(scene: Scene) -> None:
    scene.submit("a")
    scene.submit("bcde")
    assert scene.next()
    scene.runner.settled()
    assert not scene.runner._queue
    assert scene.runner.busy()
    assert scene.next()
    assert scene.condition.waits == []
    scene.runner.settled()
    assert not scene.runner.busy()


def test_nothing_is_next_for_a_thread_that_is_to_stop(scene: Scene) -> None:
    scene.submit("a")
    scene.batches.looks_ahead = 0

    def meanwhile() -> None:
        scene.runner.stop(9.0)
        scene.submit("b")
        assert scene.runner._follow(scene.batches) is None  # type: ignore[arg-type]

    scene.batches.meanwhile = meanwhile
    assert scene.next()
    assert not scene.next()


def test_what_is_next_is_not_begun_by_a_thread_that_is_to_stop(scene: Scene) -> None:
    scene.submit("a")
    scene.submit("bcde")
    scene.batches.meanwhile = lambda: setattr(scene.runner, "_stopping", True)
    assert scene.next()
    assert not scene.next()
    assert scene.runs == [["a"]]


def test_what_goes_is_left_out_of_what_is_next_and_that_is_decided_anew(scene: Scene) -> None:
    scene.submit("a")
    scene.submit("bcde", THERE)
    fences = {HERE: 9}

    def meanwhile() -> None:
        assert not scene.runner.drop({THERE}, 0.0), "what runs is still running"
        scene.submit("e")
        assert scene.runner._follow(scene.batches) is None, "not before it is decided anew"  # type: ignore[arg-type]
        scene.runner.own(fences)
        scene.batches.meanwhile = lambda: None

    scene.batches.meanwhile = meanwhile
    assert scene.next()
    assert scene.batches.told == []
    assert scene.next()
    assert scene.batches.told == ["discarded"]
    assert scene.batches.runs[1] == ([], [], fences)
    assert scene.next()
    assert (scene.runs[2], scene.batches.told) == (["e"], ["discarded"])
    assert [unit.partition for unit in scene.runner.settled()] == [HERE, HERE]


def test_a_partition_is_let_go_when_no_handler_runs_for_what_was_next(scene: Scene) -> None:
    scene.submit("a")
    scene.submit("bcde", THERE)
    assert scene.next()
    let_go: list[bool] = []
    scene.condition.meanwhile = lambda: let_go.append(scene.next())
    assert scene.runner.drop({THERE}, 9.0)
    assert (scene.batches.told, let_go, scene.condition.waits) == (["discarded"], [True], [9.0])
    assert scene.runner.drop({THERE}, 9.0)
    assert scene.condition.waits == [9.0], "nothing runs"


def test_nobody_waits_for_what_is_next_where_that_will_not_be_run(scene: Scene) -> None:
    scene.submit("a")
    scene.submit("bcde", THERE)
    assert scene.next()
    scene.runner.stop(9.0)
    assert scene.runner.drop({THERE}, 9.0)
    assert scene.condition.waits == []


def test_what_is_next_is_decided_anew_when_other_partitions_are_ours(scene: Scene) -> None:
    scene.submit("a")
    scene.submit("bcde")
    scene.batches.meanwhile = lambda: scene.runner.own({HERE: 7})
    assert scene.next()
    scene.batches.meanwhile = lambda: scene.runner.own({HERE: 7})
    scene.submit("fghi")
    assert scene.next()
    assert scene.batches.told == ["discarded"]
    assert scene.batches.runs[1] == (["b", "c", "d", "e"], [], {HERE: 7})
    assert scene.next()
    assert scene.batches.told == ["discarded"], "the same as before are ours"


def test_nothing_is_discarded_where_nothing_was_next(scene: Scene) -> None:
    scene.submit("a")
    dropped: list[bool] = []
    scene.batches.meanwhile = lambda: dropped.append(scene.runner.drop({THERE}, 0.0))
    assert scene.next()
    scene.submit("b")
    assert scene.next()
    assert scene.batches.told == []


def test_what_is_next_waits_for_room_with_what_is_aside(scene: Scene) -> None:
    scene.lacks_room("a", THERE)
    scene.submit("b")
    scene.submit("cde", THERE)
    scene.submit("f")
    assert scene.next()
    assert scene.next()
    assert scene.runs[1:] == [["b"], ["f"]]
    scene.runner.try_again()
    while scene.runner._queue or scene.runner._ahead:
        assert scene.next()
    assert [key for run in scene.runs for key in run if key in "acde"] == ["a", "a", "c", "d", "e"]


def test_what_is_next_comes_after_what_was_put_aside_of_its_partition(scene: Scene) -> None:
    scene.submit("a")
    scene.submit("bcde")

    def no_room() -> None:
        turn: Any = scene.runner._current
        error = NoRoom(turn.job.events[0], "no room")
        scene.batches.aside.append((error, turn.job.split(HERE, error.first)))
        scene.batches.meanwhile = lambda: None

    scene.batches.meanwhile = no_room
    assert scene.next()
    scene.runner.try_again()
    while scene.runner._queue or scene.runner._ahead:
        assert scene.next()
    assert [key for run in scene.runs[1:] for key in run] == ["a", "b", "c", "d", "e"]


def test_in_an_outage_the_same_is_next(scene: Scene) -> None:
    scene.submit("a")
    scene.submit("bcde")
    scene.batches.ends = [Unreachable("away")]
    assert scene.next()
    first, second = scene.batches.follows
    assert first is not None
    assert second is not None
    assert first.job is second.job
    assert scene.next()
    assert scene.runs == [["a"], ["a"], ["b", "c", "d", "e"]]


def test_of_a_thread_that_hangs_in_what_is_next_both_are_done_once_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [50.0]
    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: at[0]))
    scene.runner.own(FENCES, {"k": RETRY})
    scene.submit("a")
    ahead = scene.submit("bcde")
    batches = scene.batches

    def meanwhile() -> None:
        scene.runner.own(FENCES, {"late": Waiting(Wait.GAP, 1, 0.0, 5_000.0)})
        batches.effect.now_at = ahead.events[1]
        for seconds in (0.0, 10.1):
            at[0] += seconds
            scene.runner.watch(10.0)

    batches.meanwhile = meanwhile
    assert not scene.next(batches)
    assert batches.told == ["abandoned"]
    (barred,) = scene.batches.effect.barred.items()
    assert (barred[0], type(barred[1])) == (("c", 3), HandlerTimeout)
    assert scene.next()
    assert scene.next()
    (first, due, _), (second, more, _) = scene.batches.runs
    assert (first, second) == (["a"], ["b", "c", "d", "e"])
    assert (sorted(due), more) == (["c", "k"], [])
    assert scene.batches.told == []


def test_an_abandoned_thread_hears_of_nothing_that_is_next(scene: Scene) -> None:
    batches: Any = scene.batches
    scene.runner._start()
    scene.submit("a")
    assert scene.runner._follow(batches) is None
    assert scene.runner._ahead is None


def test_batches_are_closed_before_their_store(scene: Scene) -> None:
    store, batches = scene.made[0]
    told: list[str] = []
    store.told = batches.told = told
    scene.runner._stopping = True
    scene.thread.target(*scene.thread.args)
    assert told == ["closed", "closed"]


def test_batches_are_closed_when_a_thread_fails(scene: Scene) -> None:
    scene.submit("a")
    scene.batches.ends = [ValueError("broken")]
    scene.thread.target(*scene.thread.args)
    assert scene.batches.told == ["closed"]
    with pytest.raises(ValueError, match="broken"):
        scene.runner.settled()


# With threads.


@pytest.mark.parametrize("ahead", [True, False])
def test_a_handler_that_returns_while_it_is_given_up_on_leaves_the_runner_as_it_was(ahead: bool) -> None:
    """Its thread waits for the runner when it is told to end: that must not cost the runner its lock."""
    go_on, hung, returned = (threading.Event() for _ in range(3))

    def hang(entry: Any) -> None:
        if entry.key == ("b" if ahead else "a") and not hung.is_set():
            hung.set()
            assert go_on.wait(PATIENCE_S)
            returned.set()

    class Slow(Store):
        def abandon(self) -> None:
            go_on.set()
            assert returned.wait(PATIENCE_S)
            time.sleep(0.05)

    def make() -> Any:
        made = Folds(helper=Pool(1) if ahead else None)
        made._then = hang
        return Slow(), made.batches

    runner = BatchRunner(make, Still(), 1)
    runner.own(FENCES)
    for one in ("a1", "b1"):
        runner.submit(entries(one))
    assert hung.wait(PATIENCE_S)
    old = runner._thread
    runner.watch(-1.0)
    runner.watch(-1.0)
    old.join(PATIENCE_S)
    assert not old.is_alive()
    asked = threading.Thread(target=runner.busy, daemon=True)
    asked.start()
    asked.join(PATIENCE_S)
    assert not asked.is_alive(), "the lock is still taken"
    assert runner.stop(PATIENCE_S)
