"""Keys that wait, and are due: when they are looked at, what is read back, and what it is counted as.

Pure: the store is in memory.
"""

from __future__ import annotations

import msgspec
import pytest

from inorder.core.event import fingerprint
from inorder.core.waiting import AT_ONCE, Wait, Waiting
from inorder.errors import Poison
from inorder.worker import batch
from tests.worker.batching import Scene, job
from tests.worker.consumers import FOLD, TX
from tests.worker.played import HERE, THERE

# Keys that are due.


def test_a_key_is_looked_at_again_when_it_is_due_and_not_before() -> None:
    scene = Scene()
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    (due_at,) = scene.batches.timers.all().values()
    assert due_at == pytest.approx(1_100.0, rel=0.3)
    scene.batches.timers.take(due_at)
    scene.run(due=["a"])
    assert scene.calls == ["a1"], "whoever said that it was due knew less than the store does"
    assert scene.batches.timers.all() == {"a": due_at}
    scene.clock.at = due_at
    scene.batches.timers.take(due_at)
    scene.run(due=["a"])
    assert scene.calls == ["a1"] * 2
    assert scene.batches.timers.all()["a"] > due_at


def test_what_a_batch_or_anybody_else_has_said_of_a_key_goes_before_what_was_known_of_it() -> None:
    scene = Scene(gap_s=50.0, poll_events=1)
    scene.run(job("a2 a3 b2"))
    scene.batches.timers.take(2_000.0)
    scene.batches.timers.note({"b": Waiting(Wait.RETRY, 1, 0.0, 1_005.0)})
    scene.run(job("a1"), due=["a", "b"])
    assert scene.batches.timers.all() == {"a": AT_ONCE, "b": 1_005.0}


def test_keys_that_are_due_together_go_on_together() -> None:
    scene = Scene()
    scene.fails = {"a1": ValueError("no"), "b1": ValueError("no")}
    scene.run(job("a1 b1"))
    scene.fails.clear()
    scene.clock.at += 200
    scene.run(due=["a", "b"])
    assert scene.states() == {"a": [1], "b": [1]}


def test_on_a_queue_a_key_that_is_not_due_is_left_to_whoever_made_it_wait() -> None:
    scene = Scene(queue=True)
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    scene.batches.timers.take(2_000.0)
    scene.run(due=["a"])
    assert scene.batches.timers.all() == {}


def test_what_somebody_else_has_set_going_is_read_anew() -> None:
    scene = Scene()
    scene.fails["a1"] = Poison("bad")
    scene.run(job("a1 a2"))
    waiting = scene.waiting("a")
    assert waiting is not None
    assert waiting.why is Wait.PARKED
    row = scene.store.tables.entities["a"]
    scene.store.tables.entities["a"] = msgspec.structs.replace(row, expected=row.expected + 1, version=1)
    scene.store.tables.waits["a"] = Waiting(Wait.GAP, 2, 0.0, AT_ONCE, home=HERE)
    scene.run(due=["a"])
    assert scene.calls == ["a1", "a2"]
    assert scene.states() == {"a": [2]}
    counts = scene.store.counts([3])
    assert (counts["parked"], counts["applied"], counts["dead_lettered"]) == (0, 1, 1), "it is counted once"


def test_what_a_batch_says_of_how_a_key_waits_replaces_what_was_said_before() -> None:
    scene = Scene(gap_s=50.0, poll_events=1)
    scene.run(job("a2 a3"))
    assert scene.batches.timers.all() == {"a": 1_050.0}
    scene.run(job("a1"))
    assert scene.batches.timers.all() == {"a": AT_ONCE}
    assert scene.batches.timers.take(1_000.0) == ["a"]
    scene.run(due=["a"])
    assert (scene.batches.timers.all(), scene.states()) == ({}, {"a": [1, 2, 3]})


# What a version sets going that was missing.


@pytest.mark.parametrize("kind", [FOLD, TX])
def test_what_waited_for_a_version_is_decided_with_it(kind: str) -> None:
    scene = Scene(kind)
    scene.run(job("a2 b3"))
    scene.run(job("a4 b2"))
    scene.since()
    scene.run(job("a3 b4 a1 c1"))
    assert scene.calls == ["c1", "a1", "a2", "a3", "a4"]
    assert scene.store.read_back == ["a"], "b waits on, for its first"
    assert sum(done.startswith("write") for done in scene.since()) == 1
    assert (scene.waiting("a"), scene.store.held_count()) == (None, 3)
    counts = scene.store.counts([3])
    assert (counts["applied"], counts["released"], counts["received"]) == (5, 2, 8)


