"""Entities go to SQLite many at once, in parts: what is refused in any part undoes all of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from inorder.core.order import Order
from inorder.core.rows import EntityRow
from inorder.errors import Mismatch
from inorder.stores.sqlite import SqliteStore, transaction
from tests.stores.making import row, versions, write

KEYS = [f"k{n}" for n in range(10)]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteStore]:
    monkeypatch.setattr(transaction, "MOST_ROWS", 4)
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
    rows = [row(key, 0) for key in KEYS]
    for most, sizes in ((1, [1] * 10), (2, [2] * 5), (4, [4, 4, 2]), (8, [8, 2]), (16, [8, 2])):
        parts = list(transaction.portions(rows, most))
        assert [len(part) for part in parts] == sizes
        assert [one for part in parts for one in part] == rows
    assert list(transaction.portions([], 1)) == []


def test_a_sqlite_that_takes_few_values_gets_few_rows_at_once(store: SqliteStore) -> None:
    store._connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 1 + 2 * 7)
    write(store, [row(key, 0) for key in KEYS])
    assert versions(store) == dict.fromkeys(KEYS, 1)
