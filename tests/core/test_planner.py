"""Whatever the arrival order, the duplicates, the failures and the crashes: `World.run` checks after every commit that

    nothing took effect twice, nor out of the declared order; strict order has no gap
    nothing took effect past a version that was given up on
    every delivery is in effect, waits, is a dead letter, or was refused with an outcome
    received is the sum of the outcomes, in every tally
    what waits in memory is what waits in the store, and only what has to
    what is due has somebody who looks at it

and, once nothing fails and nothing is on its way any more, that everything not given up on took effect.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, event, given
from hypothesis import strategies as st

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Malformed, Record, Slice
from inorder.core.order import Order, Outcome
from inorder.core.rows import Counter, Reason
from inorder.core.waiting import Wait
from tests.core.case import ATTEMPTS, GAP_S, Arrival, Case, Deliver, Fault, Pass, cases
from tests.core.profiles import examples
from tests.core.world import HOME, World


@given(cases(Order.STRICT))
@examples(150)
def test_strict_order_is_kept_through_crashes_and_failures(case: Case) -> None:
    World(case).run()


@given(cases(Order.LATEST))
@examples(80)
def test_the_latest_version_wins_through_crashes_and_failures(case: Case) -> None:
    World(case).run()


@given(cases(Order.COMMUTATIVE))
@examples(80)
def test_commutative_effects_all_happen_once_through_crashes_and_failures(case: Case) -> None:
    World(case).run()


@given(cases(workers=2))
@examples(150)
def test_two_workers_that_think_the_key_is_theirs_do_no_harm(case: Case) -> None:
    world = World(case)
    world.run()
    event(f"a write was refused: {world.refused > 0}")


@given(cases(operated=True, workers=2))
@examples(150)
def test_replays_and_skips_beside_live_workers_lead_to_the_same_state(case: Case) -> None:
    world = World(case)
    world.run()
    world.resolve()
    event(f"letters replayed: {sum(world.operator.resolved.values())}")
    event(f"skipped: {len(world.skipped)}")


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Arrival], int]:
    """One strict history in any order without one of its versions, which is not the last."""
    last = draw(st.integers(2, 8))
    missing = draw(st.integers(1, last - 1))
    versions = draw(st.permutations([version for version in range(1, last + 1) if version != missing]))
    return [Arrival("a", version, f"a{version}") for version in versions], missing


@given(histories(), st.booleans())
@examples(50)
def test_a_gap_past_its_limit_parks_the_key_and_the_missing_version_starts_it_again(
    history: tuple[list[Arrival], int], lanes: bool
) -> None:
    early, missing = history
    log = [*early, Arrival("a", missing, f"a{missing}")]
    world = World(Case(Order.STRICT, log, [], lanes=lanes))
    world.take(Deliver(0, len(early)))
    world.take(Pass(0, 0.0))
    world.take(Pass(0, GAP_S - 0.1))
    assert world.store.waits["a"].why is Wait.GAP
    world.take(Pass(0, 0.1))
    parked = world.store.waits["a"]
    assert (parked.why, parked.version, parked.missing) == (Wait.PARKED, missing, True)
    assert [version for version, _ in world.store.ledger("a")] == list(range(1, missing))
    world.run()
    assert [version for version, _ in world.store.ledger("a")] == list(range(1, len(log) + 1))


@given(cases(Order.STRICT, faulty=False), st.integers(1, 2 * ATTEMPTS), st.data())
@examples(40)
def test_an_event_is_tried_as_often_as_declared_and_then_given_up_on(
    case: Case, failures: int, data: st.DataObject
) -> None:
    places = [(arrival.key, arrival.version) for arrival in case.log if arrival.version > case.baseline]
    assume(places)
    place = data.draw(st.sampled_from(places))
    faults = {place: (Fault.TRANSIENT, failures)}
    world = World(replace(case, steps=[], faults=faults))
    world.run(heal=False)
    letters = [letter for letter in world.store.letters if letter.reason is Reason.FAILED]
    assert world.store.counts[0, Counter.RETRIES] == min(failures, ATTEMPTS - 1)
    if failures < ATTEMPTS:
        assert letters == []
        return
    (letter,) = letters
    assert (letter.key, letter.version, letter.attempts) == (*place, ATTEMPTS)
    delays = [world.planner.retry.delay(attempt, place[0]) for attempt in range(1, ATTEMPTS)]
    assert letter.last_at - letter.first_at >= sum(delays) - 0.001


@given(cases(faulty=False), st.integers(1, 5), st.data())
@examples(40)
def test_an_outage_costs_no_attempt_and_nothing_is_given_up_on(case: Case, times: int, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from([(arrival.key, arrival.version) for arrival in case.log]))
    world = World(replace(case, faults={place: (Fault.OUTAGE, times)}))
    world.run()
    assert [letter for letter in world.store.letters if letter.reason is Reason.FAILED] == []
    assert world.store.counts[0, Counter.RETRIES] == 0


def test_what_cannot_be_read_is_kept_as_it_is_and_stops_no_key() -> None:
    world = World(Case(Order.STRICT, [Arrival("a", 1, "a1")], []))
    changes = Changes(0)
    record = Record(HOME, 7, b"a", b"no event", (("header", b"1"),), 5)
    world.planner.malformed(Malformed("value: no JSON", Slice.of(HOME, [record]), 0), changes, 1.0)
    (letter,) = changes.letters
    assert (letter.reason, letter.detail, letter.record) == (Reason.MALFORMED, "value: no JSON", record)
    assert changes.counts == {(0, Counter.RECEIVED): 1, (0, Outcome.DEAD_LETTERED): 1}
    assert (changes.waits, changes.entities) == ({}, {})


@given(st.floats(0, 2000, allow_nan=False))
@examples(50)
def test_an_entity_that_waits_for_nothing_is_not_woken(now: float) -> None:
    world = World(Case(Order.STRICT, [Arrival("a", 1, "a1")], []))
    changes = Changes(0)
    assert world.planner.wake(Entity("a"), changes, now) is False
    assert not changes
