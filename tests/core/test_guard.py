"""The guard's table, row by row, against a memory that forgets nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Record, Slice, fingerprint
from inorder.core.guard import REMEMBERED_IDS, Decision, Guard
from inorder.core.order import Order
from tests.core.profiles import examples

PIECE = Slice.of(Partition("topic", 0), [Record(Partition("topic", 0), 0, None, None)])
GUARDED = [Order.STRICT, Order.LATEST, Order.COMMUTATIVE]


def arrival(version: int, name: str) -> Event:
    """An event of version `version`. Another `name` at the same version is a conflict."""
    event_id = f"{version} {name}"
    return Event("key", version, event_id, fingerprint(event_id), None, PIECE, 0)


@dataclass
class History:
    """An entity as the guard knows it, beside all that ever happened to it."""

    guard: Guard
    entity: Entity = field(init=False)
    applied: dict[int, str] = field(default_factory=dict)
    """Version to event id, in the order of the effects."""
    skipped: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.entity = Entity("key", self.guard.baseline)

    def arrive(self, event: Event) -> Decision:
        """The guard's decision, carried out."""
        decision = self.guard.decide(self.entity, event)
        if decision is Decision.APPLY:
            self.guard.advance(self.entity, event.version, event.fingerprint)
            self.applied[event.version] = event.id
        return decision

    def skip(self, version: int) -> None:
        """An operator skips a version, if the guard would apply it now."""
        if self.guard.decide(self.entity, arrival(version, "skipped")) is Decision.APPLY:
            self.guard.skip(self.entity, version)
            self.skipped.add(version)

    def write(self) -> None:
        """The entity is written: older event ids are forgotten."""
        recent = self.entity.recent
        del recent[: max(0, len(recent) - self.guard.remembered)]

    def expected(self, event: Event) -> set[Decision]:
        """The row of the table, or the rows, where what is remembered depends on when the entity was written."""
        version, order = event.version, self.guard.order
        done = set(self.applied) | self.skipped
        last = max(self.applied if order is Order.LATEST else done, default=self.guard.baseline)
        if version <= self.guard.baseline:
            return {Decision.STALE}
        if order is Order.STRICT and version > last:
            return {Decision.APPLY if version == last + 1 else Decision.HOLD}
        if version not in done and (order is Order.COMMUTATIVE or version > last):
            return {Decision.APPLY}
        if order is Order.LATEST:
            return self._expected_of_latest(event, last)
        if version in self.skipped:
            exactly = Decision.LATE
        else:
            exactly = Decision.DUPLICATE if self.applied[version] == event.id else Decision.CONFLICT
        if order is Order.STRICT and exactly is Decision.LATE:
            return {exactly}
        remembered = sum(other > version for other in done) < self.guard.remembered
        return {exactly} if remembered else {exactly, Decision.DUPLICATE}

    def _expected_of_latest(self, event: Event, last: int) -> set[Decision]:
        if event.version > last:
            return {Decision.LATE}
        weaker = Decision.STALE if event.version < last else Decision.DUPLICATE
        if self.applied.get(event.version) == event.id:
            later = sum(version > event.version for version in self.applied)
            return {Decision.DUPLICATE} if later < self.guard.remembered else {Decision.DUPLICATE, weaker}
        if event.version < last:
            return {Decision.STALE}
        return {Decision.CONFLICT} if self.guard.remembered else {Decision.CONFLICT, Decision.DUPLICATE}


arrivals = st.builds(arrival, st.integers(1, 12), st.sampled_from(["x", "x", "y"]))
happenings = st.lists(st.one_of(arrivals, arrivals, st.integers(1, 12), st.none()), max_size=40)
"""Events arrive, an operator skips a version, or the entity is written."""


