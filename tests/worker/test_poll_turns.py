"""When the poll loop commits, waits, deletes messages and ends."""

from __future__ import annotations

import pytest

from inorder.core.event import Partition
from inorder.core.waiting import Wait, Waiting
from inorder.worker.worker import (
    COMMIT_EVERY_S,
    END_CHECK_S,
    FORSAKEN_S,
    FULL_WAIT_S,
    NOTE_EVERY_S,
)
from tests.worker.played import HERE, THERE, Messages, Noting, Scene


def test_what_is_settled_is_committed_now_and_then() -> None:
    scene = Scene()
    (unit,) = scene.receive(HERE)
    scene.clock.at += COMMIT_EVERY_S
    scene.loop._collect()
    assert scene.source.committed == [], "nothing is settled"
    scene.runner.done = [unit]
    scene.clock.at += COMMIT_EVERY_S / 2
    scene.loop._collect()
    assert scene.source.committed == [], "too early"
    scene.clock.at += COMMIT_EVERY_S * 0.51
    scene.loop._collect()
    assert scene.source.committed == [{HERE: 2}]
    scene.clock.at += COMMIT_EVERY_S
    scene.loop._collect()
    assert len(scene.source.committed) == 1, "nothing new"


def test_a_worker_that_was_idle_for_long_enough_ends() -> None:
    scene = Scene()
    assert not scene.loop._idle(None), "nobody wants it to"
    assert not scene.loop._idle(5.0)
    scene.clock.at += 5.0
    assert scene.loop._idle(5.0)
    assert not scene.loop._idle(5.0), "asked a moment ago"
    scene.clock.at += END_CHECK_S
    assert scene.loop._idle(0.0), "it may be told to end at the end of the stream"


@pytest.mark.parametrize("why", ["busy", "no room", "more to come", "something came"])
def test_a_worker_does_not_end_while_there_is_something_to_do(why: str) -> None:
    scene = Scene()
    scene.clock.at += 5.0
    if why == "busy":
        scene.runner.is_busy = True
    elif why == "no room":
        scene.loop._engine.stall({HERE: "no room"})
    elif why == "more to come":
        scene.source.ends = False
    else:
        scene.receive(HERE)
    assert not scene.loop._idle(5.0)
    scene.runner.is_busy, scene.source.ends = False, True
    scene.loop._engine.stall({})
    scene.clock.at += max(END_CHECK_S, 5.0)
    assert scene.loop._idle(5.0)


def test_what_was_settled_last_is_committed_before_a_worker_ends() -> None:
    scene = Scene()
    scene.runner.done = scene.receive(HERE)
    scene.clock.at += 5.0
    assert scene.loop._idle(5.0)
    assert scene.source.committed == [{HERE: 2}]


@pytest.mark.parametrize(
    ("home", "overdue_s", "stays"),
    [
        (Partition("topic", 7), 0.0, True),
        (Partition("topic", 7), FORSAKEN_S + 1, False),
        (HERE, 0.0, False),
        (Partition("other", 7), 0.0, False),
        (None, 0.0, False),
    ],
    ids=["another's", "forsaken", "ours", "of another topic", "of a queue"],
)
def test_a_worker_stays_for_a_retry_whose_owner_may_be_dead(
    home: Partition | None, overdue_s: float, stays: bool
) -> None:
    scene = Scene()
    scene.store.retrying = {"k": Waiting(Wait.RETRY, 1, 0.0, scene.clock.at - overdue_s, home=home)}
    assert scene.loop._others_wait() is stays


def test_a_full_worker_waits_a_while_before_it_pauses_its_source() -> None:
    scene = Scene(in_flight_events=2)
    (unit,) = scene.receive(HERE)
    scene.loop._turn()
    assert (scene.source.paused, len(scene.runner.waited)) == ([], 1)
    scene.clock.at += FULL_WAIT_S + 0.01
    scene.loop._turn()
    assert scene.source.paused == [HERE, THERE]
    scene.runner.done = [unit]
    scene.loop._turn()
    assert scene.source.paused == []
    scene.receive(HERE, 2)
    scene.loop._turn()
    assert scene.source.paused == [], "it counts anew"


def test_a_message_is_deleted_as_soon_as_it_is_settled_and_forgotten_when_its_lease_is_over() -> None:
    source = Messages()
    scene = Scene(source)
    scene.receive(HERE, 0, 1)
    scene.receive(HERE, 1, 1)
    first, second = (unit for job in scene.runner.jobs for unit in job.units)
    scene.runner.done, scene.runner.over = [first], [second]
    scene.loop._collect()
    assert (source.settled, source.forgotten, source.committed) == ([1], [2], [])
    assert scene.loop._engine.events == 0


def test_a_note_of_what_is_settled_beyond_goes_along_now_and_then() -> None:
    source = Noting()
    scene = Scene(source)
    scene.receive(HERE, 0)
    (beyond,) = scene.receive(HERE, 2)
    scene.runner.done = [beyond]
    scene.clock.at += COMMIT_EVERY_S
    scene.loop._collect()
    assert source.committed == [], "the frontier stands still, and notes can wait"
    scene.clock.at += NOTE_EVERY_S
    scene.loop._collect()
    assert source.committed == [{HERE: 0}]
    assert (list(source.notes[0]), bool(source.notes[0][HERE])) == ([HERE], True)
    (further,) = scene.receive(HERE, 6)
    scene.runner.done = [further]
    scene.clock.at += COMMIT_EVERY_S
    scene.loop._collect()
    assert len(source.notes) == 1, "a note alone is worth a commit a second"
    scene.clock.at += NOTE_EVERY_S - COMMIT_EVERY_S
    scene.loop._collect()
    assert source.committed == [{HERE: 0}] * 2
    assert source.notes[1] != source.notes[0]
    scene.runner.done = [scene.runner.jobs[0].units[0]]
    scene.clock.at += COMMIT_EVERY_S
    scene.loop._collect()
    assert source.committed[2:] == [{HERE: 8}], "what moves is committed at once, with its note"
    assert list(source.notes[2]) == [HERE]


@pytest.mark.parametrize(("why", "stays"), [(Wait.RETRY, True), (Wait.GAP, False)])
def test_a_worker_of_a_queue_stays_for_any_retry(why: Wait, stays: bool) -> None:
    scene = Scene(Messages())
    scene.store.due_now = {
        "a": Waiting(Wait.GAP, 1, 0.0, 5.0, home=HERE),
        "k": Waiting(why, 1, 0.0, 5.0, home=HERE),
    }
    assert scene.loop._others_wait() is stays


@pytest.mark.parametrize("in_time", [True, False])
def test_a_worker_that_ends_lets_its_source_go_and_says_whether_all_was_finished(in_time: bool) -> None:
    scene = Scene()
    (unit,) = scene.receive(HERE)
    scene.runner.in_time, scene.runner.done = in_time, [unit]
    scene.loop.stop()
    assert scene.loop.run() is in_time
    assert (scene.source.closed, scene.source.committed) == (True, [{HERE: 2}])
    scene.loop.revoked([HERE])
    scene.loop.lost([HERE])
    assert scene.runner.dropped == [], "its runner has ended"


def test_an_observer_is_told_what_became_of_each_message() -> None:
    scene = Scene(Messages())
    scene.receive(HERE, 0, 1)
    scene.receive(HERE, 1, 1)
    scene.seen.told.clear()
    first, second = (unit for job in scene.runner.jobs for unit in job.units)
    scene.runner.done, scene.runner.over = [first], [second]
    scene.loop._collect()
    assert scene.seen.told == [("settled", 1), ("lapsed", 1)]
