"""What every store promises about entities and transactions. Each kind of store passes all of it."""

from __future__ import annotations

import threading
from array import array

import pytest

from inorder.core.entity import Entity
from inorder.core.order import Order
from inorder.core.ranges import Ranges
from inorder.errors import Fenced, Mismatch, UsageError
from tests.stores.making import HERE, THERE, changes, gap, held, is_empty, letter, row, versions, write
from tests.stores.places import Place


def test_what_is_written_is_read_back(place: Place) -> None:
    store = place.open()
    recent = array("I", [1, 2**32 - 1])
    write(store, [row("a", 0, 9, ranges=b"[[3,4],[6,6]]", recent=recent.tobytes(), state=b'{"n":"\\u0000"}')])
    entity = place.open().load(["a", "unknown"])["a"]
    assert (entity.key, entity.version, entity.revision) == ("a", 9, 1)
    assert entity.ranges == Ranges([(3, 4), (6, 6)])
    assert entity.recent == recent
    assert entity.stored_state == b'{"n":"\\u0000"}'
    assert entity.waiting is None
    assert entity.held == {}


def test_all_of_an_entity_is_replaced(place: Place) -> None:
    store = place.open()
    write(store, [row("a", 0, 3, ranges=b"[[3,4]]", waits=True)], changes(waits={"a": gap(4)}))
    recent = array("I", [5, 6])
    write(store, [row("a", 1, 9, ranges=b"[[6,6]]", recent=recent.tobytes(), state=b"7", waits=False)])
    entity = store.load(["a"])["a"]
    assert (entity.version, entity.revision, entity.ranges) == (9, 2, Ranges([(6, 6)]))
    assert (entity.recent, entity.stored_state) == (recent, b"7")
    assert entity.waiting is None, "that it waits is told by the entity alone"


def test_an_entity_may_have_no_state(place: Place) -> None:
    store = place.open()
    write(store, [row("a", 0, state=None), row("b", 0, state=b"")])
    loaded = store.load(["a", "b"])
    assert loaded["a"].stored_state is None
    assert loaded["b"].stored_state == b""


@pytest.mark.parametrize("key", ["é", "日本", "🜁", "a b", "a'b\"c\\", "%s", "{}", "x" * 1024, "\x01", "\u2028"])
def test_any_key_is_kept_as_it_is(place: Place, key: str) -> None:
    store = place.open()
    write(store, [row(key, 0)])
    write(store, [row(key, 1)])
    assert list(store.load([key])) == [key]
    assert [found for found, _, _ in store.states()] == [key]


def test_a_large_state_is_kept(place: Place) -> None:
    store = place.open()
    state = bytes(range(256)) * 4096
    write(store, [row("a", 0, state=state)])
    assert store.load(["a"])["a"].stored_state == state


def test_the_highest_version_is_kept(place: Place) -> None:
    store = place.open()
    write(store, [row("a", 0, 2**63 - 1)])
    assert store.load(["a"])["a"].version == 2**63 - 1


def test_a_revision_that_was_written_since_is_refused(place: Place) -> None:
    store = place.open()
    write(store, [row("a", 0), row("b", 0), row("c", 0)])
    write(store, [row("b", 1)])
    with pytest.raises(Mismatch) as refusal:
        write(store, [row("a", 1), row("b", 1), row("c", 1)])
    assert refusal.value.keys == ["b"]
    assert versions(store) == {"a": 1, "b": 2, "c": 1}


def test_an_entity_may_have_nothing_but_what_it_waits_for(place: Place) -> None:
    store = place.open()
    write(store, [row("a", 0, 0, recent=b"", state=None, waits=True)])
    found = store.load(["a"])["a"]
    assert (found.version, found.stored_state, found.ranges.pairs(), list(found.recent)) == (0, None, [], [])


def test_an_entity_that_is_there_is_not_inserted_again(place: Place) -> None:
    store = place.open()
    write(store, [row("a", 0)])
    with pytest.raises(Mismatch) as refusal:
        write(store, [row("a", 0, 5), row("b", 0)])
    assert refusal.value.keys == ["a"]
    assert versions(store) == {"a": 1}


def test_an_entity_that_is_gone_is_not_updated(place: Place) -> None:
    store = place.open()
    with pytest.raises(Mismatch) as refusal:
        write(store, [row("a", 3)])
    assert refusal.value.keys == ["a"]


def test_inserts_and_updates_go_together(place: Place) -> None:
    store = place.open()
    write(store, [row("b", 0)])
    write(store, [row("a", 0), row("b", 1), row("c", 0)])
    assert versions(store) == {"a": 1, "b": 2, "c": 1}


def test_nothing_of_a_refused_write_is_visible(place: Place) -> None:
    store = place.open()
    write(store, [row("old", 0)])
    everything = changes(
        held=[held("old", 5)],
        waits={"old": gap(2)},
        letters=[letter(1)],
        counts={"received": 3},
        tally=store.tally("w"),
    )
    with pytest.raises(Mismatch):
        write(store, [row("new", 0), row("old", 7)], everything)
    assert versions(store) == {"old": 1}
    assert is_empty(store)