def test_what_waited_under_another_home_is_decided_where_the_missing_version_came_from() -> None:
    scene = Scene()
    scene.run(job("a2", THERE))
    scene.run(job("a1"), fences={HERE: 7})
    assert scene.states() == {"a": [1, 2]}
    assert scene.store.fences[-1] == {HERE: 7}


def test_what_is_left_of_a_key_that_was_set_going_is_for_whoever_set_it_going(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "HELD_AT_ONCE", 2)
    scene = Scene()
    scene.run(job("a2 a3 a4 a5", THERE))
    scene.run(job("a1"), fences={HERE: 7})
    assert scene.states() == {"a": [1, 2, 3]}
    waiting = scene.waiting("a")
    assert waiting is not None
    assert (waiting.due_at, waiting.home) == (AT_ONCE, HERE)
    scene.run(due=scene.batches.timers.take(0.0), fences={HERE: 7})
    assert scene.states() == {"a": [1, 2, 3, 4, 5]}


def test_a_gap_behind_what_was_set_going_is_watched_by_whoever_set_it_going() -> None:
    scene = Scene(gap_s=50.0)
    scene.run(job("a2 a4", THERE))
    scene.run(job("a1"), fences={HERE: 7})
    assert scene.states() == {"a": [1, 2]}
    scene.clock.at += 60
    scene.run(due=scene.batches.timers.take(scene.clock.at), fences={HERE: 7})
    waiting = scene.waiting("a")
    assert waiting is not None
    assert (waiting.why, waiting.home) == (Wait.PARKED, HERE)


def test_the_retry_of_what_was_set_going_is_for_whoever_set_it_going() -> None:
    scene = Scene()
    scene.run(job("a2", THERE))
    scene.fails["a2"] = ValueError("no")
    scene.run(job("a1"), fences={HERE: 7})
    waiting = scene.waiting("a")
    assert waiting is not None
    assert (waiting.why, waiting.home) == (Wait.RETRY, HERE)
    scene.fails.clear()
    scene.clock.at += 200
    scene.run(due=["a"], fences={HERE: 7})
    assert scene.states() == {"a": [1, 2]}


def test_what_comes_early_behind_what_was_set_going_is_counted_as_early() -> None:
    scene = Scene()
    scene.seen.watches = True
    told: list[dict[int, int]] = []
    scene.seen.committed = lambda changes, *of: told.append(changes.distances)  # type: ignore[method-assign]
    scene.run(job("a2"))
    scene.run(job("a1 a5"))
    assert scene.states() == {"a": [1, 2]}
    assert told == [{1: 1}, {2: 1}], "a3 and a4 are missing before it"


def test_what_waited_waits_on_where_what_it_waited_for_fails() -> None:
    scene = Scene()
    scene.run(job("a2"))
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    assert (scene.states(), [row.version for row in scene.store.held("a", 9)]) == ({}, [1, 2])
    scene.fails.clear()
    scene.clock.at += 200
    scene.run(due=["a"])
    assert scene.states() == {"a": [1, 2]}


def test_what_has_no_place_in_the_batch_follows_in_the_next_one() -> None:
    scene = Scene(poll_events=3)
    scene.run(job("a2 a3 b2 b3 c2"))
    scene.run(job("a1 b1 c1"))
    assert scene.store.read_back == ["a", "c"], "b has two"
    assert scene.states() == {"a": [1, 2, 3], "b": [1], "c": [1, 2]}
    assert scene.batches.timers.take(0.0) == ["b"]
    scene.run(due=["b"])
    assert scene.states() == {"a": [1, 2, 3], "b": [1, 2, 3], "c": [1, 2]}


def test_what_is_due_takes_no_place_of_what_is_set_going() -> None:
    scene = Scene(poll_events=1)
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1 b2"))
    scene.fails.clear()
    scene.clock.at += 200
    scene.run(job("a1 b1"), due=["a"])
    assert scene.states() == {"a": [1], "b": [1, 2]}


@pytest.mark.parametrize("order", ["latest", "commutative"])
def test_where_no_version_can_be_missing_none_sets_another_going(order: str) -> None:
    scene = Scene(order=order)
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    scene.run(job("a2"))
    assert scene.store.read_back == []


