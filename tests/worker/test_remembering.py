"""What a worker keeps in memory: entities within their room, units until they are settled, claims while they last.

Pure: no thread, no store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from inorder.core.changes import Changes
from inorder.core.engine import Unit
from inorder.core.entity import Entity
from inorder.core.event import Event, Malformed, Partition, Record, Slice
from inorder.core.rows import EntityRow
from inorder.core.waiting import AT_ONCE, NEVER, Wait, Waiting
from inorder.errors import Fenced, Mismatch
from inorder.worker import claims as claiming
from inorder.worker.cache import Cache
from inorder.worker.claims import SPARE_S, Claims
from inorder.worker.group import Groups
from inorder.worker.running import OLD_S
from inorder.worker.timers import Timers
from tests.worker.played import HERE, THERE


def entity(key: str, state: bytes = b"", held: int = 0, due_at: float = NEVER, home: Partition | None = None) -> Entity:
    found = Entity(key, stored_state=state, held=dict.fromkeys(range(held), 1))
    found.waiting = Waiting(Wait.RETRY, 1, 0.0, due_at, home=home) if due_at < NEVER else None
    return found


def names(cache: Cache) -> list[str]:
    return sorted(one.key for one in cache.all())


def test_what_was_used_since_the_last_turn_stays() -> None:
    cache = Cache(4_000)
    for key in "abc":
        cache.keep(entity(key))
    assert (names(cache), len(cache)) == (["a", "b", "c"], 3), "702 bytes each: the third one fills the half of it"
    assert cache.find({"a"}) == ({"a": next(one for one in cache.all() if one.key == "a")}, [])
    for key in "de":
        cache.keep(entity(key))
    assert names(cache) == ["a", "d", "e"], "b and c were not asked for"
    found, missing = cache.find({"a", "b", "d"})
    assert (sorted(found), missing) == (["a", "d"], ["b"])


@pytest.mark.parametrize(
    ("one", "size"),
    [(entity("abcd"), 708), (entity("a", b"x" * 100), 1102), (entity("a", held=3), 1002)],
    ids=["key", "state", "held"],
)
def test_an_entity_takes_room_by_its_key_its_state_and_what_it_holds(one: Entity, size: int) -> None:
    cache = Cache(2 * size)
    cache.keep(one)
    assert cache._young, "there is room for exactly this one"
    cache.grew(1)
    assert (cache._young, names(cache)) == ({}, [one.key])
    cache.grew(2 * size)
    assert names(cache) == []


def test_room_is_given_back_with_all_that_is_forgotten() -> None:
    cache = Cache(4_000)
    cache.keep(entity("a"))
    cache.clear()
    assert (names(cache), len(cache)) == ([], 0)
    for key in "ab":
        cache.keep(entity(key))
    assert len(cache._young) == 2
    cache.keep(entity("c"))
    for key in "de":
        cache.keep(entity(key))
    cache.drop(["a", "d", "nobody"])
    assert names(cache) == ["b", "c", "e"]


def test_what_is_said_to_be_due_and_is_not_was_changed_by_others() -> None:
    cache = Cache(100_000)
    for one in (entity("due", due_at=5.0), entity("late", due_at=5.1), entity("flows")):
        cache.keep(one)
    for key, home in (("ours", HERE), ("theirs", THERE)):
        cache.keep(entity(key, due_at=5.0, home=home))
    assert cache.changed(["due", "late", "flows", "unknown"], 5.0, {HERE}) == ["late", "flows"]
    assert cache.changed(["ours", "theirs"], 5.0, {HERE}) == ["theirs"], "it was theirs"
    cache.grew(1_000_000)
    assert cache.changed(["due", "late"], 5.0, {HERE}) == ["late"], "in the old half too"


def piece(partition: Partition, offset: int, events: int) -> Slice:
    return Slice.of(partition, [Record(partition, offset + n, b"k", b"") for n in range(events)])


def event(of: Slice, index: int = 0, receiver: tuple[int, str] | None = None) -> Event:
    return Event("k", index + 1, f"k{index}", 1, None, of, index, receiver)


def unit(of: Slice, fence: int) -> Unit:
    return Unit(of.partition, fence, of.next_offset, len(of), 0)


def test_a_unit_is_settled_with_the_last_of_its_deliveries() -> None:
    groups = Groups(lambda: Changes(0))
    two, one = piece(HERE, 0, 2), piece(THERE, 0, 1)
    groups.opened(unit(two, 7), two)
    groups.opened(unit(one, 8), one)
    groups.now.events += [event(two), event(two, 5, (0, "held"))]
    first = groups.take()
    assert (len(first.events), first.slices()) == (2, [two]), "what came back from the store settles nothing"
    assert groups.fences(first) == {HERE: 7}
    assert groups.settle(first) == []
    groups.now.events.append(event(two, 1))
    groups.now.malformed.append(Malformed("no JSON", one, 0))
    second = groups.take()
    assert second.slices() == [two, one]
    assert groups.fences(second) == {HERE: 7, THERE: 8}
    assert groups.settle(second) == [unit(two, 7), unit(one, 8)]
    assert (groups.fence(two), groups.fences(second), groups.settle(second)) == (None, {}, [])
    assert groups.now.events == []


def test_units_of_another_ownership_are_nobodys_business() -> None:
    groups = Groups(lambda: Changes(0))
    ours, old, theirs = piece(HERE, 0, 1), piece(HERE, 1, 1), piece(THERE, 0, 1)
    for each, fence in ((ours, 7), (old, 6), (theirs, 7)):
        groups.opened(unit(each, fence), each)
        groups.now.events.append(event(each))
    groups.keep({HERE: 7})
    assert [groups.fence(each) for each in (ours, old, theirs)] == [7, None, None]
    assert groups.settle(groups.take()) == [unit(ours, 7)]


def test_of_two_fences_of_one_partition_the_older_is_checked() -> None:
    groups = Groups(lambda: Changes(0))
    one, other = piece(HERE, 0, 1), piece(HERE, 1, 1)
    for each, fence in ((one, 8), (other, 7)):
        groups.opened(unit(each, fence), each)
    groups.now.events += [event(one), event(other)]
    groups.now.under(THERE, 4)
    groups.now.under(THERE, 3)
    groups.now.under(THERE, 5)
    groups.now.under(HERE, 9)
    assert groups.fences(groups.take()) == {HERE: 7, THERE: 3}


def test_an_entity_that_is_decided_or_being_committed_is_at_hand() -> None:
    groups = Groups(lambda: Changes(0))
    decided, written = Entity("a"), Entity("b")
    groups.now.changes.entities["a"] = decided
    groups.writing = {"a": Entity("a"), "b": written}
    assert (groups.entity("a"), groups.entity("b"), groups.entity("c")) == (decided, written, None)


def test_a_lease_lapses_once() -> None:
    groups = Groups(lambda: Changes(0))
    one = piece(HERE, 0, 1)
    groups.opened(unit(one, 7), one)
    assert groups.lapse(one) == unit(one, 7)
    assert groups.lapse(one) is None
    other = piece(HERE, 1, 1)
    groups.opened(unit(other, 7), other)
    groups.now.events += [event(one), event(other)]
    assert groups.settle(groups.take()) == [unit(other, 7)]


def test_a_copy_of_timers_goes_its_own_way() -> None:
    timers = Timers()
    timers.note({"a": Waiting(Wait.RETRY, 1, 0.0, 5.0), "b": Waiting(Wait.GAP, 1, 0.0, 7.0)})
    twin = timers.copy()
    assert twin.all() == timers.all() == {"a": 5.0, "b": 7.0}
    assert (twin.urgent, twin.next()) == (True, 5.0)
    assert twin.take(6.0) == ["a"]
    assert (twin.urgent, twin.all()) == (False, {"b": 7.0})
    assert (timers.urgent, timers.take(9.0)) == (True, ["a", "b"])


def test_a_thousand_keys_are_looked_at_in_one_go() -> None:
    timers = Timers()
    timers.note({str(n): Waiting(Wait.RETRY, 1, 0.0, 1.0) for n in range(1_001)})
    assert len(timers.take(2.0)) == 1_000
    assert len(timers.take(2.0)) == 1


class Now:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        raise AssertionError


class Written:
    """Keeps what is written, or refuses it."""

    def __init__(self) -> None:
        self.writes: list[tuple[Sequence[EntityRow], dict[str, Waiting | None], Mapping[Partition, int]]] = []
        self.refuses: Exception | None = None

    async def write(self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int]) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.writes.append((rows, dict(changes.waits), fences))


def claimed(clock: Now, keeper: Any) -> Claims:
    return Claims(keeper, 3, clock, handler_s=30.0)


def woken(key: str = "a", due_at: float = AT_ONCE) -> tuple[Entity, Waiting]:
    one = Entity(key, version=1, revision=4)
    one.waiting = Waiting(Wait.RETRY, 2, 50.0, due_at, attempts=1)
    return one, one.waiting


def taken(claims: Claims, one: Entity, waits: Waiting | None) -> bool:
    return asyncio.run(claims.take(one, waits, {HERE: 1}))


def test_a_claim_lasts_for_a_handler_and_some_more() -> None:
    clock, keeper = Now(), Written()
    claims, (one, waits) = claimed(clock, keeper), woken()
    assert not claims.holds("a")
    assert taken(claims, one, waits)
    [(rows, written, fences)] = keeper.writes
    assert ([(row.key, row.expected) for row in rows], fences) == ([("a", 4)], {HERE: 1})
    assert written == {"a": Waiting(Wait.RETRY, 2, 50.0, 100.0 + 30.0 + SPARE_S, attempts=1)}
    clock.time += SPARE_S - OLD_S - 0.1
    assert claims.holds("a")
    clock.time += 0.1
    assert not claims.holds("a")
    assert not claims.holds("b")


@pytest.mark.parametrize("error", [Mismatch(["a"]), Fenced([HERE])], ids=["changed", "fenced"])
def test_a_claim_that_is_refused_is_none(error: Exception) -> None:
    keeper = Written()
    claims, (one, waits) = claimed(Now(), keeper), woken()
    keeper.refuses = error
    assert not taken(claims, one, waits)
    assert not claims.holds("a")


def test_what_does_not_wait_needs_no_claim() -> None:
    keeper = Written()
    claims, (one, waits) = claimed(Now(), keeper), woken()
    assert taken(claims, one, None)
    one.waiting = None
    assert taken(claims, one, waits)
    assert keeper.writes == []


def test_a_replay_that_died_is_claimed_as_what_it_left() -> None:
    keeper = Written()
    claims, (one, _) = claimed(Now(), keeper), woken()
    assert taken(claims, one, Waiting(Wait.REPLAY, 9, 1.0, 2.0))
    [(_, written, _)] = keeper.writes
    assert written["a"] == Waiting(Wait.RETRY, 2, 50.0, 100.0 + 30.0 + SPARE_S, attempts=1)


def test_a_claim_of_our_own_does_not_keep_us_from_the_key() -> None:
    clock, keeper = Now(), Written()
    claims, (one, waits) = claimed(clock, keeper), woken()
    keeper.refuses = Mismatch(["a"])
    assert not taken(claims, one, waits)
    one.waiting = Waiting(Wait.RETRY, 2, 50.0, 100.0 + 30.0 + SPARE_S)
    claims.recognise(one)
    assert one.waiting.due_at == AT_ONCE, "the write that seemed to fail did not"
    assert claims.holds("a")
    another, _ = woken("b", 100.0 + 30.0 + SPARE_S)
    claims.recognise(another)
    assert another.waiting is not None
    assert another.waiting.due_at != AT_ONCE
    flows = Entity("a")
    claims.recognise(flows)
    assert flows.waiting is None


def test_a_claim_begins_anew_with_each_commit_of_its_key() -> None:
    clock, keeper = Now(), Written()
    claims, changes = claimed(clock, keeper), Changes(3)
    for key in "abcd":
        one, waits = woken(key)
        assert taken(claims, one, waits)
    clock.time = 110.0
    again = 110.0 + 30.0 + SPARE_S
    changes.entities = {key: Entity(key) for key in "abcx"}
    changes.waits = {
        "b": Waiting(Wait.GAP, 3, 60.0, AT_ONCE),
        "c": Waiting(Wait.RETRY, 3, 60.0, 111.0),
    }
    renewed = claims.renew(["x", "d", "c", "b", "a"], changes)
    assert renewed == {
        "a": Waiting(Wait.RETRY, 2, 50.0, again, attempts=1),
        "b": Waiting(Wait.GAP, 3, 60.0, again),
    }
    assert changes.waits == renewed | {"c": Waiting(Wait.RETRY, 3, 60.0, 111.0)}
    clock.time = 120.0
    assert not claims.holds("a")
    claims.confirm(renewed)
    assert claims.holds("a")
    changes.waits["a"] = None
    assert "a" not in claims.renew(["a"], changes)


def test_claims_that_are_over_are_forgotten_once_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "MOST_KEYS", 2)
    clock = Now()
    claims = claimed(clock, Written())
    for key in "abc":
        assert taken(claims, *woken(key))
        clock.time += 1.0
    assert sorted(claims._tried) == ["a", "b", "c"]
    again = Changes(3)
    again.entities["a"] = Entity("a")
    claims.confirm(claims.renew(["a"], again))
    clock.time = 101.0 + 30.0 + SPARE_S
    assert taken(claims, *woken("d"))
    assert sorted(claims._tried) == sorted(claims._claimed) == ["a", "c", "d"], "a was claimed anew, and b was not"
