"""What the poll loop does in every turn and in which order, and how it begins and ends."""

from __future__ import annotations

import pytest

from inorder.core.waiting import Wait, Waiting
from inorder.worker import worker
from inorder.worker.pulse import BEAT_EVERY_S
from inorder.worker.worker import (
    COMMIT_EVERY_S,
    END_CHECK_S,
    FENCED_FOR_S,
    OVERDUE_EVERY_S,
    ROOM_EVERY_S,
)
from tests.worker.played import HERE, THERE, Messages, Scene

RETRY = Waiting(Wait.RETRY, 1, 0.0, 5.0, home=HERE)


# Every turn.


def test_every_turn_is_a_sign_of_life() -> None:
    scene = Scene()
    scene.seen.told.clear()
    scene.loop._turn()
    assert (scene.polls, scene.seen.told[0]) == (1, ("polled",))


def test_a_partition_that_the_store_refuses_is_seen_to_in_a_turn() -> None:
    scene = Scene()
    scene.runner.refused = {HERE: scene.owned[HERE]}
    scene.loop._turn()
    scene.clock.at += FENCED_FOR_S + 1
    scene.loop._turn()
    assert scene.rejoined == 1


def test_keys_that_are_overdue_are_seen_to_in_a_turn_now_and_then() -> None:
    scene = Scene()
    scene.clock.at += OVERDUE_EVERY_S
    scene.store.due_now = {"k": RETRY}
    scene.store.asked.clear()
    for _ in range(2):
        scene.loop._turn()
    assert scene.runner.woken[-1] == {"k": RETRY}
    assert scene.store.asked.count("overdue") == 1


def test_a_worker_without_partitions_asks_for_no_keys() -> None:
    scene = Scene()
    scene.loop.lost([HERE, THERE])
    scene.clock.at += OVERDUE_EVERY_S
    scene.store.asked.clear()
    scene.loop._turn()
    assert "overdue" not in scene.store.asked


def test_room_is_looked_for_in_a_turn() -> None:
    scene = Scene()
    scene.runner.without_room = {HERE: "no room"}
    scene.loop._turn()
    assert scene.source.paused == [HERE]


def test_a_runner_that_began_anew_is_told_what_is_ours_and_what_waits() -> None:
    scene = Scene()
    scene.store.due_now = {"k": RETRY}
    scene.runner.woken.clear()
    scene.loop._turn()
    assert scene.runner.woken == [], "nothing hangs"
    scene.runner.new_thread = True
    scene.loop._turn()
    assert (scene.runner.woken, scene.runner.fences) == ([{"k": RETRY}], scene.owned)


def test_the_store_is_told_which_partitions_we_have_and_how_fast_events_come() -> None:
    scene = Scene()
    assert scene.store.beats[0][0] == [HERE, THERE], "as soon as they are ours"
    scene.receive(HERE, 0, 7)
    scene.receive(HERE, 7, 3)
    scene.clock.at += BEAT_EVERY_S
    scene.loop._turn()
    assert scene.store.beats[1:] == [([HERE, THERE], 10 / BEAT_EVERY_S)]


def test_an_observer_is_told_of_what_comes() -> None:
    scene = Scene()
    scene.seen.told.clear()
    scene.receive(HERE, 0, 3)
    assert ("received", 3, 3) in scene.seen.told


def test_what_comes_from_a_partition_that_is_not_ours_is_left_alone() -> None:
    scene = Scene()
    scene.receive(THERE)
    scene.loop.lost([HERE])
    scene.seen.told.clear()
    scene.receive(HERE)
    assert len(scene.runner.jobs) == 1
    assert not [one for one in scene.seen.told if one[0] == "received"]


# How long a turn waits.


def test_an_idle_worker_waits_for_events_and_a_busy_one_for_what_it_does() -> None:
    scene = Scene()
    scene.loop._turn()
    scene.runner.is_busy = True
    scene.loop._turn()
    idle_s, busy_s = scene.source.polled
    assert (idle_s, scene.runner.waited) == (worker.POLL_S, [])
    assert busy_s < idle_s, "what is settled wants to be committed"


def test_a_message_that_is_settled_is_deleted_before_the_queue_is_asked_for_more() -> None:
    source = Messages()
    scene = Scene(source)
    scene.loop._turn()
    assert (source.polled, scene.runner.waited) == ([worker.POLL_S], [])
    (unit,) = scene.receive(HERE, 0, 1)
    scene.runner.is_busy = True
    deleted: list[list[int]] = []
    scene.runner.meanwhile = lambda: scene.runner.done.append(unit)
    source.meanwhile = lambda: deleted.append(list(source.settled))
    source.polled.clear()
    scene.loop._turn()
    assert (deleted, source.polled) == ([[1]], [0]), "and has waited already"
    assert 0 < scene.runner.waited[0] < worker.POLL_S