@given(st.sampled_from(GUARDED), st.integers(0, 3), st.sampled_from([0, 1, 2, 3, REMEMBERED_IDS]), happenings)
@examples(600)
def test_every_decision_is_that_of_the_table(
    order: Order, baseline: int, remembered: int, happening: list[Event | int | None]
) -> None:
    history = History(Guard(order, baseline, remembered))
    for one in happening:
        if one is None:
            history.write()
        elif isinstance(one, int):
            history.skip(one)
        else:
            expected = history.expected(one)
            found = history.arrive(one)
            assert found in expected, (found, expected, one.version, history)


@given(st.integers(0, 3), st.integers(0, 3), st.lists(arrivals, max_size=40))
@examples(150)
def test_beyond_what_is_remembered_a_conflict_counts_as_a_duplicate(
    baseline: int, remembered: int, events: list[Event]
) -> None:
    """When the entity is written after each event, the window is exact."""
    history = History(Guard(Order.COMMUTATIVE, baseline, remembered))
    for event in events:
        later = sum(version > event.version for version in history.applied)
        known = event.version in history.applied
        found = history.arrive(event)
        history.write()
        assert len(history.entity.recent) == min(remembered, len(history.applied))
        if known and later >= remembered:
            assert found is Decision.DUPLICATE


@given(st.sampled_from(GUARDED), st.integers(0, 3), st.permutations(range(1, 11)), st.lists(st.integers(1, 10)))
@examples(200)
def test_every_arrival_order_comes_to_the_state_of_the_order_of_the_versions(
    order: Order, baseline: int, versions: list[int], again: list[int]
) -> None:
    """With duplicates, and what is to be held delivered again until it has had its turn."""
    history = History(Guard(order, baseline))
    waiting = [arrival(version, "x") for version in versions + again]
    while waiting:
        held = [event for event in waiting if history.arrive(event) is Decision.HOLD]
        assert len(held) < len(waiting)
        waiting = held
    applied = list(history.applied)
    wanted = list(range(baseline + 1, 11))
    if order is Order.STRICT:
        assert applied == wanted
    elif order is Order.LATEST:
        assert applied == sorted(applied)
        assert applied[-1:] == wanted[-1:]
    else:
        assert sorted(applied) == wanted
        assert (history.entity.version, history.entity.ranges.pairs()) == (10, [])


@given(st.permutations(range(1, 11)), st.integers(0, 8))
@examples(100)
def test_latest_takes_what_is_newer_than_the_state_although_something_newer_was_skipped(
    versions: list[int], skipped_at: int
) -> None:
    history = History(Guard(Order.LATEST))
    for at, version in enumerate(versions):
        if at == skipped_at:
            history.skip(10)
        history.arrive(arrival(version, "x"))
    before = versions.index(10) < skipped_at
    assert list(history.applied)[-1] == (10 if before else 9)


@given(st.lists(arrivals, max_size=30))
@examples(50)
def test_unguarded_applies_whatever_comes(events: list[Event]) -> None:
    history = History(Guard(Order.UNGUARDED))
    assert {history.arrive(event) for event in events} <= {Decision.APPLY}


@given(st.sampled_from(GUARDED), happenings, arrivals)
@examples(100)
def test_deciding_changes_nothing(order: Order, happening: list[Event | int | None], event: Event) -> None:
    history = History(Guard(order))
    for one in happening:
        if isinstance(one, int):
            history.skip(one)
        elif one is not None:
            history.arrive(one)
    entity = history.entity
    before = entity.version, entity.ranges.pairs(), list(entity.recent)
    history.guard.decide(entity, event)
    assert (entity.version, entity.ranges.pairs(), list(entity.recent)) == before


@given(st.integers().map(str))
@examples(100)
def test_a_fingerprint_fits_32_bits_and_is_never_the_mark_of_a_skipped_version(event_id: str) -> None:
    assert 0 < fingerprint(event_id) < 2**32


def test_an_id_whose_checksum_is_zero_has_a_fingerprint_all_the_same() -> None:
    assert fingerprint("") == 1
