"""What follows when the store refuses a batch, is away, or has no room for all of it.

Pure: the store is in memory, and refuses what it is told to.
"""

from __future__ import annotations

import logging

import msgspec
import pytest

from inorder.core.effect import Outage
from inorder.errors import Fenced, Mismatch, Poison, Unavailable, Unreachable
from inorder.worker.batch import SHARED_S
from tests.worker.batching import FENCES, Scene, job
from tests.worker.consumers import FOLD, TX, Entry, nothing
from tests.worker.played import HERE, THERE

# Refusals.


@pytest.mark.parametrize("kind", [FOLD, TX])
def test_what_somebody_else_has_changed_is_read_again_and_decided_again(kind: str) -> None:
    scene = Scene(kind)
    scene.run(job("a1 b1"))
    scene.store.loaded.clear()
    scene.store.refusals = [Mismatch(["a"])]
    assert scene.run(job("a2")) == {}
    assert scene.store.loaded == [["a"]], "b is known still"
    assert scene.seen.told[-2:] == [("outdated",), ("committed", ["a"])]
    assert scene.calls == ["a1", "b1", "a2", "a2"]
    assert scene.effect.turns == 3, "in each turn a handler has its whole time"
    if kind == FOLD:
        assert scene.states()["a"] == [1, 2]
    else:
        assert scene.store.effects == ["a1", "b1", "a2"]


def test_a_key_that_is_due_is_read_again_too() -> None:
    scene = Scene()
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    scene.clock.at += 200
    scene.store.refusals = [Mismatch(["a"])]
    scene.store.loaded.clear()
    scene.fails.clear()
    scene.run(due=["a"])
    assert scene.store.loaded == [["a"]]
    assert scene.states() == {"a": [1]}


@pytest.mark.parametrize("queue", [True, False])
def test_a_worker_of_a_queue_that_met_another_reads_all_anew_for_a_while(queue: bool) -> None:
    scene = Scene(queue=queue)
    scene.run(job("a1 b1"))
    scene.store.refusals = [Mismatch(["a"])]
    scene.run(job("a2"))
    scene.store.loaded.clear()
    scene.clock.at += SHARED_S / 2
    scene.run(job("b2"))
    assert scene.store.loaded == ([["b"]] if queue else [])
    scene.clock.at += SHARED_S / 2
    scene.run(job("b3"))
    assert len(scene.store.loaded) == int(queue), "others are elsewhere by now"


@pytest.mark.parametrize(("queue", "level"), [(True, logging.DEBUG), (False, logging.INFO)])
def test_on_a_queue_others_change_entities_all_the_time(
    queue: bool, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "inorder.worker")
    scene = Scene(queue=queue)
    scene.store.refusals = [Mismatch(["a"])]
    scene.run(job("a1"))
    assert [record.levelno for record in caplog.records if "read again" in record.message] == [level]