def test_all_messages_that_are_settled_are_deleted() -> None:
    source = Messages()
    scene = Scene(source)
    scene.runner.done = [*scene.receive(HERE, 0, 1), *scene.receive(HERE, 1, 1)]
    scene.loop._collect()
    assert source.settled == [1, 2]


# Room.


def test_a_partition_that_has_no_room_after_long_is_told_of_at_once(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.loop._look_for_room()
    scene.runner.without_room = {HERE: "no room"}
    scene.loop._look_for_room()
    assert caplog.text.count("is paused: no room") == 1


def test_nothing_is_tried_again_where_nothing_found_no_room() -> None:
    scene = Scene()
    scene.store.letters_now = 5
    scene.loop._read_room()
    scene.room.touched = True
    scene.clock.at += ROOM_EVERY_S
    scene.store.letters_now = 4
    scene.loop._look_for_room()
    assert scene.runner.tries == 0


# The beginning and the end.


def test_a_worker_ends_when_nothing_has_come_for_as_long_as_it_was_told() -> None:
    scene = Scene()
    scene.clock.at += 100
    began = scene.clock.at

    def pass_time() -> None:
        scene.clock.at += worker.POLL_S

    scene.source.meanwhile = pass_time
    assert scene.loop.run(until_idle_s=1.0)
    assert scene.source.listener is scene.loop
    assert 1.0 <= scene.clock.at - began <= 1.0 + worker.POLL_S + END_CHECK_S
    assert scene.store.beats[-1] == (None, 0.0), "whoever asks is told that it has ended"
    assert scene.source.closed


def test_a_worker_goes_on_until_it_is_stopped() -> None:
    scene = Scene()

    def pass_time() -> None:
        scene.clock.at += 100
        if len(scene.source.polled) == 5:
            scene.loop.stop()

    scene.source.meanwhile = pass_time
    assert scene.loop.run()
    assert len(scene.source.polled) == 5


def test_what_was_settled_a_moment_ago_is_committed_before_a_worker_ends() -> None:
    scene = Scene()
    units = scene.receive(HERE)
    scene.clock.at += 5.0
    scene.loop._collect()
    scene.clock.at += COMMIT_EVERY_S / 2
    scene.runner.done = units
    assert scene.loop._idle(5.0)
    assert scene.source.committed == [{HERE: 2}]


def test_a_worker_does_not_end_while_another_may_have_left_a_retry_behind() -> None:
    scene = Scene()
    scene.clock.at += 5.0
    scene.store.retrying = {"k": Waiting(Wait.RETRY, 1, 0.0, scene.clock.at, home=HERE)}
    scene.loop.lost([HERE])
    assert not scene.loop._idle(5.0)
    scene.store.retrying = {}
    scene.clock.at += END_CHECK_S
    scene.store.away = 1
    assert not scene.loop._idle(5.0), "nobody knows"
    scene.clock.at += END_CHECK_S
    assert scene.loop._idle(5.0)


def test_a_worker_that_was_given_nothing_stays_for_any_retry() -> None:
    scene = Scene()
    scene.loop.lost([HERE, THERE])
    scene.store.retrying = {"k": Waiting(Wait.RETRY, 1, 0.0, scene.clock.at, home=HERE)}
    assert scene.loop._others_wait()


def test_a_worker_that_dies_lets_its_source_go_and_says_that_it_has_ended() -> None:
    scene = Scene()

    def died() -> list[object]:
        raise ValueError("a bug")

    scene.runner.settled = died  # type: ignore[method-assign, assignment]
    with pytest.raises(ValueError, match="a bug"):
        scene.loop.run()
    assert scene.source.closed
    assert scene.store.beats[-1] == (None, 0.0)
    assert scene.source.committed == []


def test_partitions_that_go_with_the_source_are_not_asked_of_a_runner_that_has_ended() -> None:
    scene = Scene()
    close = scene.source.close

    def closed() -> None:
        scene.loop.revoked([HERE])
        scene.loop.lost([THERE])
        close()

    scene.source.close = closed  # type: ignore[method-assign]
    scene.loop.stop()
    assert scene.loop.run()
    assert (scene.runner.dropped, scene.source.closed) == ([], True)


# What is said.


def test_what_goes_wrong_is_said_once_in_a_line(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(Messages())
    scene.runner.over = scene.receive(HERE, 0, 1)
    scene.store.away = 1
    scene.loop._collect()
    scene.loop._patiently(lambda: scene.store.retried(1))
    assert "the leases of 1 messages ended before their turn came" in caplog.text
    assert caplog.text.count("paused: store: away") == 1


def test_a_group_that_is_joined_anew_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.runner.refused = {HERE: scene.owned[HERE]}
    scene.loop._collect()
    scene.clock.at += FENCED_FOR_S + 1
    scene.loop._check_ownership()
    assert f"{HERE} is ours, and somebody else took it in the store" in caplog.text
