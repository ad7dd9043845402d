"""The thread of a batch runner in bad weather: outages, a handler that hangs, and its end.

Pure: no thread runs. What one would do is called by hand.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from inorder.core.effect import Outage
from inorder.core.waiting import AT_ONCE, NEVER, Wait, Waiting
from inorder.errors import HandlerTimeout, Unreachable
from inorder.worker import runner as running
from inorder.worker.pool import Left
from inorder.worker.runner import FIRST_PAUSE_S, LONGEST_PAUSE_S
from tests.worker.played import HERE, THERE
from tests.worker.threaded import FENCES, MERGE, RETRY, Scene, Thread, job, no_room, played


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return played(monkeypatch)


# Outages.


@pytest.mark.parametrize(
    ("error", "cause"), [(Unreachable("store: away"), "store"), (Outage("mail: away"), "handler")], ids=str
)
def test_during_an_outage_a_batch_is_tried_again_until_it_is_through(
    scene: Scene, error: Exception, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "inorder.worker")
    scene.runner.own(FENCES, {"k": RETRY})
    scene.submit("a")
    scene.batches.ends = [error] * 8
    seen: list[Any] = []
    scene.condition.meanwhile = lambda: seen.append((scene.runner.outage, scene.batches.effect.now_at))
    scene.next()
    assert scene.runs == [["a"]] * 9
    assert scene.condition.waits == pytest.approx([FIRST_PAUSE_S * 2**n for n in range(6)] + [LONGEST_PAUSE_S] * 2)
    assert seen == [(str(error), None)] * 8, "what waits for the end of an outage does not hang"
    assert [due for _, due, _ in scene.batches.runs] == [["k"]] * 9, "and what was due with it"
    assert (caplog.text.count(f"paused: {error}"), caplog.text.count(f"goes on after: {error}")) == (1, 1)
    assert scene.batches.observer.told == [(cause, str(error))] * 8 + [("store", None), ("handler", None)]
    assert scene.runner.outage is None
    assert len(scene.runner.settled()) == 1


def test_news_are_told_once_they_are_there(scene: Scene) -> None:
    scene.submit("a")
    scene.batches.meanwhile = lambda: seen.append(scene.news)
    seen: list[int] = []
    scene.next()
    assert (seen, scene.news) == ([0], 1)
    scene.submit("b")
    scene.batches.ends = [ZeroDivisionError()]
    scene.runner._run(*scene.made[-1])  # type: ignore[arg-type]
    assert scene.news == 2
    with pytest.raises(ZeroDivisionError):
        scene.runner.settled()


def test_without_an_outage_nobody_is_told_of_its_end(scene: Scene) -> None:
    scene.submit("a")
    scene.next()
    assert scene.batches.observer.told == []


def test_what_an_outage_has_kept_from_being_written_is_not_settled_by_a_stop(scene: Scene) -> None:
    scene.submit("a")
    scene.batches.ends = [Unreachable("store: away")]
    scene.condition.meanwhile = lambda: setattr(scene.runner, "_stopping", True)
    scene.next()
    assert (scene.runner.settled(), len(scene.runs)) == ([], 1)
    assert not scene.next(), "the thread ends"


def test_a_stop_in_an_outage_keeps_nothing_aside_of_a_batch_that_was_not_written(scene: Scene) -> None:
    made = scene.submit("a")
    scene.batches.meanwhile = lambda: scene.batches.aside.append(no_room(made))
    scene.batches.ends = [Unreachable("store: away")]
    scene.condition.meanwhile = lambda: setattr(scene.runner, "_stopping", True)
    assert scene.next()
    assert (scene.runner.settled(), scene.runner.lost()) == ([], {})


# A handler that hangs.


class Watched:
    """A runner in the middle of a batch, and the time it takes."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scene, self.at = scene, 50.0
        monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: self.at))

    def watch(self, after_s: float = 0.0) -> int:
        """How many threads there have been, after so much more time."""
        self.at += after_s
        assert self.scene.runner.watch(10.0) is False
        return len(self.scene.made)

    def hang(self, meanwhile: Callable[[], Any]) -> None:
        """A batch is run, in which this happens."""
        self.scene.batches.meanwhile = meanwhile
        self.scene.next()


