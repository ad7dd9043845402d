"""What the poll loop does when partitions come and go: in which order, and who is told what."""

from __future__ import annotations

import pytest

from inorder.core.event import Record, Slice
from inorder.core.offset_map import encode
from inorder.core.waiting import Wait, Waiting
from inorder.errors import InorderError
from inorder.worker.worker import (
    FENCED_FOR_S,
)
from tests.worker.played import HERE, THERE, Alone, Messages, Noting, Scene

RETRY = Waiting(Wait.RETRY, 1, 0.0, 5.0, home=HERE)


def test_fences_are_raised_before_anything_is_read() -> None:
    scene = Scene()
    scene.store.asked.clear()
    scene.loop.assigned([HERE])
    assert scene.store.asked == ["acquire", "due", "letters"]


@pytest.mark.parametrize("at", ["acquire", "due"])
def test_a_worker_that_is_stopped_while_it_takes_over_takes_nothing_over(at: str) -> None:
    scene = Scene()
    scene.loop.lost([HERE])
    scene.runner.woken.clear()

    def stop(what: str) -> None:
        if what == at:
            scene.loop.stop()
            scene.store.away = 1

    scene.store.meanwhile = stop
    scene.loop.assigned([HERE])
    assert (list(scene.owned), scene.runner.woken) == ([THERE], [])


def test_a_stopped_worker_of_a_queue_takes_nothing_over() -> None:
    scene = Scene(Messages())
    scene.runner.woken.clear()
    scene.loop.stop()
    scene.loop.assigned([HERE])
    assert scene.runner.woken == []


def test_the_runner_is_told_of_all_that_is_ours_and_of_the_keys_that_wait_where_it_is_new() -> None:
    scene = Scene()
    scene.loop.lost([HERE])
    scene.store.due_now = {"k": RETRY, "l": Waiting(Wait.RETRY, 1, 0.0, 5.0, home=THERE)}
    scene.loop.assigned([HERE])
    assert scene.runner.woken[-1] == {"k": RETRY}
    assert scene.runner.fences == scene.owned
    assert sorted(scene.runner.fences) == [HERE, THERE]


def test_what_an_earlier_owner_has_settled_beyond_its_commit_is_not_done_again() -> None:
    source = Noting()
    scene = Scene(source)
    source.found = {HERE: (0, encode(0, [(2, 4)])), THERE: (0, encode(0, [(0, 1)]))}
    scene.loop.assigned([HERE])
    scene.receive(HERE, 0, 6)
    (job,) = scene.runner.jobs
    assert [piece.offset(n) for _, piece in job.pieces for n in range(len(piece))] == [0, 1, 4, 5]


def test_every_partition_that_moved_is_committed_with_its_note() -> None:
    source = Noting()
    scene = Scene(source)
    scene.runner.done = [*scene.receive(HERE), *scene.receive(THERE, 0, 3)]
    scene.loop._collect(force=True)
    assert source.committed == [{HERE: 2, THERE: 3}]
    assert list(source.notes[0]) == [HERE, THERE]


def test_how_the_keys_of_a_queue_wait_is_for_whoever_made_them_wait() -> None:
    scene = Scene(Messages())
    scene.store.due_now = {"k": RETRY}
    scene.store.asked.clear()
    before = dict(scene.store.tables.fences)
    scene.loop.assigned([HERE])
    assert (scene.runner.woken[-1], scene.store.tables.fences) == ({}, before), "nor is anybody refused from now on"


def test_a_full_worker_pauses_what_it_is_given() -> None:
    scene = Scene(in_flight_events=2)
    scene.receive(HERE)
    scene.loop._turn()
    scene.clock.at += 1
    scene.loop._turn()
    scene.source.paused.clear()
    scene.loop.assigned([THERE])
    assert scene.source.paused == [THERE]


def test_a_worker_is_full_of_bytes_too() -> None:
    scene = Scene(in_flight_bytes=12)
    scene.receive(HERE, 0, 5)
    assert not scene.loop._engine.full
    source = scene.source
    source.gives = [Slice.of(HERE, [Record(HERE, 5, b"k", None), Record(HERE, 6, b"k", b"{}")])]
    scene.loop._turn()
    assert scene.loop._engine.full


def test_a_worker_that_was_just_given_a_partition_is_not_idle() -> None:
    scene = Scene()
    scene.clock.at += 5.0
    scene.loop.assigned([HERE])
    assert not scene.loop._idle(5.0)


@pytest.mark.parametrize("how", ["revoked", "lost"])
def test_the_runner_hears_what_is_left_to_us_before_it_drops_the_rest(how: str) -> None:
    scene = Scene()
    seen: list[object] = []
    drop = scene.runner.drop

    def dropped(partitions: object, timeout_s: float) -> bool:
        seen.append((timeout_s > 0, list(scene.runner.fences)))
        return drop(partitions, timeout_s)  # type: ignore[arg-type]

    scene.runner.drop = dropped  # type: ignore[method-assign]
    getattr(scene.loop, how)([HERE])
    assert seen[-1] == (False, [THERE])
    assert seen[:-1] == ([(True, [HERE, THERE])] if how == "revoked" else []), "what runs may end under its fence"


def test_what_lies_beyond_is_noted_when_a_partition_goes() -> None:
    source = Noting()
    scene = Scene(source)
    scene.receive(HERE)
    scene.loop._collect(force=True)
    (beyond,) = scene.receive(HERE, 2)
    scene.runner.done = [beyond]
    scene.runner.drop = lambda partitions, timeout_s: True  # type: ignore[method-assign]
    scene.loop.revoked([HERE])
    assert source.committed == [{HERE: 0}]
    assert source.notes[0][HERE]


def test_a_note_is_there_before_the_commit_that_it_goes_with() -> None:
    source = Noting()
    scene = Scene(source)
    scene.runner.done = scene.receive(HERE)
    seen: list[int] = []
    source.commit = lambda offsets: seen.append(len(source.notes))  # type: ignore[method-assign]
    scene.loop._collect(force=True)
    assert seen == [1]


def test_a_source_without_a_group_cannot_be_joined_anew() -> None:
    scene = Scene(Alone())
    scene.runner.refused = {HERE: scene.owned[HERE]}
    scene.loop._collect()
    scene.clock.at += FENCED_FOR_S + 1
    with pytest.raises(InorderError, match="also consumed by another group"):
        scene.loop._check_ownership()