@pytest.mark.parametrize("kind", [FOLD, TX])
def test_what_came_from_a_partition_that_was_lost_is_left_out_and_the_rest_written(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(kind)
    scene.run(job("a1 b1"))
    scene.store.tables.fences[HERE] = 9
    scene.store.loaded.clear()
    scene.since()
    given = job("a2")
    given.absorb(job("c1", THERE))
    assert scene.batches.run(given, [], FENCES) == {HERE: 7}
    assert [unit.partition for unit in given.units] == [THERE], "nothing of it is settled"
    assert ("fenced", 1) in scene.seen.told
    assert scene.seen.told[-1] == ("committed", ["c"])
    assert scene.store.fences[-1] == {THERE: 8}
    assert scene.store.loaded[-1] == ["c"], "all is read anew: whoever has it now may have changed it"
    assert "left to the new owner" in caplog.text
    scene.run(job("b2", THERE))
    assert scene.store.loaded[-1] == ["b"]


def test_partitions_that_are_lost_one_after_the_other_are_all_told_of() -> None:
    scene = Scene()
    scene.store.refusals = [Fenced([HERE]), Fenced([THERE])]
    assert scene.run(job("a1"), job("b1", THERE)) == FENCES
    assert scene.states() == {}


def test_the_fence_that_was_refused_is_that_of_the_events_whatever_is_ours_now() -> None:
    scene = Scene()
    scene.store.tables.fences[HERE] = 9
    assert scene.run(job("a1"), fences={HERE: 9, THERE: 8}) == {HERE: 7}
    assert scene.states() == {}


@pytest.mark.parametrize("kind", [FOLD, TX])
def test_a_key_waits_for_nothing_where_that_was_not_written(kind: str) -> None:
    scene = Scene(kind)
    scene.fails["a1"] = ValueError("no")
    scene.store.tables.fences[HERE] = 9
    assert scene.run(job("a1")) == {HERE: 7}
    assert scene.batches.timers.all() == {}


def test_a_key_that_waits_is_woken_under_the_fence_of_its_home_or_not_at_all() -> None:
    scene = Scene()
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    scene.clock.at += 200
    scene.fails.clear()
    scene.since()
    assert scene.run(job("b1", THERE), due=["a"], fences={THERE: 8}) == {}
    assert scene.since() == ["write b", "commit"]
    scene.store.tables.fences[HERE] = 9
    assert scene.run(job("c1", THERE), due=["a"]) == {HERE: 7}
    assert scene.states() == {"b": [1], "c": [1]}
    assert scene.calls.count("a1") == 2, "a fold is called before it is refused, and leaves nothing behind"
    scene.run(due=["a"], fences={HERE: 9})
    assert scene.states()["a"] == [1]


def test_a_key_that_waits_nowhere_in_particular_is_woken_by_anybody() -> None:
    scene = Scene()
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    waiting = scene.waiting("a")
    assert waiting is not None
    scene.store.tables.waits["a"] = msgspec.structs.replace(waiting, home=None)
    scene.batches.cache.clear()
    scene.clock.at += 200
    scene.fails.clear()
    scene.run(due=["a"], fences={THERE: 8})
    assert (scene.states(), scene.store.fences[-1]) == ({"a": [1]}, {})


@pytest.mark.parametrize(
    ("kind", "error", "raised"),
    [
        (FOLD, Unavailable("mail is down"), Outage),
        (TX, Unavailable("mail is down"), Outage),
        (TX, Unreachable("store: away"), Unreachable),
    ],
)
def test_an_outage_leaves_nothing_behind_and_the_batch_is_repeated_whole(
    kind: str, error: Exception, raised: type[Exception]
) -> None:
    scene = Scene(kind)
    scene.run(job("a1"))
    scene.store.loaded.clear()
    scene.fails["b1"] = error
    given = job("a2 b1")
    with pytest.raises(raised):
        scene.batches.run(given, [], FENCES)
    assert scene.seen.told == [("committed", ["a"])]
    scene.fails.clear()
    scene.batches.run(given, [], FENCES)
    assert scene.store.loaded[-1] == ["a", "b"], "nothing that was decided on is kept"
    assert scene.store.counts([3])["applied"] == 3
    if kind == TX:
        assert scene.store.effects == ["a1", "a2", "b1"]


def test_after_an_outage_what_had_failed_before_it_is_tried_again() -> None:
    scene = Scene(TX)
    scene.fails = {"a1": ValueError("no"), "b1": Unavailable("mail is down")}
    given = job("a1 b1")

    with pytest.raises(Outage):
        scene.batches.run(given, [], FENCES)
    assert scene.effect.barred == {}
    scene.fails.clear()
    scene.batches.run(given, [], FENCES)
    assert scene.store.effects == ["a1", "b1"]


def test_a_store_that_finds_a_change_under_a_handler_has_the_batch_done_again() -> None:
    scene = Scene(TX)
    scene.run(job("a1"))
    scene.store.loaded.clear()
    scene.fails["b1"] = Mismatch(["b"])
    scene._then = lambda entry: scene.calls.count("b1") == 2 and scene.fails.clear()  # type: ignore[func-returns-value]
    scene.run(job("a2 b1"))
    assert scene.store.effects == ["a1", "a2", "b1"]
    assert scene.store.loaded == [["b"], ["a", "b"]]


# Without room.


def test_what_finds_no_room_is_set_aside_with_all_that_follows_it_and_the_rest_is_written() -> None:
    scene = Scene(room=True, letters=1)
    scene.fails = {name: Poison("bad") for name in ("a1", "c1")}
    given = job("a1 b1 c1 d1")
    given.absorb(job("e1", THERE))
    assert scene.batches.run(given, [], FENCES) == {}
    assert scene.states() == {"b": [1], "e": [1]}
    assert [row.letter.key for row in scene.store.letters()] == ["a"]
    ((error, aside),) = scene.batches.aside
    assert (error.partition, [event.key for event in aside.events]) == (HERE, ["c", "d"])
    assert scene.seen.told == [("committed", ["a", "b", "e"])], "once, and without it"
    scene.room.read(0, 0, ())  # type: ignore[union-attr]
    scene.batches.run(aside, [], FENCES)
    assert (scene.states()["d"], len(list(scene.store.letters()))) == ([1], 2)


def test_each_partition_without_room_has_its_events_set_aside() -> None:
    scene = Scene(room=True, letters=1)
    scene.fails = {name: Poison("bad") for name in ("z1", "a1", "b1")}
    scene.run(job("z1"))
    scene.run(job("a1"), job("b1", THERE), job("c1", THERE))
    assert [(error.partition, [event.key for event in aside.events]) for error, aside in scene.batches.aside] == [
        (HERE, ["a"]),
        (THERE, ["b", "c"]),
    ]
    scene.run(job("d1", HERE))
    assert len(scene.batches.aside) == 2, "until somebody takes them over"


def test_what_finds_no_room_before_what_found_none_is_set_aside_before_it() -> None:
    """Events that are early are decided after all others: that one of them has no room is seen last."""
    scene = Scene(room=True, held=1)
    scene.run(job("z2", THERE))
    scene.fails = {"b1": ValueError("no")}
    given = job("d1 a5 b1 c1")
    units = given.units
    scene.batches.run(given, [], FENCES)
    assert scene.states() == {"d": [1]}
    assert scene.store.fences[-1] == {HERE: 7}, "what is written is still of that partition"
    ((error, aside),) = scene.batches.aside
    assert error.partition == HERE
    assert [event.key for event in aside.events] == ["a", "b", "c"]
    assert aside.units == units, "settled when all of it is through"


def test_room_that_was_taken_is_counted_at_once() -> None:
    scene = Scene(room=True, letters=2)
    scene.fails = {name: Poison("bad") for name in ("a1", "b1", "c1")}
    for name in ("a1", "b1", "c1"):
        scene.run(job(name))
    assert [row.letter.key for row in scene.store.letters()] == ["a", "b"]
    assert len(scene.batches.aside) == 1


def test_what_was_set_aside_is_tried_when_its_turn_comes_whatever_it_came_to_before() -> None:
    scene = Scene(TX, room=True, letters=1)
    scene.fails = {name: Poison("bad") for name in ("a1", "b1")}
    scene.run(job("a1 b1"))
    ((_, aside),) = scene.batches.aside
    assert [event.key for event in aside.events] == ["b"]
    assert scene.effect.barred == {}
    scene.fails.clear()
    scene.run(aside)
    assert scene.store.effects == ["b1"]


def test_what_was_set_aside_behind_an_event_without_room_is_tried_as_if_it_never_had_been() -> None:
    scene = Scene(TX, room=True, letters=1)
    scene.fails = {"z1": Poison("bad"), "a1": ValueError("no")}
    scene.run(job("z1", THERE))
    scene.calls.clear()

    def turn_bad(entry: Entry) -> None:
        if scene.calls.count("b1") == 3:
            scene.fails["b1"] = Poison("bad")

    scene._then = turn_bad
    scene.run(job("b1 a1"))
    ((_, aside),) = scene.batches.aside
    assert [event.key for event in aside.events] == ["b", "a"]
    scene.fails.clear()
    scene._then = nothing
    scene.run(aside)
    assert scene.store.effects == ["b1", "a1"], "how it failed then is forgotten"


def test_what_states_have_grown_by_is_counted_as_memory() -> None:
    scene = Scene(cache_bytes=20_000)
    scene.run(job("a1"))
    for key in "bc":
        scene.run(job(" ".join(f"{key}{version}" for version in range(1, 2_500))))
    scene.store.loaded.clear()
    scene.run(job("a2"))
    assert scene.store.loaded == [["a"]], "it had to give way"
