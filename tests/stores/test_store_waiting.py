"""What every store promises about events and keys that wait. Each kind of store passes all of it."""

from __future__ import annotations

import pytest

from inorder.core.event import Partition, Record
from inorder.core.order import Outcome
from inorder.core.rows import HeldRow
from inorder.core.waiting import Wait, Waiting
from inorder.errors import Mismatch
from tests.stores.making import HERE, THERE, changes, gap, held, parked, row, versions, write
from tests.stores.places import Place


def test_held_events_come_back_whole_and_in_order(place: Place) -> None:
    place.url += place.without_indexes
    store = place.open()
    bare = HeldRow("a", 3, "id", 5, Outcome.PARKED, 4, Record(Partition("other", 2), 0, None, None))
    large = HeldRow("a", 2**62, "é" * 99, 2**32 - 1, Outcome.HELD, 4, Record(HERE, 2**62, b"\x00", b"\xff" * 1_048_576))
    events = [held("a", 12), large, bare, held("a", 4)]
    write(store, [row("a", 0, waits=True)], changes(held=events))
    assert store.held("a", 10) == sorted(events, key=lambda event: event.version)
    assert store.held("a", 2) == [bare, events[3]]
    assert store.held("b", 10) == []
    assert store.held_together(["b", "a"], 10) == store.held("a", 10)
    assert store.held_count() == store.held_count("a") == 4
    assert store.held_count("b") == 0
    write(store, [row("b", 0, waits=True)], changes(held=[held("b", 7), held("b", 6), held("b", 9)]))
    assert store.held_together(["b", "a"], 2) == [*store.held("a", 2), *store.held("b", 2)]
    write(store, [row("b", 1, waits=True)], changes(held=[held("b", 5)]))
    assert [event.version for event in store.held("b", 3)] == [5, 6, 7]
    assert [event.version for event in store.held_together(["b"], 3)] == [5, 6, 7]


def test_an_entity_comes_with_what_waits_for_it(place: Place) -> None:
    store = place.open()
    rows = [row("a", 0, waits=True), row("b", 0, waits=True), row("c", 0)]
    events = [held("a", 5), held("a", 4), held("b", 9)]
    write(store, rows, changes(held=events, waits={"a": gap(2), "b": parked(3)}))
    loaded = store.load(["a", "b", "c"])
    assert loaded["a"].waiting == gap(2)
    assert loaded["b"].waiting == parked(3)
    assert loaded["c"].waiting is None
    assert loaded["a"].held == {event.version: event.fingerprint for event in events[:2]}
    assert loaded["b"].held == {9: events[2].fingerprint}


def test_every_part_of_how_a_key_waits_is_kept(place: Place) -> None:
    store = place.open()
    waits = {
        "a": Waiting(Wait.GAP, 2, 1.25, 1e9 + 0.125, home=THERE),
        "b": Waiting(Wait.RETRY, 3, 5.0, 6.0, attempts=2, reason="é: no\n", home=HERE),
        "c": Waiting(Wait.PARKED, 2**63 - 1, 0.0, attempts=4, reason="", missing=True),
        "d": Waiting(Wait.GAP, 2, 1.0, due_at=0.0, home=HERE),
    }
    write(store, [row(key, 0, waits=True) for key in waits], changes(waits=waits))
    assert {key: entity.waiting for key, entity in store.load(list(waits)).items()} == waits


def test_every_part_of_how_a_key_waits_is_replaced(place: Place) -> None:
    store = place.open()
    waits = [
        Waiting(Wait.GAP, 2, 1.25, 9.0, home=HERE),
        Waiting(Wait.PARKED, 3, 5.0, attempts=2, reason="no", missing=True, home=Partition("other", 1)),
        Waiting(Wait.RETRY, 4, 6.0, 7.0, attempts=1, home=None),
    ]
    for revision, waiting in enumerate(waits):
        write(store, [row("a", revision, waits=True)], changes(waits={"a": waiting}))
        assert store.load(["a"])["a"].waiting == waiting


def test_what_waited_is_released(place: Place) -> None:
    store = place.open()
    write(store, [row("z", 0, waits=True)], changes(held=[held("z", 4)], waits={"z": gap(2)}))
    write(store, [row("a", 0, waits=True)], changes(held=[held("a", 3), held("a", 4)], waits={"a": gap(2)}))
    write(store, [row("a", 1, waits=True)], changes(released=[("a", 3)], waits={"a": gap(5)}))
    loaded = store.load(["a"])["a"]
    assert loaded.waiting == gap(5)
    assert list(loaded.held) == [4]
    write(store, [row("a", 2)], changes(released=[("a", 4), ("a", 99)], waits={"a": None, "b": None}))
    loaded = store.load(["a"])["a"]
    assert loaded.waiting is None
    assert loaded.held == {}
    other = store.load(["z"])["z"]
    assert (other.waiting, list(other.held), store.held_count()) == (gap(2), [4], 1)


def test_the_same_event_is_held_once(place: Place) -> None:
    store = place.open()
    write(store, [row("a", 0, waits=True)], changes(held=[held("a", 3, offset=7)]))
    write(store, [row("a", 1, waits=True)], changes(held=[held("a", 3, offset=8)]))
    assert [event.record.offset for event in store.held("a", 10)] == [7]


def test_another_event_is_not_held_in_its_place(place: Place) -> None:
    store = place.open()
    write(store, [row("a", 0, waits=True)], changes(held=[held("a", 3, "first")]))
    with pytest.raises(Mismatch) as refusal:
        write(store, [row("a", 1, 9, waits=True)], changes(held=[held("a", 2), held("a", 3, "second")]))
    assert refusal.value.keys == ["a"]
    assert [event.event_id for event in store.held("a", 10)] == ["first"]
    assert versions(store) == {"a": 1}


def test_due_are_the_keys_that_stopped_in_a_partition(place: Place) -> None:
    store = place.open()
    waits = {"a": gap(2, 30.0), "b": gap(2, 20.0, THERE), "c": parked(3), "d": gap(2, home=None), "e": gap(2, 0.0)}
    waits["f"] = gap(2, home=Partition("other", 0))
    write(store, [row(key, 0, waits=True) for key in waits], changes(waits=waits))
    assert store.due([HERE]) == {"a": waits["a"], "e": waits["e"]}
    assert store.due([HERE, THERE, Partition("other", 1)]) == {key: waits[key] for key in "abe"}
    assert store.due([]) == {}


def test_parked_keys_are_listed(place: Place) -> None:
    store = place.open()
    keys = sorted(f"k{n}" for n in range(1_200))
    waits = {key: parked(3, key) for key in keys} | {"other": gap(2)}
    write(store, [row(key, 0, waits=True) for key in waits], changes(waits=waits))
    assert list(store.parked()) == [(key, parked(3, key)) for key in keys]
    assert store.parked_count() == len(keys)


def test_many_held_events_at_once(place: Place) -> None:
    store = place.open()
    events = [held(f"k{n % 50:02d}", 2 + n // 50) for n in range(10_000)]
    keys = sorted({event.key for event in events})
    write(store, [row(key, 0, waits=True) for key in keys], changes(held=events, waits={key: gap(1) for key in keys}))
    assert store.held_count() == 10_000
    assert sum(len(entity.held) for entity in store.load(keys).values()) == 10_000
    released = [(event.key, event.version) for event in events]
    write(store, [row(key, 1) for key in keys], changes(released=released, waits=dict.fromkeys(keys)))
    assert store.held_count() == 0
