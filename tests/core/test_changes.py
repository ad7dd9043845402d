"""What one transaction writes, added up: counts, rows in the order of their keys, events that wait or no longer do."""

from __future__ import annotations

from array import array

import pytest

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Record, Slice
from inorder.core.order import Outcome
from inorder.core.ranges import Ranges
from inorder.core.rows import Effects, EntityRow, HeldRow
from inorder.core.waiting import Wait, Waiting

HERE = Partition("topic", 0)
RECORD = Record(HERE, 0, b"a", b"1")


def event(version: int, receiver: tuple[int, str] | None = None) -> Event:
    return Event("a", version, f"a{version}", version + 70, None, Slice.of(HERE, [RECORD]), 0, receiver)


def test_nothing_to_write_is_false() -> None:
    changes = Changes(3)
    assert not changes
    changes.count("seen")
    assert changes
    changes = Changes(3)
    changes.delivered(Outcome.STALE)
    assert changes
    changes = Changes(3)
    changes.entities["a"] = Entity("a")
    assert changes


def test_a_delivery_is_counted_where_it_was_received_and_everybody_who_asked_is_told() -> None:
    told: list[tuple[int, Outcome]] = []
    changes = Changes(3, lambda event, outcome: told.append((event.version, outcome)))
    changes.settled(event(1), Outcome.APPLIED)
    changes.settled(event(2, (9, "held")), Outcome.APPLIED)
    changes.settled(event(3, (9, "parked")), Outcome.DUPLICATE)
    changes.settled(event(5, (9, "held")), Outcome.APPLIED)
    changes.hold(event(4), Outcome.HELD)
    assert told == [(1, "applied"), (2, "applied"), (3, "duplicate"), (5, "applied"), (4, "held")]
    assert changes.counts == {
        (3, "received"): 2,
        (3, "applied"): 1,
        (3, "held"): 1,
        (3, "early"): 1,
        (3, "released"): 2,
        (9, "held"): -2,
        (9, "applied"): 2,
        (9, "parked"): -1,
        (9, "duplicate"): 1,
    }
    assert changes.held == {("a", 4): HeldRow("a", 4, "a4", 74, Outcome.HELD, 3, RECORD)}
    assert changes.released == {("a", 2), ("a", 3), ("a", 5)}


def test_without_anybody_who_asked_it_is_the_same() -> None:
    changes = Changes(3)
    changes.settled(event(1), Outcome.STALE)
    changes.hold(event(2), Outcome.PARKED)
    assert changes.counts == {(3, "received"): 2, (3, "stale"): 1, (3, "parked"): 1, (3, "early"): 1}
    assert changes.effects is None


def test_what_was_to_wait_and_waits_no_longer_is_never_written() -> None:
    changes = Changes(3)
    changes.hold(event(4), Outcome.HELD)
    changes.give_up_place("a", 4)
    assert (changes.held, changes.released) == ({}, set())


@pytest.mark.parametrize("observed", [False, True])
def test_rows_are_those_of_the_entities_in_the_order_of_their_keys(observed: bool) -> None:
    changes = Changes(3, observed=observed)
    flows = Entity("b", 7, 4, recent=array("I", [5, 6, 7]), stored_state=b"12345")
    flows.applied = [event(6), event(7)]
    flows.stored_version = 5
    waits = Entity("a", 2, ranges=Ranges([(4, 6)]), waiting=Waiting(Wait.GAP, 3, 0.0))
    gone = Entity("c", 1, 1, stored_state=b"1")
    changes.entities = {"b": flows, "c": gone, "a": waits}
    states = {"a": b"1", "b": b"1234567", "c": None}
    assert changes.rows(lambda entity: states[entity.key], 2) == [
        EntityRow("a", 0, 2, b"[[4,6]]", b"", b"1", True),
        EntityRow("b", 4, 7, b"", array("I", [6, 7]).tobytes(), b"1234567", False),
        EntityRow("c", 1, 1, b"", b"", None, False),
    ]
    assert changes.grown == 1 + 2 - 1
    assert changes.effects == ([Effects("b", 5, [6, 7])] if observed else None)
    assert [(one.revision, one.stored_version, one.stored_state) for one in (waits, flows, gone)] == [
        (1, 2, b"1"),
        (5, 7, b"1234567"),
        (2, 1, None),
    ]
    assert flows.applied == []
    changes.rows(lambda entity: b"12", 2)
    assert changes.grown == 2 + 1 - 5 + 2, "what came before stays counted"
