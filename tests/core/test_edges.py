"""What properties over whole courses do not see: the exact edge of a limit, a default, an answer to nobody."""

from __future__ import annotations

import pytest

from inorder.core.changes import Changes
from inorder.core.effect import Effect, NoRoom
from inorder.core.engine import Engine, Pause
from inorder.core.entity import Entity
from inorder.core.event import Event, Malformed, Partition, Record, Slice, fingerprint
from inorder.core.frontier import Frontier
from inorder.core.guard import Decision, Guard
from inorder.core.lanes import Lanes
from inorder.core.limits import Limits
from inorder.core.order import Order
from inorder.core.planner import Planner
from inorder.core.ranges import Ranges
from inorder.core.retry import ErrorClass, Retry
from inorder.core.room import Room
from inorder.core.waiting import AT_ONCE, Wait, Waiting

HOME = Partition("topic", 0)


def piece(events: int = 1, offset: int = 0) -> Slice:
    return Slice.of(HOME, [Record(HOME, offset + at, b"a", b"") for at in range(events)])


def event(version: int) -> Event:
    return Event("a", version, f"a{version}", fingerprint(f"a{version}"), None, piece(), 0)


@pytest.mark.parametrize(
    ("events", "size", "full"),
    [(9, 0, False), (10, 0, True), (11, 0, True), (1, 99, False), (1, 100, True), (1, 101, True)],
)
def test_an_engine_is_full_when_either_limit_is_reached(events: int, size: int, full: bool) -> None:
    engine = Engine(Limits(in_flight_events=10, in_flight_bytes=100))
    engine.assigned({HOME: 1})
    unit = engine.received(piece(events), size)
    assert unit is not None
    assert engine.full is full
    assert engine.room() == ([Pause((HOME,))] if full else [])
    engine.settled(unit)
    assert not engine.full


def test_a_frontier_at_which_nothing_was_received_stays_where_it_is() -> None:
    frontier = Frontier()
    assert frontier.settled(5) is False
    assert frontier.position is None


def test_without_a_baseline_the_first_version_is_the_first_event() -> None:
    guard = Guard(Order.STRICT)
    entity = Entity("a")
    assert guard.decide(entity, event(1)) is Decision.APPLY
    guard.advance(entity, 1, event(1).fingerprint)
    assert guard.decide(entity, event(1)) is Decision.DUPLICATE, "and not older than a baseline"


@pytest.mark.parametrize("order", [Order.STRICT, Order.LATEST, Order.COMMUTATIVE])
def test_a_version_that_comes_after_it_was_skipped_is_late(order: Order) -> None:
    guard, entity = Guard(order), Entity("a")
    guard.skip(entity, 1)
    assert guard.decide(entity, event(1)) is Decision.LATE


@pytest.mark.parametrize("order", [Order.STRICT, Order.LATEST, Order.COMMUTATIVE])
def test_the_baseline_is_the_last_version_that_is_too_old(order: Order) -> None:
    guard = Guard(order, baseline=2)
    assert guard.decide(Entity("a", 2), event(2)) is Decision.STALE
    assert guard.decide(Entity("a", 2), event(3)) is Decision.APPLY


def test_an_event_is_there_to_be_tried_where_a_key_is_retried_replayed_or_goes_on_at_once() -> None:
    assert AT_ONCE == 0.0, "as it is in every store"
    for why in Wait:
        assert Waiting(why, 1, 0.0, AT_ONCE).urgent
        assert Waiting(why, 1, 0.0, 1.0).urgent is (why in {Wait.RETRY, Wait.REPLAY})
        assert Waiting(why, 1, 0.0).open is (why is Wait.GAP)
        assert Waiting(why, 1, 0.0, missing=True).open


def test_an_entity_is_due_from_its_time_on() -> None:
    entity = Entity("a", 3)
    assert entity.stored_version == 3
    assert not entity.due(5.0)
    entity.waiting = Waiting(Wait.RETRY, 4, 0.0, due_at=5.0)
    assert [entity.due(now) for now in (4.9, 5.0, 5.1)] == [False, True, True]


def test_a_lane_says_whether_it_is_busy() -> None:
    lanes = Lanes()
    lanes.add(event(1))
    assert not lanes.busy("a")
    lanes.start()
    assert lanes.busy("a")
    assert not lanes.busy("b")
    lanes.finish("a")
    assert not lanes.busy("a")


def test_ranges_are_equal_to_ranges_of_the_same_numbers_alone() -> None:
    assert Ranges([(1, 2)]) == Ranges([(1, 2)])
    assert Ranges([(1, 2)]) != Ranges([(1, 3)])
    assert Ranges() != []


def test_an_event_is_tried_four_times_within_ten_seconds_unless_declared_otherwise() -> None:
    retry = Retry()
    assert (retry.attempts, retry.delay_s, retry.factor, retry.max_delay_s) == (4, 0.1, 4.0, 30.0)
    assert sum(retry.delay(attempt, "a") for attempt in (1, 2, 3)) < 10


def strict() -> Planner:
    return Planner(Guard(Order.STRICT), Retry(), Limits(), True, lambda error: ErrorClass.TRANSIENT)


class Nothing(Effect):
    """No effect."""

    def apply(self, entity: Entity, event: Event) -> None:
        pass

    def undo(self, entity: Entity) -> None:
        pass


def test_what_comes_early_in_a_batch_that_has_what_it_waits_for_is_never_held() -> None:
    changes, entity = Changes(0), Entity("a")
    strict().decide({"a": entity}, [event(3), event(2), event(1)], Nothing(), changes, 0.0)
    assert (entity.version, entity.held, changes.held, entity.waiting) == (3, {}, {}, None)


@pytest.mark.parametrize(
    ("order", "waits", "version", "follows"),
    [
        (Order.STRICT, False, 2, True),
        (Order.STRICT, False, 3, False),
        (Order.STRICT, True, 2, False),
        (Order.LATEST, False, 3, True),
        (Order.LATEST, True, 3, False),
        (Order.COMMUTATIVE, False, 3, True),
    ],
)
def test_an_event_follows_another_one_into_the_same_call(
    order: Order, waits: bool, version: int, follows: bool
) -> None:
    planner = Planner(Guard(order), Retry(), Limits(), True, lambda error: ErrorClass.TRANSIENT)
    entity = Entity("a", waiting=Waiting(Wait.GAP, 1, 0.0) if waits else None)
    assert planner.follows(entity, 1, event(version)) is follows


def test_only_what_is_newer_and_let_through_follows() -> None:
    planner = Planner(Guard(Order.COMMUTATIVE), Retry(), Limits(), True, lambda error: ErrorClass.TRANSIENT)
    entity = Entity("a", ranges=Ranges([(6, 6)]))
    assert [planner.follows(entity, 5, event(version)) for version in (4, 5, 6, 7)] == [False, False, False, True]


def test_what_cannot_be_read_needs_room_for_its_letter() -> None:
    planner, found = strict(), Malformed("no JSON", piece(), 0)
    planner.room = Room(Limits(letters=1))
    planner.malformed(found, Changes(0), 0.0)
    planner.room.read(1, 0, set())
    with pytest.raises(NoRoom):
        planner.malformed(found, Changes(0), 0.0)
