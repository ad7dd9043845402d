"""What is noted beside the outcomes: how far events strayed, whom a letter is of, why there was no room."""

from __future__ import annotations

import pytest

from inorder.core.changes import Changes
from inorder.core.effect import Effect, NoRoom
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Record, Slice, fingerprint
from inorder.core.guard import Guard
from inorder.core.limits import Limits
from inorder.core.order import Order, Outcome
from inorder.core.planner import Planner
from inorder.core.retry import ErrorClass, Retry
from inorder.core.room import Room
from inorder.core.rows import Counter
from inorder.core.waiting import Wait, Waiting

HOME = Partition("topic", 0)
PIECE = Slice.of(HOME, [Record(HOME, 0, b"a", b"")])


class Failing(Effect):
    """A handler that fails for these versions."""

    def __init__(self, *versions: int) -> None:
        self.versions = versions

    def apply(self, entity: Entity, event: Event) -> None:
        if event.version in self.versions:
            raise ValueError("no such account")

    def undo(self, entity: Entity) -> None:
        pass


def event(version: int, key: str = "a", receiver: tuple[int, str] | None = None) -> Event:
    found = f"{key}{version}"
    return Event(key, version, found, fingerprint(found), None, PIECE, 0, receiver)


def planner(order: Order = Order.STRICT, kind: ErrorClass = ErrorClass.POISON) -> Planner:
    return Planner(Guard(order), Retry(attempts=2), Limits(), True, lambda error: kind)


def decided(
    versions: list[int], order: Order = Order.STRICT, observed: bool = True, entity: Entity | None = None
) -> Changes:
    changes = Changes(0, observed=observed)
    found = entity or Entity("a")
    planner(order).decide({"a": found}, [event(one) for one in versions], Failing(), changes, 0.0)
    return changes


@pytest.mark.parametrize(
    ("versions", "distances"),
    [
        ([1, 2, 3], {}),
        ([3, 2, 1], {1: 1, 2: 1}),
        ([2, 1, 4, 3], {1: 2}),
        ([1, 1], {-1: 1}),
        ([1, 2, 1], {-2: 1}),
        ([5], {4: 1}),
        ([3, 1], {2: 1}),
        ([2, 2], {1: 2}),
        ([3, 1, 4, 2], {2: 2}),
        ([3, 2, 1, 5], {2: 1, 1: 2}),
    ],
)
def test_how_far_events_strayed_is_counted_as_they_came(versions: list[int], distances: dict[int, int]) -> None:
    assert decided(versions).distances == distances


def test_what_is_sorted_within_a_batch_is_not_counted_where_nobody_asks() -> None:
    assert decided([3, 2, 1], observed=False).distances == {}


@pytest.mark.parametrize(("versions", "distances"), [([3, 1], {-3: 1}), ([3, 3], {-1: 1}), ([2, 5], {})])
def test_under_latest_only_what_is_behind_has_strayed(versions: list[int], distances: dict[int, int]) -> None:
    assert decided(versions, Order.LATEST).distances == distances


def test_a_key_that_is_parked_says_nothing_of_how_far_its_events_strayed() -> None:
    entity = Entity("a", version=1, waiting=Waiting(Wait.PARKED, 2, 0.0))
    assert decided([4, 3], entity=entity).distances == {}


def test_one_key_that_is_stopped_keeps_nothing_of_another_from_being_counted() -> None:
    changes = Changes(0, observed=True)
    stopped = Entity("b", waiting=Waiting(Wait.PARKED, 1, 0.0))
    batch = [event(2, "b"), event(2), event(1)]
    planner().decide({"a": Entity("a"), "b": stopped}, batch, Failing(), changes, 0.0)
    assert changes.distances == {1: 1}


def test_a_key_with_a_gap_counts_what_comes_while_it_waits() -> None:
    entity = Entity("a", version=1, held={4: 1}, waiting=Waiting(Wait.GAP, 2, 0.0, due_at=9.0))
    assert decided([3, 1], entity=entity).distances == {1: 1, -1: 1}


def test_what_waited_has_been_counted_when_it_came() -> None:
    for version in (1, 4):
        entity, changes = Entity("a", version=1, held={4: 1}, waiting=Waiting(Wait.GAP, 2, 0.0, due_at=9.0)), Changes(0)
        assert not planner().admit(entity, event(version, receiver=(2, Outcome.HELD)), changes, 0.0)
        assert changes.distances == {}


def test_want_of_room_names_the_event_its_partition_and_why() -> None:
    third = event(3)
    error = NoRoom(third, "the limit is reached")
    assert (error.first, error.partition, str(error)) == (third, HOME, "the limit is reached")


def test_what_waits_and_finds_no_room_to_be_a_letter_is_left_alone_for_half_a_minute() -> None:
    one, entity, changes = planner(), Entity("a", held={1: 1}), Changes(0)
    entity.waiting = Waiting(Wait.GAP, 1, 5.0, attempts=1)
    one.room = Room(Limits(letters=1))
    one.room.read(1, 0, set())
    one.failed(entity, event(1, receiver=(0, Outcome.HELD)), ValueError("no"), changes, 100.0)
    waiting = entity.waiting
    assert waiting is not None
    assert (waiting.why, waiting.since, waiting.due_at, waiting.attempts) == (Wait.RETRY, 5.0, 130.0, 2)
    assert waiting.reason == "1 dead letters are open, which is the limit (letters=); after ValueError: no"
    assert (changes.letters, entity.held) == ([], {1: 1})


def test_a_letter_says_who_received_it_and_since_when_it_failed() -> None:
    one, entity, changes = planner(), Entity("a", held={1: 1}), Changes(3)
    one.explain, one.code_version = lambda error: "line 7", "abc"
    entity.waiting = Waiting(Wait.GAP, 1, 5.0, attempts=1)
    one.failed(entity, event(1, receiver=(2, Outcome.HELD)), ValueError("no"), changes, 100.0)
    (letter,) = changes.letters
    assert (letter.tally, letter.attempts, letter.first_at, letter.last_at) == (2, 2, 5.0, 100.0)
    assert (letter.error, letter.code_version, letter.detail) == ("line 7", "abc", "ValueError: no")
    one.failed(Entity("b"), event(1, "b"), ValueError("no"), changes, 100.0)
    letter = changes.letters[1]
    assert (letter.tally, letter.attempts, letter.first_at, letter.last_at) == (None, 1, 100.0, 100.0)


def test_attempts_are_those_of_one_version() -> None:
    one, changes = planner(kind=ErrorClass.TRANSIENT), Changes(0)
    entity = Entity("a", version=1, waiting=Waiting(Wait.GAP, 1, 5.0, attempts=1))
    one.failed(entity, event(2), ValueError("no"), changes, 100.0)
    waiting = entity.waiting
    assert waiting is not None
    assert (waiting.why, waiting.version, waiting.since, waiting.attempts) == (Wait.RETRY, 2, 100.0, 1)
    assert changes.counts[0, Counter.RETRIES] == 1