def test_a_handler_is_given_up_on_when_one_event_takes_longer_than_its_limit(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(scene, monkeypatch)
    events = job("ab").events

    def meanwhile() -> None:
        effect = scene.batches.effect
        assert watched.watch() == 1
        assert watched.watch(9.0) == 1
        effect.now_at = events[1]
        assert watched.watch(9.0) == 1, "this is another one"
        effect.now_at = None
        assert watched.watch(9.0) == 1
        assert watched.watch(20.0) == 1, "none is running"
        effect.now_at = events[1]
        assert watched.watch(9.0) == 1
        effect.turns += 1
        assert watched.watch(9.0) == 1, "it is called anew"
        assert watched.watch(10.0) == 1, "it has its time"
        assert watched.watch(0.1) == 2
        scene.batches.effect.now_at = events[1]
        assert watched.watch(9.0) == 2, "the same once more, from the beginning"
        scene.batches.effect.now_at = None
        assert watched.watch(30.0) == 2, "the new one has nothing to do"

    scene.submit("a")
    watched.hang(meanwhile)


def test_another_thread_takes_over_from_one_that_hangs(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(scene, monkeypatch)
    (store, batches), old = scene.made[0], scene.thread
    scene.runner.own(FENCES, {"k": RETRY, "later": Waiting(Wait.GAP, 1, 0.0, 5_000.0)})
    given = scene.submit("ab")
    scene.submit("cdef")

    def meanwhile() -> None:
        watched.watch()
        scene.condition.told = 0
        watched.watch(10.1)

    batches.meanwhile = meanwhile
    batches.ends = [{HERE: 7}]
    assert not scene.next(batches), "whatever it has come to, it is too late"
    assert (scene.runner.settled(), scene.runner.lost()) == ([], {})
    assert store.told == ["abandoned"], "what it wrote is undone"
    assert scene.thrown == [(Left, old)]
    assert batches.told == ["abandoned"], "whatever else it has begun"
    assert scene.condition.told == 1, "whoever waits for the batch need not wait for it"
    assert "key a version 3: the handler hangs past 10 s" in caplog.text

    assert (len(scene.made), scene.thread.started) == (2, 1)
    assert scene.thread.args == scene.made[1]
    barred = scene.batches.effect.barred
    assert (list(barred), type(barred["a", 3])) == ([("a", 3)], HandlerTimeout)
    assert "more than 10 s" in str(barred["a", 3])
    assert scene.runner._current is None
    scene.next()
    keys, due, fences = scene.batches.runs[0]
    assert (keys, sorted(due), fences) == (["a", "b"], ["a", "k"], FENCES), "the same once more, and first"
    assert scene.runner.settled() == given.units
    assert scene.batches.timers.all() == {"later": 5_000.0}


def test_one_that_hangs_during_an_outage_is_taken_over_from_when_that_is_over(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watched, batches = Watched(scene, monkeypatch), scene.batches
    make, away = scene.make, [Unreachable("away"), Unreachable("away")]

    def made() -> Any:
        if away:
            raise away.pop()
        return make()

    monkeypatch.setattr(scene.runner, "_make", made)
    scene.submit("ab")

    def meanwhile() -> None:
        watched.watch()
        assert watched.watch(10.1) == 1
        batches.effect.now_at = None
        assert watched.watch() == 1, "it has no store any more, whatever it does"
        assert watched.watch() == 2

    batches.meanwhile = meanwhile
    assert not scene.next(batches)
    assert "paused: away" in caplog.text
    assert list(scene.batches.effect.barred) == [("a", 3)]
    assert scene.clock.slept == [FIRST_PAUSE_S] * 2
    assert scene.next()
    assert scene.runs == [["a", "b"]]
    assert watched.watch(20.0) == 2


def test_what_found_no_room_in_the_turn_of_one_that_hangs_comes_after_it_and_before_what_follows(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, batches = Watched(scene, monkeypatch), scene.batches
    given = scene.submit("ab")
    given.absorb(job("c", THERE))
    scene.submit("d" * MERGE)

    def meanwhile() -> None:
        batches.aside.append(no_room(given))
        batches.effect.now_at = given.events[0]
        watched.watch()
        watched.watch(10.1)

    batches.meanwhile, batches.looks_ahead = meanwhile, 1
    assert not scene.next(batches)
    queued = [[event.key for event in one.events] for one in scene.runner._queue]
    assert queued == [["c"], ["a", "b"], ["d"] * MERGE]


def test_a_key_that_is_looked_at_again_at_once_keeps_a_runner_busy(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(scene, monkeypatch)
    scene.batches.effect.now_at = job("a").events[0]
    watched.watch()
    watched.watch(10.1)
    assert scene.batches.timers.all() == {"a": AT_ONCE}
    assert scene.runner.busy()
    assert not scene.runner._queue, "no job was under way: it hung in what was woken"


def test_an_outage_does_not_keep_a_thread_that_was_abandoned(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(scene, monkeypatch)
    batches = scene.batches
    scene.submit("a")

    def meanwhile() -> None:
        watched.watch()
        watched.watch(10.1)

    batches.meanwhile, batches.ends = meanwhile, [Unreachable("the store was abandoned")]
    assert not scene.next(batches)
    assert (scene.condition.waits, batches.observer.told, scene.runner.outage) == ([], [], None)


@pytest.mark.parametrize("end", [Left(), ValueError("closed under it")], ids=["left", "an error"])
def test_what_an_abandoned_thread_ends_of_is_no_failure(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    watched = Watched(scene, monkeypatch)
    (store, batches), old = scene.made[0], scene.thread
    scene.submit("a")

    def meanwhile() -> None:
        watched.watch()
        watched.watch(10.1)

    batches.meanwhile, batches.ends = meanwhile, [end]
    old.target(*old.args)
    assert scene.runner.settled() == []
    assert store.told == ["abandoned"], "whoever abandoned it has closed it"


def test_an_abandoned_thread_that_comes_back_takes_nothing_more(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(scene, monkeypatch)
    batches = scene.batches
    batches.effect.now_at = job("a").events[0]
    watched.watch()
    watched.watch(10.1)
    scene.submit("b")
    assert not scene.next(batches)
    assert (batches.runs, len(scene.runner._queue)) == ([], 1)
    scene.next()
    assert not scene.next(batches)
    assert scene.condition.waits == [], "nor does it wait for anything"


# The end.


def test_a_stop_lets_what_runs_end_and_starts_nothing_more(scene: Scene) -> None:
    scene.submit("a")
    scene.submit("bcde")
    scene.batches.meanwhile = lambda: seen.append(scene.runner.stop(9.0))
    seen: list[bool] = []
    scene.condition.told = 0
    scene.next()
    assert (seen, scene.thread.joined) == ([True], [9.0])
    assert not scene.next()
    assert (scene.runs, len(scene.runner.settled())) == ([["a"]], 1)
    assert scene.condition.told == 2, "the thread may have been waiting for something to do"
    assert (scene.thrown, scene.made[0][0].told) == ([], [])


def test_a_thread_that_waits_for_something_to_do_ends_when_it_is_stopped(scene: Scene) -> None:
    scene.condition.meanwhile = lambda: setattr(scene.runner, "_stopping", True)
    assert not scene.next()
    assert scene.condition.waits == [60.0]
    assert scene.batches.runs == []


def test_a_thread_that_does_not_end_in_time_is_abandoned(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Thread, "ends", False)
    assert not scene.runner.stop(9.0)
    assert scene.made[0][0].told == ["abandoned"], "what it writes later is not to take effect"
    scene.batches.ends = [Left()]
    scene.runner._stopping = False
    scene.submit("a")
    scene.thread.target(*scene.thread.args)
    assert scene.runner.settled() == [], "that it ends so is no failure"
    assert (scene.thrown, len(scene.made)) == ([(Left, scene.thread)], 1)


def test_whoever_waits_does_so_until_something_is_settled(scene: Scene) -> None:
    scene.runner.wait(0.5)
    scene.submit("a")
    scene.next()
    scene.runner.wait(0.7)
    assert scene.condition.waits == [0.5]


def test_a_timer_that_is_due_now_is_not_waited_for(scene: Scene) -> None:
    assert scene.batches.timers.next() == NEVER
    scene.runner.own(FENCES, {"k": RETRY})
    assert scene.next()
    assert (scene.condition.waits, scene.batches.runs) == ([], [([], ["k"], FENCES)])