@pytest.mark.parametrize("what", ["entity", "held", "letter", "count", "wait"])
def test_an_older_owner_is_refused_whatever_it_writes(place: Place, what: str) -> None:
    store, other = place.open(), place.open()
    tally = store.tally("w")
    old = store.acquire([HERE, THERE])
    new = other.acquire([THERE])
    rows = [row("a", 0)] if what == "entity" else []
    wanted = {
        "entity": changes(),
        "held": changes(held=[held("a", 5)]),
        "letter": changes(letters=[letter(1)]),
        "count": changes(tally, counts={"received": 1}),
        "wait": changes(waits={"a": gap(1)}),
    }[what]
    with pytest.raises(Fenced) as refusal:
        write(store, rows, wanted, old)
    assert refusal.value.partitions == [THERE]
    assert is_empty(store)
    assert versions(store) == {}
    write(store, rows, wanted, {HERE: old[HERE], THERE: new[THERE]})


def test_each_owner_raises_the_fence(place: Place) -> None:
    store = place.open()
    first, second = store.acquire([HERE, THERE]), store.acquire([HERE])
    assert set(first) == {HERE, THERE}
    assert second[HERE] > first[HERE]
    write(store, [row("a", 0)], fences={HERE: second[HERE], THERE: first[THERE]})


def test_the_fence_of_a_queue_is_shared(place: Place) -> None:
    store, other = place.open(), place.open()
    first, second = store.share([HERE]), other.share([HERE])
    assert first == second
    write(store, [row("a", 0)], fences=first)
    write(other, [row("b", 0)], fences=second)


def test_a_fence_that_was_never_raised_is_refused(place: Place) -> None:
    with pytest.raises(Fenced):
        write(place.open(), [row("a", 0)], fences={HERE: 1})


def test_states_can_be_read_in_sql(place: Place) -> None:
    store = place.open()
    write(store, [row("a", 0, state='{"name":"é\\u0000"}'.encode()), row("b", 0, state=None)])
    with store.transaction() as tx:
        first, second = tx.execute(
            f"SELECT stream, key, version, state FROM {place.states_view} ORDER BY key"
        ).fetchall()
    assert first[:3] == ("orders", "a", 1)
    assert first[3] in ('{"name":"é\\u0000"}', {"name": "é\0"})
    assert second == ("orders", "b", 1, None)


def test_large_batches(place: Place) -> None:
    store = place.open()
    keys = [f"key-{number:06d}" for number in range(20_000)]
    write(store, [row(key, 0) for key in keys])
    write(store, [row(key, 1) for key in keys])
    loaded: dict[str, Entity] = store.load([*keys, "unknown"])
    assert sorted(loaded) == keys
    assert {entity.revision for entity in loaded.values()} == {2}
    with pytest.raises(Mismatch) as refusal:
        write(store, [row(key, 1 if key.endswith("77") else 2) for key in keys])
    assert refusal.value.keys == [key for key in keys if key.endswith("77")]


def test_another_thread_may_use_the_store(place: Place) -> None:
    store = place.open()
    thread = threading.Thread(target=write, args=(store, [row("a", 0)]))
    thread.start()
    thread.join()
    assert versions(store) == {"a": 1}


def test_streams_of_one_store_do_not_meet(place: Place) -> None:
    orders, others = place.open("orders"), place.open("others", Order.LATEST, 5)
    token = orders.acquire([HERE])
    write(orders, [row("a", 0)], changes(orders.tally("w"), held=[held("a", 5)], counts={"received": 1}), token)
    assert is_empty(others)
    assert others.load(["a"]) == {}
    with pytest.raises(Fenced):
        write(others, [row("a", 0)], fences=token)
    write(others, [row("a", 0, 8)], changes(others.tally("w"), counts={"received": 1}))
    assert versions(orders) == {"a": 1}
    assert versions(others) == {"a": 8}
    assert orders.counts() == others.counts() == {"received": 1}
    write(others, [row("b", 0)])
    with pytest.raises(Mismatch) as refusal:
        write(orders, [row("a", 7), row("b", 0)])
    assert refusal.value.keys == ["a"]
    assert [(s.name, s.order, s.baseline) for s in orders.streams()] == [
        ("orders", Order.STRICT, 0),
        ("others", Order.LATEST, 5),
    ]


def test_a_stream_keeps_its_declaration(place: Place) -> None:
    place.open("orders", Order.STRICT, 3)
    place.open("orders", Order.STRICT, 3)
    for order, baseline in [(Order.LATEST, 3), (Order.STRICT, 0)]:
        with pytest.raises(UsageError, match="order=strict, baseline=3") as refusal:
            place.open("orders", order, baseline)
        assert "\n" not in str(refusal.value)


def test_states_are_sorted_by_key(place: Place) -> None:
    store = place.open()
    keys = sorted(["b", "B", "a", "é", "z", "Ω", "10", "9", "🜁", "\uffff"] + [f"k{n}" for n in range(2_500)])
    write(store, [row(key, 0, state=key.encode()) for key in keys])
    assert list(store.states()) == [(key, 1, key.encode()) for key in keys]
    assert list(store.states(["é", "unknown", "a", "a"])) == [("a", 1, b"a"), ("é", 1, "é".encode())]
