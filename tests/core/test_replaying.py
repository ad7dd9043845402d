"""The rules of replay, decision by decision: claims, who is kept away, and when a key starts again."""

from __future__ import annotations

import pytest

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Record, Slice, fingerprint
from inorder.core.guard import Guard
from inorder.core.limits import Limits
from inorder.core.order import Order, Outcome
from inorder.core.planner import Planner
from inorder.core.ranges import Ranges
from inorder.core.replaying import Replaying, Verdict
from inorder.core.retry import ErrorClass, Retry
from inorder.core.waiting import AT_ONCE, NEVER, Wait, Waiting

NOW, LEASE_S = 1_000.0, 30.0
HOME = Partition("topic", 0)


def rules(order: Order = Order.STRICT) -> Replaying:
    planner = Planner(Guard(order), Retry(), Limits(), True, lambda error: ErrorClass.TRANSIENT)
    return Replaying(planner, LEASE_S)


def event(version: int) -> Event:
    piece = Slice.of(HOME, [Record(HOME, version, b"a", b"")])
    return Event("a", version, f"a{version}", fingerprint(f"a{version}"), None, piece, 0)


def parked(version: int, last: int = 0, held: tuple[int, ...] = (), **more: object) -> Entity:
    waiting = Waiting(Wait.PARKED, version, NOW - 5, **more)  # type: ignore[arg-type]
    return Entity("a", last, waiting=waiting, held={one: event(one).fingerprint for one in held})


def test_a_key_that_flows_is_claimed_for_a_replay() -> None:
    entity = Entity("a", 1)
    until = rules().claim(entity, 2, Changes(0), NOW)
    assert entity.waiting == Waiting(Wait.REPLAY, 2, NOW, due_at=until)
    assert until == NOW + LEASE_S


def test_a_parked_key_stays_parked_while_it_is_claimed() -> None:
    entity = parked(2, last=1)
    until = rules().claim(entity, 2, Changes(0), NOW)
    assert entity.waiting is not None
    assert (entity.waiting.why, entity.waiting.due_at) == (Wait.PARKED, until)


def test_a_key_that_waits_for_a_missing_version_is_closed_while_it_is_claimed() -> None:
    entity = parked(2, last=1, held=(3,), missing=True)
    rules().claim(entity, 2, Changes(0), NOW)
    assert entity.waiting is not None
    assert (entity.waiting.why, entity.waiting.missing) == (Wait.REPLAY, False)


def test_no_two_claims_of_a_key_end_at_the_same_time() -> None:
    entity = parked(2, last=1)
    first = rules().claim(entity, 2, Changes(0), NOW)
    second = rules().claim(entity, 2, Changes(0), NOW)
    assert first < second < first + 0.1, "and the second one lasts no longer for it"


@pytest.mark.parametrize(("due_at", "claim", "may"), [(5.0, 5.0, True), (5.0, 4.0, False), (5.0, None, False)])
def test_what_waits_is_drained_by_whoever_holds_the_claim(due_at: float, claim: float | None, may: bool) -> None:
    entity = Entity("a", 1, waiting=Waiting(Wait.REPLAY, 1, 0.0, due_at), held={2: 7})
    assert rules().open(entity, 0.0, claim) is may


@pytest.mark.parametrize(("now", "may"), [(4.9, False), (5.0, True), (5.1, True)])
def test_what_waits_is_drained_by_anybody_once_a_claim_is_over(now: float, may: bool) -> None:
    entity = Entity("a", 1, waiting=Waiting(Wait.REPLAY, 1, 0.0, 5.0), held={2: 7})
    assert rules().open(entity, now, None) is may


def test_nothing_is_drained_of_a_key_of_which_nothing_waits() -> None:
    assert rules().open(Entity("a", 1), NOW, None) is False
    assert rules().open(Entity("a", 1, waiting=Waiting(Wait.REPLAY, 1, 0.0, 5.0)), NOW, None) is False


@pytest.mark.parametrize("order", [Order.LATEST, Order.COMMUTATIVE])
def test_a_key_stays_parked_for_another_letter_than_the_one_that_took_effect(order: Order) -> None:
    entity = parked(3, held=(5,), due_at=NOW + 5)
    assert rules(order).applied(entity, event(1), Changes(0), NOW) is None
    assert entity.waiting is not None
    assert (entity.waiting.why, entity.waiting.version, entity.waiting.due_at) == (Wait.PARKED, 3, NEVER)


