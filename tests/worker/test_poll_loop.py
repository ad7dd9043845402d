"""What the poll loop makes of what it is told about partitions, keys that wait, and room in the store."""

from __future__ import annotations

import pytest

from inorder.core.limits import Limits
from inorder.core.planner import NO_ROOM_S
from inorder.core.waiting import Wait, Waiting
from inorder.errors import InorderError
from inorder.worker.worker import (
    FENCED_FOR_S,
    NO_ROOM_EVERY_S,
    OTHERS_FIRST_S,
    OVERDUE_EVERY_S,
    REJOINS,
    REJOINS_WITHIN_S,
    ROOM_EVERY_S,
)
from tests.worker.played import HERE, THERE, Scene


def test_a_partition_that_is_refused_under_its_fence_is_let_go() -> None:
    scene = Scene()
    scene.runner.refused = {HERE: scene.owned[HERE]}
    scene.loop._collect()
    assert list(scene.owned) == [THERE]


def test_a_partition_that_is_refused_is_that_one_and_no_other() -> None:
    scene = Scene()
    scene.runner.refused = {THERE: scene.owned[THERE]}
    scene.loop._collect()
    assert list(scene.owned) == [HERE]


def test_what_is_refused_of_an_earlier_ownership_is_no_news() -> None:
    scene = Scene()
    earlier = scene.owned[HERE]
    scene.loop.assigned([HERE])
    scene.runner.refused = {HERE: earlier}
    scene.loop._collect()
    assert scene.owned[HERE] > earlier
    scene.clock.at += 10 * FENCED_FOR_S
    scene.loop._check_ownership()
    assert scene.rejoined == 0


def refuse(scene: Scene) -> None:
    """Let the store refuse a partition for longer than a group needs to say so."""
    scene.loop.assigned([HERE])
    scene.runner.refused = {HERE: scene.owned[HERE]}
    scene.loop._collect()
    before = scene.rejoined
    scene.loop._check_ownership()
    assert scene.rejoined == before, "its group may be about to say so"
    scene.clock.at += FENCED_FOR_S + 0.1
    scene.loop._check_ownership()


def test_a_partition_that_is_refused_has_its_group_joined_anew_once() -> None:
    scene = Scene()
    refuse(scene)
    assert scene.rejoined == 1
    scene.clock.at += 10 * FENCED_FOR_S
    scene.loop._check_ownership()
    assert scene.rejoined == 1, "the group was told, and will say who has it"


def test_a_group_is_joined_anew_once_for_all_partitions_that_are_refused() -> None:
    scene = Scene()
    scene.runner.refused = scene.owned
    scene.loop._collect()
    scene.clock.at += FENCED_FOR_S + 0.1
    for _ in range(REJOINS + 1):
        scene.loop._check_ownership()
    assert scene.rejoined == 1


def test_a_group_is_joined_anew_so_often_and_then_two_groups_are_suspected() -> None:
    scene = Scene()
    for _ in range(REJOINS):
        refuse(scene)
    assert scene.rejoined == REJOINS
    with pytest.raises(InorderError, match="also consumed by another group"):
        refuse(scene)
    scene.clock.at += REJOINS_WITHIN_S
    scene.loop._check_ownership()
    assert scene.rejoined == REJOINS + 1, "that was long ago"


def look_for_room(scene: Scene, letters: int) -> None:
    scene.store.letters_now = letters
    scene.clock.at += ROOM_EVERY_S
    scene.loop._look_for_room()


def test_what_found_no_room_is_tried_again_at_once_when_there_is_more() -> None:
    scene = Scene()
    scene.runner.without_room = {HERE: "no room"}
    look_for_room(scene, 5)
    assert (scene.source.paused, scene.runner.tries) == ([HERE], 1), "the first time"
    look_for_room(scene, 5)
    assert scene.runner.tries == 1, "nothing has changed"
    look_for_room(scene, 4)
    assert scene.runner.tries == 2
    look_for_room(scene, 4)
    assert scene.runner.tries == 2
    scene.clock.at += NO_ROOM_S
    look_for_room(scene, 4)
    assert scene.runner.tries == 3, "now and then, whatever the counts say"
    scene.runner.without_room = {}
    look_for_room(scene, 3)
    assert (scene.source.paused, scene.runner.tries) == ([], 3)


@pytest.mark.parametrize(("letters", "crowded"), [(9, False), (10, True)])
def test_keys_are_counted_as_soon_as_one_may_have_all_its_letters(letters: int, crowded: bool) -> None:
    scene = Scene(letters_per_key=10)
    scene.store.letters_now = letters
    scene.loop._read_room()
    assert (scene.room._crowded == {"crowded"}) is crowded


def test_what_is_overdue_is_looked_for_now_and_then() -> None:
    scene = Scene()
    scene.loop._look_for_overdue()
    assert scene.store.since == 0.0
    scene.clock.at += OVERDUE_EVERY_S
    scene.loop._look_for_overdue()
    assert scene.store.since == scene.clock.at
    scene.loop._queue = scene.loop._source  # type: ignore[assignment]
    scene.clock.at += OVERDUE_EVERY_S
    scene.loop._look_for_overdue()
    assert scene.store.since == scene.clock.at - OTHERS_FIRST_S, "whoever made it wait comes first"


