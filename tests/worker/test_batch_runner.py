"""What a batch runner does with what is queued: in which order, under which fences, and what is kept of what went.

Pure: no thread runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from inorder.core.engine import Unit
from inorder.core.waiting import Wait, Waiting
from inorder.worker.job import Turn
from tests.worker.played import HERE, THERE
from tests.worker.threaded import FENCES, RETRY, Scene, job, no_room, played


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return played(monkeypatch)


# What is queued, and settled.


def test_jobs_run_in_their_order_under_the_fences_we_have(scene: Scene) -> None:
    assert scene.thread.started == 1
    scene.submit("abc")
    scene.submit("de")
    assert scene.condition.told == 2, "the thread may be waiting for them"
    assert scene.next()
    assert scene.next()
    assert scene.batches.runs == [(["a", "b", "c"], [], FENCES), (["d", "e"], [], FENCES)]


def test_what_has_queued_up_goes_together_up_to_so_many_events(scene: Scene) -> None:
    for keys in ("ab", "cd", "e", "fghij", "k"):
        scene.submit(keys)
    while scene.runner.busy():
        scene.next()
        scene.runner.settled()
    assert scene.runs == [list("abcd"), list("e"), list("fghij"), list("k")]


def test_units_are_settled_when_the_batch_is_written_and_not_before(scene: Scene) -> None:
    units = [*scene.submit("a").units, *scene.submit("b", THERE).units]
    seen: list[Any] = []
    scene.batches.meanwhile = lambda: seen.append((scene.runner.settled(), scene.runner.busy()))
    scene.condition.told = 0
    scene.next()
    assert seen == [([], True)]
    assert scene.runner.busy(), "there is something to take over"
    assert scene.condition.told == 1, "the poll loop may be waiting for it"
    assert scene.runner.settled() == units
    assert scene.runner.settled() == []
    assert not scene.runner.busy()
    assert scene.batches.effect.now_at is None, "nothing is there that could hang"


def test_what_is_settled_while_it_is_taken_over_is_taken_over_the_next_time(scene: Scene) -> None:
    first, second = job("a").units[0], job("b", THERE).units[0]

    class Racing(deque[Unit]):
        def __iter__(self) -> Iterator[Unit]:
            yield from list(super().__iter__())
            if second not in list(super().__iter__()):
                self.append(second)  # by the thread

    scene.runner._settled = Racing([first])
    assert [scene.runner.settled(), scene.runner.settled()] == [[first], [second]]


def test_what_the_store_refuses_is_told_once_with_the_fence_it_refused(scene: Scene) -> None:
    lost = scene.submit("a")
    scene.batches.meanwhile = lambda: lost.without([HERE])
    scene.batches.ends = [{HERE: 7}]
    scene.next()
    assert scene.runner.settled() == []
    assert (scene.runner.lost(), scene.runner.lost()) == ({HERE: 7}, {})


def test_a_refusal_is_of_the_fence_that_was_refused_whatever_is_ours_by_then(scene: Scene) -> None:
    scene.submit("a")
    scene.batches.meanwhile = lambda: scene.runner.own({HERE: 9, THERE: 8})
    scene.batches.ends = [{HERE: 7}]
    scene.next()
    assert scene.runner.lost() == {HERE: 7}


def test_nothing_lapses(scene: Scene) -> None:
    assert scene.runner.lapsed() == []


def test_a_runner_whose_thread_has_died_says_of_what(scene: Scene) -> None:
    scene.submit("a")
    scene.batches.ends = [ValueError("a bug")]
    scene.condition.told = 0
    scene.thread.target(*scene.thread.args)
    assert scene.condition.told == 1, "the poll loop may be waiting"
    with pytest.raises(ValueError, match="a bug"):
        scene.runner.settled()
    scene.runner.wait(5.0)
    assert scene.runner.drop({HERE}, 9.0)
    assert scene.condition.waits == [], "there is nothing more to wait for"
    assert scene.made[0][0].told == ["closed"]


def test_a_thread_that_ends_closes_its_store(scene: Scene) -> None:
    scene.submit("a")
    scene.batches.meanwhile = lambda: setattr(scene.runner, "_stopping", True)
    scene.thread.target(*scene.thread.args)
    assert scene.made[0][0].told == ["closed"]
    assert len(scene.runner.settled()) == 1, "what was written counts, whoever has stopped it"


# Due times.


def test_a_thread_sleeps_until_something_is_due_or_comes(scene: Scene) -> None:
    scene.runner.own(FENCES, {"k": Waiting(Wait.RETRY, 1, 0.0, 1_000.5)})

    def pass_time() -> None:
        scene.clock.at += scene.condition.waits[-1]

    scene.condition.meanwhile = pass_time
    assert scene.next()
    assert (scene.condition.waits, scene.batches.runs) == ([0.5], [([], ["k"], FENCES)])
    scene.condition.waits.clear()
    scene.condition.meanwhile = lambda: scene.runner.submit(job("a"))
    assert scene.next()
    assert scene.condition.waits == [60.0], "and looks at the clock now and then, which may have been set"
    assert scene.runs[1] == ["a"]


def test_what_is_due_goes_with_what_is_queued(scene: Scene) -> None:
    scene.runner.own(FENCES, {"k": RETRY, "later": Waiting(Wait.GAP, 1, 0.0, 1_000.1)})
    assert scene.condition.told == 1, "it may be due before what the thread waits for"
    scene.submit("a")
    scene.next()
    assert scene.batches.runs == [(["a"], ["k"], FENCES)]
    assert scene.condition.waits == []


def test_a_runner_is_busy_while_an_event_waits_for_its_retry(scene: Scene) -> None:
    assert not scene.runner.busy()
    scene.runner.own(FENCES, {"k": Waiting(Wait.GAP, 1, 0.0, 5_000.0)})
    assert not scene.runner.busy(), "a gap may never be filled"
    scene.runner.own(FENCES, {"k": Waiting(Wait.RETRY, 1, 0.0, 5_000.0)})
    assert scene.runner.busy()
    scene.runner.own(FENCES, {"k": None})  # type: ignore[dict-item]
    scene.submit("a")
    assert scene.runner.busy(), "a job is queued"


def test_the_fences_of_a_batch_are_those_of_the_moment_it_begins(scene: Scene) -> None:
    mine = {HERE: 7}
    scene.runner.own(mine)
    mine[THERE] = 8
    scene.submit("a")
    scene.batches.meanwhile = lambda: scene.runner.own({HERE: 9})
    scene.next()
    assert scene.batches.runs == [(["a"], [], {HERE: 7})]


# Partitions that go.


def test_what_is_queued_of_a_partition_that_goes_is_forgotten(scene: Scene) -> None:
    scene.submit("ab")
    scene.submit("c", THERE)
    assert scene.runner.drop({HERE}, 9.0)
    assert scene.condition.waits == [], "nothing runs"
    scene.next()
    assert scene.runs == [["c"]]
    assert [unit.partition for unit in scene.runner.settled()] == [THERE]


@pytest.mark.parametrize("ends", [True, False])
def test_what_runs_while_a_partition_goes_is_waited_for(scene: Scene, ends: bool) -> None:
    scene.submit("a")
    said: list[bool] = []

    def end() -> None:
        scene.runner._current = None if ends else scene.runner._current

    scene.condition.meanwhile = end
    scene.batches.meanwhile = lambda: said.append(scene.runner.drop({HERE}, 9.0))
    scene.next()
    assert (said, scene.condition.waits) == ([ends], [9.0])


def test_what_has_nothing_of_a_partition_that_goes_is_not_waited_for_unless_keys_are_woken(scene: Scene) -> None:
    said: list[bool] = []
    scene.batches.meanwhile = lambda: said.append(scene.runner.drop({HERE}, 9.0))
    scene.submit("a", THERE)
    scene.next()
    assert (said, scene.condition.waits) == ([True], [])
    scene.runner.own(FENCES, {"k": RETRY})
    scene.submit("a", THERE)
    scene.next()
    assert (said, scene.condition.waits) == ([True, False], [9.0]), "whose home may be there"


def test_what_begins_after_a_partition_went_is_not_waited_for(scene: Scene) -> None:
    scene.submit("a")
    said: list[bool] = []
    scene.condition.meanwhile = lambda: setattr(scene.runner, "_current", Turn(job("b"), [], FENCES))
    scene.batches.meanwhile = lambda: said.append(scene.runner.drop({HERE}, 9.0))
    scene.next()
    assert said == [True]


# Without room.


def test_what_found_no_room_is_kept_with_all_that_follows_it_there_until_it_is_tried_again(scene: Scene) -> None:
    scene.lacks_room("ab")
    assert scene.runner.settled() == [], "it stays with the broker"
    assert scene.runner.full() == {HERE: "no room"}
    scene.submit("c")
    scene.submit("d", THERE)
    scene.next()
    assert scene.runs[1:] == [["d"]]
    assert [unit.partition for unit in scene.runner.settled()] == [THERE]
    assert scene.runner.full() == {HERE: "no room"}
    scene.submit("e", THERE)
    scene.condition.told = 0
    scene.runner.try_again()
    assert scene.condition.told == 1, "the thread may be waiting"
    assert scene.runner.full() == {HERE: "no room"}, "it is being tried"
    scene.next()
    assert scene.runs[2:] == [["a", "b", "c", "e"]], "in the order it came"
    assert scene.runner.full() == {}
    assert len(scene.runner.settled()) == 3
    scene.runner.try_again()
    assert not scene.runner.busy()


def test_what_finds_no_room_again_stays_aside(scene: Scene) -> None:
    scene.lacks_room("a")
    scene.runner.try_again()
    (queued,) = scene.runner._queue
    scene.batches.meanwhile = lambda: scene.batches.aside.append(no_room(queued))
    scene.next()
    assert scene.runner.full() == {HERE: "no room"}
    assert scene.batches.aside == [], "taken over once"
    scene.runner.try_again()
    assert [event.key for event in scene.runner._queue[0].events] == ["a"]


def test_nothing_is_kept_aside_of_a_partition_that_goes(scene: Scene) -> None:
    scene.lacks_room("a")
    scene.lacks_room("b", THERE)
    told = scene.runner.full()
    scene.runner.drop({HERE}, 0)
    assert sorted(told) == [HERE, THERE], "whoever was told may be looking through it"
    assert scene.runner.full() == {THERE: "no room"}
    scene.runner.try_again()
    assert [[event.key for event in one.events] for one in scene.runner._queue] == [["b"]]


@pytest.mark.parametrize("why", ["went", "came again", "refused"])
def test_what_found_no_room_is_not_kept_when_its_partition_went_meanwhile(scene: Scene, why: str) -> None:
    made = scene.submit("a")

    def meanwhile() -> None:
        scene.batches.aside.append(no_room(made))
        if why != "refused":
            scene.runner.own({THERE: 8} if why == "went" else {HERE: 9, THERE: 8})

    scene.batches.meanwhile = meanwhile
    scene.batches.ends = [{HERE: 7} if why == "refused" else {}]
    scene.next()
    assert scene.runner.full() == {}
    scene.runner.try_again()
    assert not scene.runner._queue
    assert scene.batches.aside == []