@pytest.mark.parametrize("order", [Order.LATEST, Order.COMMUTATIVE])
def test_a_key_that_was_parked_for_this_letter_is_kept_for_the_replay(order: Order) -> None:
    entity = parked(3, held=(5,))
    until = rules(order).applied(entity, event(3), Changes(0), NOW)
    assert entity.waiting == Waiting(Wait.REPLAY, 3, NOW, until or 0.0)


@pytest.mark.parametrize("order", list(Order))
def test_a_key_of_which_nothing_waits_flows_after_its_letter(order: Order) -> None:
    entity = parked(1)
    assert rules(order).applied(entity, event(1), Changes(0), NOW) is None
    assert entity.waiting is None


@pytest.mark.parametrize(
    ("order", "waiting", "last", "version"),
    [
        (Order.COMMUTATIVE, Waiting(Wait.PARKED, 2, NOW), 2, 4),
        (Order.COMMUTATIVE, Waiting(Wait.PARKED, 6, NOW), 0, 4),
        (Order.LATEST, Waiting(Wait.PARKED, 2, NOW), 0, 5),
        (Order.LATEST, Waiting(Wait.PARKED, 9, NOW, missing=True), 0, 5),
        (Order.LATEST, Waiting(Wait.REPLAY, 9, NOW), 0, 5),
    ],
    ids=["in effect", "in effect beyond a gap", "superfluous", "missing", "not parked"],
)
def test_a_key_is_kept_for_no_letter_that_is_over(order: Order, waiting: Waiting, last: int, version: int) -> None:
    entity = Entity("a", last, ranges=Ranges([(6, 6)]), waiting=waiting)
    assert rules(order).applied(entity, event(version), Changes(0), NOW) is None
    assert entity.waiting is None


@pytest.mark.parametrize("order", list(Order))
def test_what_took_effect_or_was_skipped_is_written_of_a_key_that_flows(order: Order) -> None:
    for act in ("applied", "skipped"):
        entity, changes = Entity("a"), Changes(0)
        if act == "applied":
            assert rules(order).applied(entity, event(1), changes, NOW) is None
            assert [one.version for one in entity.applied] == [1]
        else:
            rules(order).skipped(entity, 1, changes, NOW)
        assert (changes.entities, changes.waits, entity.waiting) == ({"a": entity}, {}, None)


def test_a_key_that_waits_openly_is_open_to_letters_too() -> None:
    entity = Entity("a", 1, waiting=Waiting(Wait.GAP, 2, NOW, NOW + 5), held={3: 7})
    assert rules().judge(entity, event(2), NOW) is Verdict.APPLY


def test_a_key_with_something_that_waits_and_nothing_to_wait_for_is_left_alone() -> None:
    entity, changes = Entity("a", 1, held={2: 7}), Changes(0)
    assert rules().open(entity, NOW, None) is False
    assert rules().close(entity, changes, NOW) is None
    rules().release(entity, changes, NOW)
    rules().unclaim(entity, changes, NOW)
    assert not changes


@pytest.mark.parametrize(
    ("waiting", "until"),
    [
        (Waiting(Wait.GAP, 2, 1.0, NOW + 5), None),
        (Waiting(Wait.PARKED, 2, 1.0), None),
        (Waiting(Wait.GAP, 2, 1.0, AT_ONCE), NOW + LEASE_S),
        (Waiting(Wait.RETRY, 2, 1.0, NOW + 5), NOW + 5 + LEASE_S),
    ],
    ids=["gap", "parked", "more", "retry"],
)
def test_a_key_of_which_more_waits_stays_closed_until_all_of_it_is_through(
    waiting: Waiting, until: float | None
) -> None:
    entity, changes = Entity("a", 1, waiting=waiting, held={3: 7}), Changes(0)
    found = rules().close(entity, changes, NOW)
    if until is None:
        assert (found, entity.waiting, bool(changes)) == (None, waiting, False)
    else:
        assert found == (until, waiting.due_at)
        assert entity.waiting == Waiting(Wait.REPLAY, 2, 1.0, until)
        assert (changes.waits, changes.entities) == ({"a": entity.waiting}, {"a": entity})


def test_under_strict_order_a_key_waits_for_what_is_missing_after_its_letter() -> None:
    entity = parked(1, held=(3,))
    assert rules().applied(entity, event(1), Changes(0), NOW) is None
    assert entity.waiting is not None
    assert (entity.waiting.why, entity.waiting.version) == (Wait.GAP, 2)