def test_a_partition_that_is_taken_in_good_order_is_finished_and_committed_first() -> None:
    scene = Scene()
    scene.receive(HERE)
    scene.loop.revoked([HERE])
    assert scene.runner.dropped[0] == ({HERE}, Limits().drain_s)
    assert scene.source.committed == [{HERE: 2}]
    assert list(scene.owned) == [THERE]


def test_nothing_is_committed_of_a_partition_that_somebody_else_has() -> None:
    scene = Scene()
    (unit,) = scene.receive(HERE)
    scene.loop.lost([HERE])
    assert scene.runner.dropped == [({HERE}, 0)]
    assert list(scene.owned) == [THERE]
    scene.runner.done = [unit]
    scene.loop._collect(force=True)
    assert scene.source.committed == []


def test_a_refusal_that_the_source_confirms_is_forgotten() -> None:
    scene = Scene()
    scene.runner.refused = {HERE: scene.owned[HERE]}
    scene.loop._collect()
    scene.loop.lost([HERE])
    scene.clock.at += 2 * FENCED_FOR_S
    scene.loop._check_ownership()
    assert scene.rejoined == 0


def test_a_store_that_is_away_is_asked_until_it_answers() -> None:
    scene = Scene()
    scene.store.away = 8
    before = scene.owned[HERE]
    scene.runner.watched = 0
    scene.loop.assigned([HERE])
    assert scene.owned[HERE] > before
    assert scene.clock.slept == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert scene.runner.watched == 8, "what keeps the store from us may be a handler of our own"


def test_nothing_is_taken_over_by_a_worker_that_was_stopped_meanwhile() -> None:
    scene = Scene()
    scene.loop.lost([HERE])
    woken = len(scene.runner.woken)
    scene.loop.stop()
    scene.loop.assigned([HERE])
    assert (list(scene.owned), len(scene.runner.woken)) == ([THERE], woken)


def test_how_keys_wait_is_told_to_the_runner_with_their_partition() -> None:
    scene = Scene()
    scene.store.due_now = {"k": Waiting(Wait.RETRY, 1, 0.0, 5.0, home=HERE)}
    scene.loop.assigned([HERE])
    assert scene.runner.woken[-1] == scene.store.due_now
    scene.runner.woken.clear()
    scene.clock.at += OVERDUE_EVERY_S
    scene.loop._look_for_overdue()
    assert scene.runner.woken == [scene.store.due_now]
    scene.store.due_now = {}
    scene.clock.at += OVERDUE_EVERY_S
    scene.loop._look_for_overdue()
    assert len(scene.runner.woken) == 1, "nothing is overdue"


def test_a_partition_without_room_is_told_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.runner.without_room = {HERE: "no room for a letter"}
    for _ in range(2):
        scene.loop._look_for_room()
    assert caplog.text.count("is paused: no room for a letter") == 1
    scene.clock.at += NO_ROOM_EVERY_S
    scene.loop._look_for_room()
    assert caplog.text.count("is paused") == 2
    scene.runner.without_room = {}
    scene.loop._look_for_room()
    scene.runner.without_room = {HERE: "no room for a letter"}
    scene.loop._look_for_room()
    assert caplog.text.count("is paused") == 3, "it had gone on in between"


def test_letters_and_events_that_wait_have_limits_of_their_own() -> None:
    scene = Scene(letters=5, held=50)
    scene.store.letters_now, scene.store.held_now = 3, 9
    scene.loop._read_room()
    assert (scene.room._letters, scene.room._held) == (3, 9)


def test_the_store_is_asked_for_room_only_while_that_matters() -> None:
    scene = Scene()
    look_for_room(scene, 7)
    assert scene.room._letters == 0, "nothing was added"
    scene.room.touched = True
    look_for_room(scene, 7)
    assert scene.room._letters == 7
    scene.room.touched = True
    scene.store.letters_now = 9
    scene.loop._look_for_room()
    assert scene.room._letters == 7, "asked a moment ago"


def test_handlers_that_run_on_while_a_partition_goes_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.runner.drop = lambda partitions, timeout_s: False  # type: ignore[method-assign]
    scene.loop.revoked([HERE])
    assert "handlers still run after 20 s" in caplog.text


def test_an_observer_is_told_how_partitions_come_and_go() -> None:
    scene = Scene()
    assert [one for one in scene.seen.told if one[0] == "owned"] == [("owned", 2, 2, 0, 0)]
    scene.seen.told.clear()
    scene.runner.refused = {HERE: scene.owned[HERE]}
    scene.loop._collect()
    scene.loop.assigned([HERE])
    scene.loop.revoked([THERE])
    scene.loop.lost([HERE])
    told = [one[1:] for one in scene.seen.told if one[0] == "owned"]
    assert told == [(1, 0, 0, 1), (2, 1, 0, 0), (1, 0, 1, 0), (0, 0, 0, 1)]


def test_an_observer_is_told_of_a_store_that_is_away_and_of_its_return() -> None:
    scene = Scene()
    scene.seen.told.clear()
    scene.store.away = 1
    scene.loop.assigned([HERE])
    about = [one for one in scene.seen.told if one[0] in {"store", "polled"}]
    assert about[:3] == [("store", "store: away"), ("polled",), ("store", None)]