def test_a_key_that_is_parked_is_not_set_going() -> None:
    scene = Scene()
    scene.fails["a1"] = Poison("bad")
    scene.run(job("a1 a2"))
    scene.run(job("a1"))
    assert (scene.store.read_back, scene.calls) == ([], ["a1"])


def sharing(scene: Scene) -> Scene:
    """Another worker, on the same store and clock."""
    other = Scene()
    other.store, other.clock = scene.store, scene.clock
    other.batches._store, other.batches._clock = scene.store, scene.clock
    return other


def test_a_key_that_is_due_and_was_last_seen_under_another_home_is_read_anew() -> None:
    scene = Scene()
    other = sharing(scene)
    other.run(job("a3", THERE))
    scene.run(job("a5"), fences={HERE: 7})
    other.fails["a1"] = ValueError("no")
    other.run(job("a1"))
    waiting = scene.waiting("a")
    assert waiting is not None
    assert (waiting.why, waiting.home) == (Wait.RETRY, HERE)
    scene.clock.at += 400
    scene.run(due=["a"], fences={HERE: 7})
    assert scene.states() == {"a": [1]}


# What waited, read again.


def test_what_waited_goes_before_what_came_after_it() -> None:
    scene = Scene(order="latest")
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    scene.clock.at += 200
    scene.fails.clear()
    scene.run(job("a2"), due=["a"])
    assert scene.states() == {"a": [1, 2]}


def test_nothing_is_read_back_of_a_key_that_does_not_go_on() -> None:
    scene = Scene(gap_s=50.0)
    scene.run(job("a2"))
    scene.fails["b1"] = ValueError("no")
    scene.run(job("b1"))
    scene.fails.clear()
    scene.clock.at += 200
    scene.run(due=["a", "b"])
    assert scene.store.read_back == ["b"]
    waiting = scene.waiting("a")
    assert waiting is not None
    assert waiting.why is Wait.PARKED


def test_a_worker_that_begins_anew_keeps_nothing_in_memory() -> None:
    scene = Scene(gap_s=50.0)
    scene.run(job("a2 b1"))
    scene.effect.barred["a", 2] = ValueError("barred")
    scene.batches.forget()
    assert (scene.batches.timers.all(), scene.effect.barred) == ({}, {})
    scene.store.loaded.clear()
    scene.run(job("a1 b2"))
    assert scene.store.loaded == [["a", "b"]]


def test_an_event_that_waited_is_counted_for_whoever_received_it() -> None:
    scene = Scene()
    scene.run(job("a2"))
    scene.batches._tally = 5
    scene.run(job("a1"))
    assert scene.states() == {"a": [1, 2]}
    assert [scene.store.counts([tally])["applied"] for tally in (3, 5)] == [1, 1]
    assert scene.store.held_count() == 0


def test_another_event_of_a_version_that_took_effect_is_told_apart_from_it() -> None:
    scene = Scene()
    scene.run(job("a1"))
    scene.batches.cache.clear()
    given = job("a1")
    given.events[0].id, given.events[0].fingerprint = "another", fingerprint("another")
    scene.run(given)
    assert [row.letter.reason for row in scene.store.letters()] == ["conflict"]


def test_what_took_effect_is_known_again_when_it_comes_again() -> None:
    scene = Scene()
    scene.run(job("a2"))
    scene.run(job("a1"))
    scene.batches.cache.clear()
    scene.run(job("a1 a2"))
    assert (scene.states(), scene.store.counts([3])["duplicate"], scene.store.letter_counts()) == ({"a": [1, 2]}, 2, {})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"{", "truncated"),
        (b'{"key":"b","version":2,"id":"a2"}', "key: 'b' now, but the event was received with 'a'"),
        (b'{"key":"a","version":3,"id":"a2"}', "version: 3 now, but the event was received with 2"),
    ],
)
def test_an_event_that_is_read_as_another_one_by_now_fails_when_its_turn_comes(value: bytes, why: str) -> None:
    scene = Scene()
    scene.run(job("a2"))
    held = scene.store.tables.held["a"][2]
    record = msgspec.structs.replace(held.record, value=value)
    scene.store.tables.held["a"] = {2: msgspec.structs.replace(held, record=record)}
    scene.run(job("a1"))
    (row,) = scene.store.letters()
    assert (row.letter.key, row.letter.version, row.letter.reason) == ("a", 2, "failed")
    assert why in row.letter.detail
    assert (scene.states(), scene.calls) == ({"a": [1]}, ["a1", "a1"]), "again, for what failed after it"
