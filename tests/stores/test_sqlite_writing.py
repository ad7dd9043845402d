"""Rows go to SQLite many at once, in parts: what is refused in any part undoes all of them."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from inorder.core.order import Order
from inorder.core.rows import EntityRow
from inorder.errors import Mismatch
from inorder.stores.sqlite import SqliteStore, many
from tests.stores.making import changes, gap, held, row, versions, write

KEYS = [f"k{n}" for n in range(10)]
KINDS: dict[str, dict[str, Any]] = {"a": {}, "b": {"ranges": b"[[3,4]]"}, "c": {"waits": True}, "d": {"state": None}}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteStore]:
    monkeypatch.setattr(many, "MOST_ROWS", 4)
    with closing(SqliteStore(str(tmp_path / "store.db"), "orders")) as store:
        store.register(Order.STRICT, 0)
        yield store


def test_all_parts_are_written(store: SqliteStore) -> None:
    states = {key: bytes([n]) * 200 * n for n, key in enumerate(KEYS)}
    write(store, [row(key, 0, state=states[key] or None, recent=b"1234") for key in KEYS])
    write(store, [row(key, 1, state=states[key] or None, recent=b"12345678") for key in KEYS])
    found = store.load(KEYS)
    assert {key: entity.stored_state or b"" for key, entity in found.items()} == states
    assert {entity.recent.tobytes() for entity in found.values()} == {b"12345678"}
    assert {entity.revision for entity in found.values()} == {2}


def test_an_entity_with_nothing_to_tell_is_written(store: SqliteStore) -> None:
    write(store, [row("k", 0, state=None, recent=b"", ranges=b"")])
    assert versions(store) == {"k": 1}


@pytest.mark.parametrize("wrong", [row("k9", 3), row("k0", 3), row("gone", 3), row("k5", 0)])
def test_a_refusal_in_any_part_undoes_all(store: SqliteStore, wrong: EntityRow) -> None:
    write(store, [row(key, 0) for key in KEYS])
    rows = {key: row(key, 1, state=b"x" * 300) for key in KEYS} | {wrong.key: wrong}
    with pytest.raises(Mismatch) as refusal:
        write(store, [rows[key] for key in sorted(rows)])
    assert refusal.value.keys == [wrong.key]
    assert versions(store) == dict.fromkeys(KEYS, 1)


def test_parts_hold_every_row_once() -> None:
    rows = list(range(11))
    for most, sizes in ((1, [1] * 11), (2, [2] * 5 + [1]), (4, [4, 4, 2, 1]), (8, [8, 2, 1]), (16, [8, 2, 1])):
        parts = [rows[some] for some in many.portions(len(rows), most)]
        assert [len(part) for part in parts] == sizes
        assert [one for part in parts for one in part] == rows
    assert list(many.portions(0, 1)) == []


def test_plain_entities_are_written_beside_those_with_ranges_and_those_that_wait(store: SqliteStore) -> None:
    for revision in (0, 1):
        write(store, [row(key, revision, **kind) for key, kind in KINDS.items()])
    found = store._connection.execute("SELECT key, revision, ranges, state, waits FROM inorder_entities ORDER BY key")
    assert found.fetchall() == [
        ("a", 2, b"", b"{}", 0),
        ("b", 2, b"[[3,4]]", b"{}", 0),
        ("c", 2, b"", b"{}", 1),
        ("d", 2, b"", None, 0),
    ]


@pytest.mark.parametrize("stale", ["a", "b", "c"])
def test_a_refusal_among_plain_entities_or_others_undoes_all(store: SqliteStore, stale: str) -> None:
    write(store, [row(key, 0, **kind) for key, kind in KINDS.items()])
    with pytest.raises(Mismatch) as refusal:
        write(store, [row(key, 1 + (key == stale), **kind) for key, kind in KINDS.items()])
    assert refusal.value.keys == [stale]
    assert versions(store) == dict.fromkeys(KINDS, 1)


@pytest.mark.parametrize("values", [1 + 5, 2 * 5, 1 + 2 * 5])
def test_a_sqlite_that_takes_few_values_gets_few_rows_at_once(store: SqliteStore, values: int) -> None:
    """The stream, and five for each row."""
    store._connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, values)
    write(store, [row(key, 0) for key in KEYS])
    assert versions(store) == dict.fromkeys(KEYS, 1)


def test_what_waits_is_written_and_given_up_in_parts(store: SqliteStore) -> None:
    events = [held(key, version) for key in KEYS for version in (2, 3)]
    waits = {key: gap(1, due_at=float(n)) for n, key in enumerate(KEYS)}
    write(store, [row(key, 0, waits=True) for key in KEYS], changes(held=events, waits=waits))
    assert store.held_together(KEYS, 9) == events
    assert {key: entity.waiting for key, entity in store.load(KEYS).items()} == waits
    gone, go_on = [("k3", 2), *[(key, 3) for key in KEYS]], dict.fromkeys(KEYS[:7])
    write(store, [row(key, 1, waits=True) for key in KEYS], changes(released=gone, waits=go_on))
    assert store.held_together(KEYS, 9) == [one for one in events if (one.key, one.version) not in gone]
    assert {key: entity.waiting for key, entity in store.load(KEYS).items()} == waits | go_on


@pytest.mark.parametrize("taken", ["k0", "k5", "k9"])
def test_an_event_that_is_not_held_in_any_part_undoes_all(store: SqliteStore, taken: str) -> None:
    write(store, [row(taken, 0)], changes(held=[held(taken, 2, "another")]))
    with pytest.raises(Mismatch):
        write(store, [row(key, int(key == taken)) for key in KEYS], changes(held=[held(key, 2) for key in KEYS]))
    assert versions(store) == {taken: 1}
    assert [one.event_id for one in store.held_together(KEYS, 9)] == ["another"]


def test_only_what_is_named_is_given_up(store: SqliteStore) -> None:
    with closing(SqliteStore(store.path, "another")) as another:
        another.register(Order.STRICT, 0)
        for one in (store, another):
            waiting = changes(held=[held("k", 2), held("l", 2)], waits={"k": gap(1), "l": gap(1)})
            write(one, [row("k", 0, waits=True), row("l", 0, waits=True)], waiting)
        write(store, [row("k", 1)], changes(released=[("k", 2), ("l", 7)], waits={"k": None}))
        assert [one.key for one in store.held_together(["k", "l"], 9)] == ["l"]
        assert [one.key for one in another.held_together(["k", "l"], 9)] == ["k", "l"]
        assert [one.waiting is None for one in another.load(["k", "l"]).values()] == [False, False]


def test_no_page_is_copied_to_a_temporary_file_first(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "MOST_ROWS", 512)
    keys = [f"customer-{n:05}" for n in range(6_000)]
    waiting = changes(held=[held(key, 3) for key in keys], waits={key: gap(1) for key in keys})
    write(store, [row(key, 0, state=b"{}" * 100) for key in keys], waiting)
    some, before = keys[::12], unnamed_files()
    plain = [row(key, 1, state=b"{}" * 100) for key in some]
    others = [row(key, 2, state=b"{}" * 100, waits=True, ranges=b"[[3,4]]") for key in some]
    more = changes(held=[held(key, 4) for key in some], waits={key: gap(2) for key in some})
    less = changes(released=[(key, 3) for key in some], waits=dict.fromkeys(some))
    for rows, what in ((plain, changes()), (others, changes()), ([], more), ([], less)):
        with store.transaction() as tx:
            tx.write(rows, what, {})
            assert unnamed_files() == before


def unnamed_files() -> int:
    """How many files this process has open that have no name any more, as SQLite's temporary ones."""
    found = 0
    for descriptor in os.listdir("/dev/fd"):
        try:
            status = os.fstat(int(descriptor))
        except OSError:  # that of the listing itself
            continue
        found += stat.S_ISREG(status.st_mode) and not status.st_nlink
    return found
