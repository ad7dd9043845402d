"""What every store promises to a handler that writes its own tables. Each kind of store passes all of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from psycopg.rows import dict_row

from inorder.errors import Mismatch, UsageError
from tests.stores.making import HERE, changes, gap, held, letter, parked, row, versions, write
from tests.stores.places import Place


def inside(store: Any, *steps: Callable[[Any], object]) -> None:
    """Take these steps in one transaction."""
    with store.transaction() as tx:
        for step in steps:
            step(tx)


def create(tx: Any) -> None:
    tx.execute("CREATE TABLE effects (n INTEGER)")


def write_a(tx: Any) -> None:
    tx.write([row("a", 0)], changes(), {})


def test_the_users_statements_commit_with_ours(place: Place) -> None:
    store = place.open()
    with store.transaction() as tx:
        tx.execute("CREATE TABLE effects (n INTEGER)")
        tx.execute(f"INSERT INTO effects VALUES ({place.mark})", (5,))
        tx.write([row("a", 0)], changes(), {})
        assert tx.connection is not None
    with store.transaction() as tx:
        assert tx.execute("SELECT n FROM effects").fetchall() == [(5,)]
    assert versions(store) == {"a": 1}


def test_an_exception_undoes_both_and_passes_through(place: Place) -> None:
    store = place.open()
    failure = ValueError("the user's own")

    def fail(tx: Any) -> None:
        raise failure

    with pytest.raises(ValueError, match="the user's own") as raised:
        inside(store, create, write_a, fail)
    assert raised.value is failure
    assert versions(store) == {}
    with store.transaction() as tx:
        tx.execute("CREATE TABLE effects (n INTEGER)")


def by_name(cursor: Any, row: Any = None) -> Any:
    """A row as a dictionary, for either driver."""
    if row is None:
        return dict_row(cursor)
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


def test_rows_are_the_users_own_kind_for_the_user_alone(place: Place) -> None:
    store = place.open()
    fences = store.acquire([HERE])
    for n in range(2):
        with store.transaction() as tx:
            tx.connection.row_factory = by_name
            assert tx.execute("SELECT 5 AS n").fetchall() == [{"n": 5}]
            assert tx.connection.execute("SELECT 5 AS n").fetchall() == [{"n": 5}]
            tx.write([row("a", n)], changes(), fences)
    with pytest.raises(Mismatch) as refusal, store.transaction() as tx:
        tx.write([row("a", 1), row("b", 0)], changes(), fences)
    assert refusal.value.keys == ["a"]
    with store.transaction() as tx:
        assert tx.add_edit(1, b"{}", "me", "why", 1.0) > 0
    assert store.tally("again") > 0
    assert store.acquire([HERE]) == {HERE: fences[HERE] + 1}
    assert versions(store) == {"a": 2}


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_texts_are_the_users_own_kind_for_the_user_alone(place: Place) -> None:
    store = place.open()
    fences = store.acquire([HERE])
    for n in range(2):
        with store.transaction() as tx:
            tx.connection.text_factory = bytes
            assert tx.execute("SELECT 'a'").fetchall() == [(b"a",)]
            tx.write([row("a", n)], changes(), fences)
    assert versions(store) == {"a": 2}


def test_an_error_in_the_users_statement_is_the_drivers_own(place: Place) -> None:
    store = place.open()
    with pytest.raises(Exception, match="no_such_table") as raised:
        inside(store, lambda tx: tx.execute("SELECT * FROM no_such_table"))
    assert type(raised.value).__module__.startswith(("sqlite3", "psycopg"))
    write(store, [row("a", 0)])


def test_a_savepoint_undoes_only_what_is_inside(place: Place) -> None:
    store = place.open()

    def insert_and_fail(tx: Any) -> None:
        with tx.savepoint():
            tx.execute("INSERT INTO effects VALUES (2)")
            raise ValueError("inner")

    def insert_elsewhere(tx: Any) -> None:
        with tx.savepoint():
            tx.execute("INSERT INTO no_such_table VALUES (3)")

    with store.transaction() as tx:
        create(tx)
        with tx.savepoint():
            tx.execute("INSERT INTO effects VALUES (1)")
            with pytest.raises(ValueError, match="inner"):
                insert_and_fail(tx)
            with pytest.raises(Exception, match="no_such_table"):
                insert_elsewhere(tx)
        write_a(tx)
    with store.transaction() as tx:
        assert tx.execute("SELECT n FROM effects").fetchall() == [(1,)]
    assert versions(store) == {"a": 1}


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_handler_cannot_end_the_transaction(place: Place, end: str) -> None:
    store = place.open()
    store.load(["a"])
    with pytest.raises(UsageError, match="ended by inorder"):
        inside(store, write_a, lambda tx: tx.execute(end))
    assert versions(store) == {}


def test_a_transaction_is_not_seen_before_its_end(place: Place) -> None:
    store, other = place.open(), place.open()
    with store.transaction() as tx:
        tx.write([row("a", 0)], changes(held=[held("a", 5)]), {})
        assert other.load(["a"]) == {}
        assert other.held("a", 10) == []
    assert other.load(["a"])["a"].version == 1


def test_what_is_packed_before_its_transaction_is_written_as_what_is_not(place: Place) -> None:
    store = place.open()
    before = changes(held=[held("a", 5), held("a", 6), held("b", 9)], waits={"a": gap(2), "b": gap(8), "c": gap(7)})
    write(store, [row("a", 0), row("b", 0, state=None, ranges=b"[[3,4]]"), row("c", 0, waits=True)], before)
    rows = [row("a", 1, waits=True), row("b", 1)]
    what = changes(
        held=[held("b", 10)],
        released=[("a", 5), ("b", 9)],
        letters=[letter(3)],
        waits={"a": parked(6), "b": None},
        counts={"received": 3, "held": -1, "applied": 0},
        tally=store.tally("1"),
    )
    packed = store.pack(rows, what)
    assert list(packed) == rows
    write(store, packed, what)
    assert versions(store) == {"a": 2, "b": 2, "c": 1}
    assert [[one.version for one in store.held(key, 9)] for key in "ab"] == [[6], [10]]
    assert {key: entity.waiting for key, entity in store.load(["a", "b", "c"]).items()} == {
        "a": parked(6),
        "b": None,
        "c": gap(7),
    }
    assert [found.letter for found in store.letters()] == what.letters
    assert store.counts() == {"received": 3, "held": -1}
    with pytest.raises(Mismatch):
        write(store, store.pack(rows, changes()), changes())


def test_a_refused_transaction_cannot_go_on(place: Place) -> None:
    store = place.open()

    def be_refused(tx: Any) -> None:
        with pytest.raises(Mismatch):
            tx.write([row("a", 3)], changes(), {})
        with pytest.raises(Mismatch):
            create(tx)

    with pytest.raises(Mismatch):
        inside(store, create, be_refused)
    inside(store, create)


def test_abandoning_undoes_what_a_hanging_thread_has_open(place: Place) -> None:
    store = place.open()
    entered, go_on = threading.Event(), threading.Event()
    met: list[BaseException] = []

    def hang() -> None:
        try:
            with store.transaction() as tx:
                create(tx)
                write_a(tx)
                entered.set()
                go_on.wait()
                tx.execute("CREATE TABLE more (n INTEGER)")
        except Exception as error:
            met.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    entered.wait()
    store.abandon()
    other = place.open()
    write(other, [row("a", 0, 7)])
    go_on.set()
    thread.join()
    assert met
    assert versions(other) == {"a": 7}
    with other.transaction() as tx:
        tx.execute("CREATE TABLE effects (n INTEGER)")
        tx.execute("CREATE TABLE more (n INTEGER)")