@pytest.mark.parametrize(
    ("waiting", "claim", "verdict"),
    [
        (None, None, Verdict.APPLY),
        (Waiting(Wait.GAP, 1, NOW), None, Verdict.APPLY),
        (Waiting(Wait.RETRY, 1, NOW, NOW + 1), None, Verdict.BUSY),
        (Waiting(Wait.PARKED, 1, NOW), None, Verdict.APPLY),
        (Waiting(Wait.PARKED, 1, NOW, NOW + 1), None, Verdict.BUSY),
        (Waiting(Wait.PARKED, 1, NOW, NOW + 1), NOW + 1, Verdict.APPLY),
        (Waiting(Wait.PARKED, 1, NOW, NOW - 1), None, Verdict.APPLY),
        (Waiting(Wait.PARKED, 1, NOW, NOW), None, Verdict.APPLY),
    ],
)
def test_a_letter_waits_while_somebody_else_is_at_work_on_its_key(
    waiting: Waiting | None, claim: float | None, verdict: Verdict
) -> None:
    assert rules().judge(Entity("a", waiting=waiting), event(1), NOW, claim) is verdict


def test_the_guard_has_the_first_word() -> None:
    entity = Entity("a", 1, waiting=Waiting(Wait.RETRY, 2, NOW, NOW + 1))
    entity.recent.append(event(1).fingerprint)
    assert rules().judge(entity, event(1), NOW) is Verdict.DUPLICATE
    assert rules().judge(entity, event(3), NOW) is Verdict.GAP


def test_only_a_gap_that_can_go_on_is_open_without_a_claim() -> None:
    for why, due_at, may in ((Wait.GAP, AT_ONCE, True), (Wait.GAP, 5.0, False), (Wait.RETRY, AT_ONCE, False)):
        assert rules().open(Entity("a", 1, waiting=Waiting(why, 2, 0.0, due_at), held={2: 7}), NOW, None) is may


@pytest.mark.parametrize(
    ("verdict", "becomes"),
    [(Verdict.APPLY, "replayed"), (Verdict.DUPLICATE, "duplicate"), (Verdict.STALE, "stale")],
)
def test_the_delivery_of_a_letter_is_counted_as_what_became_of_it(verdict: Verdict, becomes: str) -> None:
    changes = Changes(1)
    rules().count(7, Outcome.DEAD_LETTERED, verdict, changes)
    assert changes.counts == {(7, "dead_lettered"): -1, (7, becomes): 1}


def test_a_letter_that_stays_one_is_counted_as_before() -> None:
    changes = Changes(1)
    rules().count(7, Outcome.DEAD_LETTERED, Verdict.BUSY, changes)
    assert not changes.counts


def test_a_key_that_was_left_by_its_replay_goes_on_with_what_waits() -> None:
    entity = Entity("a", 1, waiting=Waiting(Wait.REPLAY, 1, 0.0, 5.0), held={2: 7})
    changes = Changes(0)
    rules().release(entity, changes, NOW)
    assert entity.waiting is not None
    assert (entity.waiting.why, entity.waiting.due_at) == (Wait.GAP, AT_ONCE)
    assert changes.waits == {"a": entity.waiting}
    parked_still = parked(2, last=1)
    rules().release(parked_still, Changes(0), NOW)
    assert parked_still.waiting is not None
    assert parked_still.waiting.why is Wait.PARKED


def test_a_claim_that_came_to_nothing_leaves_the_key_as_it_was() -> None:
    entity = parked(2, last=1, held=(3,))
    rules().claim(entity, 2, Changes(0), NOW)
    rules().unclaim(entity, Changes(0), NOW)
    assert entity.waiting is not None
    assert (entity.waiting.why, entity.waiting.due_at) == (Wait.PARKED, NEVER)
    flowing = Entity("a", 1)
    rules().claim(flowing, 2, Changes(0), NOW)
    rules().unclaim(flowing, Changes(0), NOW)
    assert flowing.waiting is None


@pytest.mark.parametrize("why", [Wait.GAP, Wait.RETRY])
def test_a_key_that_waits_for_something_else_is_closed_while_it_is_claimed(why: Wait) -> None:
    entity = Entity("a", 1, waiting=Waiting(why, 2, NOW, NOW + 1), held={3: 7})
    rules().claim(entity, 2, Changes(0), NOW)
    assert entity.waiting is not None
    assert entity.waiting.why is Wait.REPLAY
