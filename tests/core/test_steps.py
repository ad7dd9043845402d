"""One decision of the planner at a time, and all that follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from inorder.core.changes import Changes
from inorder.core.effect import Effect, NoRoom, Outage
from inorder.core.entity import Entity
from inorder.core.event import Event, Malformed, Partition, Record, Slice, fingerprint
from inorder.core.guard import Guard
from inorder.core.limits import Limits
from inorder.core.order import Order
from inorder.core.planner import Planner
from inorder.core.retry import ErrorClass, Retry
from inorder.core.room import Room
from inorder.core.rows import Counter, Reason
from inorder.core.waiting import AT_ONCE, NEVER, Wait, Waiting

HOME, THERE = Partition("topic", 0), Partition("topic", 1)
NOW, GAP_S = 1_000.0, 60.0


class Works(Effect):
    """An effect that notes what it did, and fails where it is told to."""

    def __init__(self, *fails: int) -> None:
        self.fails = fails
        self.done: list[int] = []
        self.undone = 0

    def apply(self, entity: Entity, event: Event) -> None:
        if event.version in self.fails:
            raise ValueError("no")
        self.done.append(event.version)

    def undo(self, entity: Entity) -> None:
        self.undone += 1


def event(version: int, name: str = "a", receiver: tuple[int, str] | None = None, home: Partition = HOME) -> Event:
    found = f"{name}{version}"
    return Event(
        "a", version, found, fingerprint(found), None, Slice.of(home, [Record(home, 0, b"a", b"")]), 0, receiver
    )


def back(version: int, name: str = "a") -> Event:
    return event(version, name, (9, "held"))


def entity(version: int = 0, held: tuple[int, ...] = (), waiting: Waiting | None = None) -> Entity:
    return Entity("a", version, waiting=waiting, held={one: event(one).fingerprint for one in held})


def gap(version: int, due_at: float = NOW + 9, **more: Any) -> Waiting:
    return Waiting(Wait.GAP, version, NOW - 5, due_at, **{"home": HOME, **more})


def planner(order: Order = Order.STRICT, kind: ErrorClass = ErrorClass.TRANSIENT, parks: bool = True) -> Planner:
    return Planner(Guard(order), Retry(attempts=3), Limits(gap_s=GAP_S), parks, lambda error: kind)


def counts(changes: Changes) -> dict[str, int]:
    return {str(name): n for (tally, name), n in changes.counts.items() if tally == 0}


@pytest.mark.parametrize("lanes", [False, True])
def test_an_early_event_is_held_and_its_key_waits_for_the_version_that_is_missing(lanes: bool) -> None:
    one, changes, works = entity(1), Changes(0), Works()
    if lanes:
        assert not planner().admit(one, event(4), changes, NOW)
        assert changes.distances == {2: 1}
    else:
        planner().decide({"a": one}, [event(4)], works, changes, NOW)
    assert one.waiting == Waiting(Wait.GAP, 2, NOW, NOW + GAP_S, home=HOME)
    assert (one.version, list(one.held), works.done) == (1, [4], [])
    assert (changes.waits, list(changes.held), changes.entities) == ({"a": one.waiting}, [("a", 4)], {"a": one})
    assert counts(changes) == {"received": 1, "held": 1, "early": 1}


def test_a_gap_that_fills_in_the_store_is_looked_at_at_once_by_whoever_filled_it() -> None:
    waiting = gap(2)
    one, changes = entity(1, (3, 5), waiting), Changes(0)
    planner().decide({"a": one}, [event(2, home=THERE)], Works(), changes, NOW)
    assert one.version == 2
    assert one.waiting == Waiting(Wait.GAP, 3, waiting.since, AT_ONCE, home=THERE)
    changes = Changes(0)
    planner().decide({"a": one}, [back(3)], Works(), changes, NOW + 1)
    assert one.waiting == Waiting(Wait.GAP, 4, NOW + 1, NOW + 1 + GAP_S, home=THERE), "the next gap has its full time"
    assert (list(one.held), changes.released) == ([5], {("a", 3)})
    changes = Changes(0)
    planner().decide({"a": one}, [event(4, home=HOME), back(5)], Works(), changes, NOW + 2)
    assert (one.version, one.held, changes.waits) == (5, {}, {"a": None})
    assert one.waiting is None


def test_another_early_event_leaves_the_time_of_a_gap_as_it_is() -> None:
    waiting = gap(2)
    one, changes = entity(1, (3,), waiting), Changes(0)
    planner().decide({"a": one}, [event(5)], Works(), changes, NOW)
    assert (one.waiting, changes.waits, sorted(one.held)) == (waiting, {}, [3, 5])


@pytest.mark.parametrize("early", [[4], [4, 4]], ids=["in the store", "in the batch"])
def test_two_deliveries_of_one_early_version_are_one_event_or_exclude_each_other(early: list[int]) -> None:
    in_store = len(early) == 1
    same, other = Changes(0), Changes(0)
    for changes, second in ((same, event(4)), (other, event(4, "b"))):
        one = entity(1, (4,) if in_store else (), gap(2) if in_store else None)
        planner().decide({"a": one}, [*([] if in_store else [event(4)]), second], Works(), changes, NOW)
        assert list(one.held) == [4]
    assert (same.letters, counts(same)["duplicate"]) == ([], 1)
    assert [(letter.reason, letter.event_id) for letter in other.letters] == [(Reason.CONFLICT, "b4")]
    assert other.letters[0].detail == "version 4 was claimed before by another event id than 'b4'"


def test_the_copy_of_the_last_version_goes_before_the_next_one_under_strict_order_alone() -> None:
    changes = Changes(0)
    assert not planner().admit(entity(2, (2,), gap(3)), event(3), changes, NOW)
    assert planner().admit(entity(2, (2, 3), gap(3)), back(3), changes, NOW), "it is what the store said is next"
    assert planner(Order.LATEST).admit(entity(2, (2,), gap(3)), event(3), changes, NOW)
    assert planner().admit(entity(2, (5,), gap(3)), event(3), changes, NOW)


def test_what_waits_already_is_not_held_twice() -> None:
    one, changes = entity(1, (4,), gap(2)), Changes(0)
    planner().hold(one, event(4), changes, NOW)
    assert (changes.held, counts(changes)) == ({}, {"received": 1, "duplicate": 1})


def test_what_is_over_and_waits_all_the_same_gives_up_its_place() -> None:
    one, changes = entity(4, (3, 6), gap(5)), Changes(0)
    one.recent.extend([event(3).fingerprint, event(4).fingerprint])
    assert not planner().admit(one, back(3), changes, NOW)
    assert (list(one.held), changes.released, one.waiting) == ([6], {("a", 3)}, gap(5))
    assert changes.counts == {(9, "held"): -1, (9, "duplicate"): 1}
    assert not planner().admit(one, back(6), changes, NOW), "it is early, and has its place"
    assert list(one.held) == [6]
    one, changes = entity(4, (3,), gap(5)), Changes(0)
    assert not planner().admit(one, back(3), changes, NOW)
    assert (one.waiting, changes.waits) == (None, {"a": None})
    parked = Waiting(Wait.PARKED, 5, NOW)
    one, changes = entity(4, (3,), parked), Changes(0)
    assert not planner().admit(one, back(3), changes, NOW)
    assert (one.held, one.waiting) == ({}, parked)
    one, changes = entity(4, (3,)), Changes(0)
    assert not planner().admit(one, back(3), changes, NOW)
    assert (one.held, changes.waits, changes.entities) == ({}, {}, {"a": one})


def test_while_a_key_is_stopped_what_comes_is_parked_or_held_behind_it() -> None:
    for why, outcome in ((Wait.PARKED, "parked"), (Wait.REPLAY, "parked"), (Wait.RETRY, "held")):
        stopped = Waiting(why, 2, NOW, NOW + 1, home=HOME)
        for version in (2, 3):
            one, changes = entity(1, (), stopped), Changes(0)
            assert not planner().admit(one, event(version), changes, NOW, {})
            assert (list(one.held), one.waiting, counts(changes)[outcome]) == ([version], stopped, 1)
        one, changes = entity(1, (2,), stopped), Changes(0)
        assert not planner().admit(one, back(2), changes, NOW)
        assert (list(one.held), changes.held, changes.counts) == ([2], {}, {})


def test_a_version_that_never_came_starts_its_parked_key_again() -> None:
    parked = Waiting(Wait.PARKED, 2, NOW, missing=True, home=HOME)
    one, changes = entity(1, (3,), parked), Changes(0)
    planner().decide({"a": one}, [event(2)], Works(), changes, NOW)
    assert one.version == 2
    assert one.waiting == Waiting(Wait.GAP, 3, NOW, AT_ONCE, home=HOME)


@pytest.mark.parametrize("lanes", [False, True])
def test_a_failure_that_may_pass_is_tried_again_with_its_place_in_the_store(lanes: bool) -> None:
    one, changes, works = entity(1), Changes(0), Works(2)
    if lanes:
        planner().failed(one, event(2), ValueError("no"), changes, NOW)
    else:
        planner().decide({"a": one}, [event(2), event(3)], works, changes, NOW)
        assert (works.done, works.undone) == ([], 1)
    due_at = NOW + Retry().delay(1, "a")
    assert one.waiting == Waiting(Wait.RETRY, 2, NOW, due_at, 1, "ValueError: no", home=HOME)
    assert (one.version, 2 in one.held, changes.letters) == (1, True, [])
    assert counts(changes)["retries"] == 1


def test_the_second_attempt_keeps_since_when_and_the_third_is_the_last() -> None:
    waiting = Waiting(Wait.GAP, 2, NOW - 50, NOW, 1, "ValueError: no", home=HOME)
    one, changes = entity(1, (2,), waiting), Changes(0)
    planner().failed(one, back(2), ValueError("no"), changes, NOW)
    assert one.waiting == Waiting(Wait.RETRY, 2, NOW - 50, NOW + Retry().delay(2, "a"), 2, "ValueError: no", home=HOME)
    assert (list(one.held), changes.held, changes.released) == ([2], {}, set())
    planner().failed(one, back(2), ValueError("no"), changes, NOW)
    assert one.waiting == Waiting(Wait.PARKED, 2, NOW, attempts=3, reason="ValueError: no", home=HOME)
    assert (one.held, changes.released) == ({}, {("a", 2)})
    [letter] = changes.letters
    assert (letter.reason, letter.attempts, letter.first_at, letter.tally) == (Reason.FAILED, 3, NOW - 50, 9)
    assert changes.counts[9, "dead_lettered"] == 1


def test_an_event_that_waited_for_others_fails_since_its_first_attempt() -> None:
    one = entity(1, (2,), gap(2))
    planner().failed(one, back(2), ValueError("no"), Changes(0), NOW)
    assert one.waiting is not None
    assert (one.waiting.attempts, one.waiting.since) == (1, NOW)


@pytest.mark.parametrize(
    ("order", "version", "ranges"),
    [(Order.STRICT, 3, []), (Order.LATEST, 3, []), (Order.COMMUTATIVE, 0, [(3, 3)]), (Order.UNGUARDED, 3, [])],
)
def test_what_took_effect_is_noted_as_the_order_has_it(order: Order, version: int, ranges: list[Any]) -> None:
    one, changes = entity(2 if order is Order.STRICT else 0), Changes(0)
    planner(order).applied(one, event(3), changes)
    assert (one.version, list(one.ranges.pairs()), len(one.applied)) == (version, ranges, 1)
    assert (list(one.recent), changes.entities) == ([event(3).fingerprint], {"a": one})
    assert counts(changes) == {"received": 1, "applied": 1}


def test_what_came_back_and_took_effect_gives_up_its_place() -> None:
    one, changes = entity(1, (2,)), Changes(0)
    planner().applied(one, back(2), changes)
    assert (one.version, changes.released) == (2, {("a", 2)})
    assert changes.counts == {(9, "held"): -1, (9, "applied"): 1, (0, "released"): 1}


@pytest.mark.parametrize("order", [Order.STRICT, Order.LATEST, Order.COMMUTATIVE])
def test_what_comes_after_it_was_skipped_is_a_letter(order: Order) -> None:
    rules, one, changes = planner(order), entity(), Changes(0)
    rules.guard.skip(one, 1)
    assert not rules.admit(one, event(1), changes, NOW)
    [letter] = changes.letters
    assert (letter.reason, letter.detail) == (Reason.LATE, "version 1 came after an operator skipped it")
    assert (letter.key, letter.version, letter.event_id, letter.first_at) == ("a", 1, "a1", NOW)
    assert letter.attempts == 0, "no handler was tried"
    assert counts(changes) == {"received": 1, "late": 1}


def test_what_cannot_be_read_is_counted_as_a_dead_letter() -> None:
    changes = Changes(0)
    planner().malformed(Malformed("no JSON", event(1).slice, 0), changes, NOW)
    assert counts(changes) == {"received": 1, "dead_lettered": 1}
    assert [letter.attempts for letter in changes.letters] == [0]


def test_without_parking_a_key_goes_on_past_its_letter_with_what_waits() -> None:
    for held, waits in (((2, 4), Waiting(Wait.GAP, 2, NOW, AT_ONCE, home=HOME)), ((2,), None)):
        one, changes = entity(1, held, gap(2)), Changes(0)
        planner(Order.LATEST, ErrorClass.POISON, parks=False).failed(one, back(2), ValueError("no"), changes, NOW)
        assert (one.waiting, changes.waits["a"], len(changes.letters)) == (waits, waits, 1)
    one, changes = entity(1), Changes(0)
    planner(Order.LATEST, ErrorClass.POISON, parks=False).failed(one, event(2), ValueError("no"), changes, NOW)
    assert (one.waiting, counts(changes)) == (None, {"received": 1, "dead_lettered": 1})


def test_an_outage_is_nobodys_failure() -> None:
    one, changes = entity(1), Changes(0)
    with pytest.raises(Outage, match=r"^no$"):
        planner(kind=ErrorClass.INFRASTRUCTURE).failed(one, event(2), ValueError("no"), changes, NOW)
    assert (one.waiting, bool(changes)) == (None, False)


@pytest.mark.parametrize("kind", [ErrorClass.TRANSIENT, ErrorClass.POISON])
def test_a_delivery_without_room_stays_with_the_broker(kind: ErrorClass) -> None:
    rules, one, changes = planner(kind=kind), entity(1), Changes(0)
    rules.room = Room(Limits(letters=1, held=1))
    rules.room.read(1, 1, set())
    with pytest.raises(NoRoom):
        rules.failed(one, event(2), ValueError("no"), changes, NOW)
    with pytest.raises(NoRoom):
        rules.hold(one, event(3), changes, NOW)
    one.recent.append(event(1).fingerprint)
    with pytest.raises(NoRoom):
        rules.admit(one, event(1, "b"), changes, NOW)
    assert (one.waiting, one.held, bool(changes)) == (None, {}, False)


def test_what_waits_already_has_its_room() -> None:
    rules, one, changes = planner(), entity(1, (2,), gap(2)), Changes(0)
    rules.room = Room(Limits(held=1))
    rules.room.read(0, 1, set())
    rules.failed(one, back(2), ValueError("no"), changes, NOW)
    assert one.waiting is not None
    assert one.waiting.why is Wait.RETRY


@pytest.mark.parametrize(
    ("waiting", "held", "wakes", "then"),
    [
        (None, (), False, None),
        (gap(2, NOW + 1), (3,), False, gap(2, NOW + 1)),
        (gap(2, NOW), (2,), True, gap(2, AT_ONCE)),
        (gap(2, NOW), (1,), True, gap(2, AT_ONCE)),
        (
            gap(2, NOW),
            (3,),
            False,
            Waiting(Wait.PARKED, 2, NOW, reason="version 2 did not come within 60 s", missing=True, home=HOME),
        ),
        (Waiting(Wait.RETRY, 2, 1.0, NOW, 1), (2,), True, Waiting(Wait.GAP, 2, 1.0, NOW, 1)),
        (Waiting(Wait.PARKED, 2, 1.0, NOW), (3,), False, Waiting(Wait.PARKED, 2, 1.0, NOW)),
        (Waiting(Wait.REPLAY, 2, 1.0, NOW, home=HOME), (), False, None),
        (Waiting(Wait.REPLAY, 2, 1.0, NOW), (2,), True, Waiting(Wait.GAP, 2, 1.0, AT_ONCE)),
        (
            Waiting(Wait.REPLAY, 9, 1.0, NOW, home=HOME),
            (3,),
            False,
            Waiting(Wait.GAP, 2, NOW, NOW + GAP_S, home=HOME),
        ),
    ],
    ids=[
        "flows",
        "early",
        "next",
        "its duplicate",
        "gap",
        "retry",
        "parked",
        "replay, nothing",
        "replay",
        "replay, gap",
    ],
)
def test_a_key_wakes_when_its_time_has_come(
    waiting: Waiting | None, held: tuple[int, ...], wakes: bool, then: Waiting | None
) -> None:
    one, changes = entity(1, held, waiting), Changes(0)
    assert planner().wake(one, changes, NOW) is wakes
    assert one.waiting == then
    if then != waiting and then is not None and then.why is not Wait.GAP:
        assert changes.waits == {"a": then}


def test_a_gap_that_was_left_with_the_time_of_a_claim_has_its_own_whole_time_again() -> None:
    """The last version waits as its own duplicate, another one waits for the next: whoever claimed the key has died."""
    one, rules = entity(1, (1, 3), gap(2, NOW)), planner()
    one.recent.append(event(1).fingerprint)
    assert rules.wake(one, Changes(0), NOW)
    changes = Changes(0)
    for held in (back(1), back(3)):
        assert not rules.admit(one, held, changes, NOW)
    rules.look_ahead(one, changes, NOW, back(3))
    assert (set(one.held), one.waiting) == ({3}, Waiting(Wait.GAP, 2, NOW, NOW + GAP_S, home=HOME))


@pytest.mark.parametrize("held", [(5,), ()], ids=["with what waits", "with nothing"])
def test_under_another_order_a_gap_is_none(held: tuple[int, ...]) -> None:
    one = entity(1, held, gap(2, NOW))
    assert planner(Order.LATEST).wake(one, Changes(0), NOW)
    assert one.waiting == gap(2, AT_ONCE)


def test_under_another_order_what_waits_can_always_go_on() -> None:
    one = entity(1, (5,), Waiting(Wait.PARKED, 2, 1.0, home=HOME))
    planner(Order.LATEST).resume(one, Changes(0), NOW)
    assert one.waiting == Waiting(Wait.GAP, 2, 1.0, AT_ONCE, home=HOME)
    one = entity(1, (), gap(2))
    planner(Order.LATEST).look_ahead(one, Changes(0), NOW)
    assert one.waiting == gap(2), "there is nothing to go on with"


def test_a_key_that_starts_again_forgets_that_its_version_was_missing() -> None:
    one, changes = entity(1, (2,), Waiting(Wait.PARKED, 2, 1.0, NEVER, 2, "why", missing=True)), Changes(0)
    planner().resume(one, changes, NOW)
    assert one.waiting == Waiting(Wait.GAP, 2, 1.0, AT_ONCE, 2, "why")
    for flows in (entity(1), entity(1, (2,)), entity(1, (), gap(2))):
        changes = Changes(0)
        planner().resume(flows, changes, NOW)
        assert (flows.waiting, changes.waits) == (None, {"a": None})


@pytest.mark.parametrize(
    ("version", "waiting", "held", "then"),
    [
        (1, None, (), None),
        (1, Waiting(Wait.RETRY, 2, 1.0, 5.0), (2,), Waiting(Wait.RETRY, 2, 1.0, 5.0)),
        (1, gap(2), (3,), gap(2)),
        (2, gap(2), (5,), Waiting(Wait.GAP, 3, NOW, NOW + GAP_S, home=HOME)),
        (1, gap(2, attempts=1), (3,), Waiting(Wait.GAP, 2, NOW, NOW + GAP_S, home=HOME)),
        (1, gap(2, AT_ONCE), (3,), Waiting(Wait.GAP, 2, NOW, NOW + GAP_S, home=HOME)),
        (1, gap(2), (2,), Waiting(Wait.GAP, 2, NOW - 5, AT_ONCE, home=THERE)),
        (1, gap(2), (1, 4), Waiting(Wait.GAP, 2, NOW - 5, AT_ONCE, home=THERE)),
    ],
    ids=[
        "flows",
        "stopped",
        "same gap",
        "next gap",
        "after a retry",
        "was due",
        "next is there",
        "a duplicate is there",
    ],
)
def test_after_a_decision_a_key_waits_for_what_is_missing_now(
    version: int, waiting: Waiting | None, held: tuple[int, ...], then: Waiting | None
) -> None:
    one, changes = entity(version, held, waiting), Changes(0)
    planner().look_ahead(one, changes, NOW, event(9, home=THERE))
    assert one.waiting == then
    assert changes.waits == ({} if then == waiting else {"a": then})


def test_the_home_of_a_key_moves_with_what_is_received_alone() -> None:
    for after in (None, event(9, receiver=(1, "held"), home=THERE)):
        one = entity(1, (2,), gap(2))
        planner().look_ahead(one, Changes(0), NOW, after)
        assert one.waiting is not None
        assert one.waiting.home == HOME


def test_a_batch_is_decided_in_order_whatever_it_came_in() -> None:
    one, other, changes, works = entity(1), Entity("b"), Changes(0), Works()
    foreign = event(1)
    foreign.key = "b"
    batch = [event(4), event(2), foreign, event(3), event(2), event(6)]
    planner().decide({"a": one, "b": other}, batch, works, changes, NOW)
    assert works.done == [1, 2, 3, 4]
    assert (one.version, list(one.held), other.version) == (4, [6], 1)
    assert counts(changes) == {"received": 6, "applied": 4, "duplicate": 1, "held": 1, "early": 1}
    assert changes.entities == {"a": one, "b": other}
    assert [len(each.applied) for each in (one, other)] == [3, 1]
    assert list(one.recent) == [event(version).fingerprint for version in (2, 3, 4)]


def test_after_a_failure_the_rest_of_a_key_waits_behind_it_and_others_go_on() -> None:
    one, other, changes, works = entity(1), Entity("b"), Changes(0), Works(2)
    foreign = event(1)
    foreign.key = "b"
    planner(kind=ErrorClass.POISON).decide(
        {"a": one, "b": other}, [event(2), event(3), foreign, event(4)], works, changes, NOW
    )
    assert (works.done, works.undone) == ([1], 1)
    assert (one.version, sorted(one.held), other.version) == (1, [3, 4], 1)
    assert one.waiting is not None
    assert one.waiting.why is Wait.PARKED
    assert counts(changes) == {"received": 4, "applied": 1, "dead_lettered": 1, "parked": 2, "early": 2}


def test_under_another_order_each_event_is_decided_as_it_comes() -> None:
    one, changes, works = entity(1), Changes(0), Works(4)
    planner(Order.LATEST, ErrorClass.POISON, parks=False).decide(
        {"a": one}, [event(3), event(2), event(4), event(5)], works, changes, NOW
    )
    assert (works.done, works.undone, one.version) == ([3, 5], 1, 5)
    assert counts(changes) == {"received": 4, "applied": 2, "stale": 1, "dead_lettered": 1}


def test_everybody_who_asked_is_told_of_each_outcome() -> None:
    told: list[tuple[int, str]] = []
    changes = Changes(0, lambda event, outcome: told.append((event.version, str(outcome))))
    planner().decide({"a": entity(1)}, [event(2), event(2), event(4)], Works(), changes, NOW)
    assert told == [(2, "applied"), (2, "duplicate"), (4, "held")]
    assert Counter.RETRIES not in counts(changes)
