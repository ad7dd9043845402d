"""What SQLite's own troubles look like: one line each, nothing half written, and it goes on when they pass."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from inorder.core.order import Order
from inorder.errors import Unreachable, UsageError
from inorder.stores.sqlite import SqliteStore, weather
from inorder.stores.sqlite import store as sqlite_store
from tests.stores.making import changes, held, line_of, row, versions, write

LARGE = b"x" * 100_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(file: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(str(file), "orders")) as store:
        store.register(Order.STRICT, 0)
        yield store


def fill(store: SqliteStore) -> None:
    write(store, [row(f"k{n}", 0, state=LARGE) for n in range(10)], changes(held=[held("k0", 5)]))


def limit_pages(store: SqliteStore, pages: int) -> None:
    with store.transaction() as tx:
        tx.execute(f"PRAGMA max_page_count = {pages}")


def test_a_file_that_has_tables_of_the_users_own_becomes_a_store(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE accounts (n INTEGER) STRICT")
    with closing(SqliteStore(str(file), "orders")) as store:
        store.register(Order.STRICT, 0)
        write(store, [row("a", 0)])
        assert versions(store) == {"a": 1}


def test_a_full_disk_is_an_outage_and_leaves_nothing(store: SqliteStore) -> None:
    limit_pages(store, 50)
    with pytest.raises(Unreachable, match="is full") as failure:
        fill(store)
    line_of(failure)
    assert versions(store) == {}
    limit_pages(store, 1_000_000)
    fill(store)
    assert len(versions(store)) == 10


def test_a_full_disk_under_a_handler_is_an_outage_too(store: SqliteStore) -> None:
    with store.transaction() as tx:
        tx.execute("CREATE TABLE effects (n BLOB)")
    limit_pages(store, 50)

    def insert(tx: Any, directly: bool) -> None:
        with tx.savepoint():
            run = tx.connection.execute if directly else tx.execute
            run("INSERT INTO effects VALUES (?)", (LARGE * 10,))

    def swallow(directly: bool) -> None:
        with store.transaction() as tx, pytest.raises(Unreachable, match="is full"):
            insert(tx, directly)
            # SQLite has rolled back all of it by now: nothing may look as if it were committed.

    for directly in (True, False):
        with pytest.raises(Unreachable):
            swallow(directly)
    with pytest.raises(Unreachable, match="is full"), store.transaction() as tx:
        tx.connection.execute("INSERT INTO effects VALUES (?)", (LARGE * 10,))
    limit_pages(store, 1_000_000)
    fill(store)


def test_a_lock_that_lasts_is_an_outage(store: SqliteStore, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.transaction() as tx:
        tx.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unreachable, match="another process kept it locked") as failure:
            fill(store)
        line_of(failure)
        other.execute("ROLLBACK")
    fill(store)


def test_a_store_can_be_read_while_another_process_writes(store: SqliteStore, file: Path) -> None:
    fill(store)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert len(store.load([f"k{n}" for n in range(10)])) == 10
        other.execute("ROLLBACK")


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE inorder_entities RENAME COLUMN state TO condition",
        "DROP TABLE inorder_entities",
        "ALTER TABLE inorder_entities ADD COLUMN more TEXT NOT NULL CHECK (more <> '') DEFAULT ''",
    ],
)
def test_a_table_that_was_altered_is_named(store: SqliteStore, file: Path, change: str) -> None:
    with closing(sqlite3.connect(file)) as other:
        other.execute(change)
    with pytest.raises(Unreachable, match="its tables are not as inorder made them") as failure:
        write(store, [row("a", 0)])
    line_of(failure)


@pytest.mark.parametrize(
    ("content", "says"), [(b"not a database" * 100, "not a SQLite database"), (None, "cannot be opened")]
)
def test_a_file_that_is_no_store_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "folder" / "store.db"
    if content is not None:
        file.parent.mkdir()
        file.write_bytes(content)
    with pytest.raises(Unreachable, match=says) as failure:
        SqliteStore(str(file), "orders")
    assert str(file) in line_of(failure)


def test_a_damaged_file_is_an_outage(store: SqliteStore, file: Path) -> None:
    fill(store)
    store.close()
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(Unreachable, match="damaged") as failure:
        SqliteStore(str(file), "orders")
    line_of(failure)


def test_a_handler_cannot_commit_without_saying_so(store: SqliteStore) -> None:
    def script(tx: Any) -> None:
        tx.execute("CREATE TABLE effects (n INTEGER)")
        tx.connection.executescript("INSERT INTO effects VALUES (1)")

    for end in (script, lambda tx: tx.connection.commit(), lambda tx: tx.connection.rollback()):
        with pytest.raises(UsageError, match="ended by inorder"), store.transaction() as tx:
            end(tx)
    with store.transaction() as tx:
        tx.execute("CREATE TABLE effects (n INTEGER)")


def test_an_old_sqlite_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(UsageError, match=r"needs SQLite 3\.38\.0"):
        SqliteStore(str(file), "orders")


def test_the_limit_on_waiting_is_in_the_message() -> None:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    assert f"{weather.BUSY_S:g} s" in str(weather.outage(error, "store.db"))


def test_a_store_can_be_abandoned_while_another_thread_is_within_sqlite(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "tests.stores.abandoned", str(tmp_path), "50"], check=True, timeout=90)


def test_a_call_that_does_not_end_is_not_waited_for_when_its_store_is_abandoned(
    store: SqliteStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "INTERRUPTED_S", 0.05)
    inside, go_on = threading.Event(), threading.Event()

    def wait() -> int:
        inside.set()
        go_on.wait(30)
        return 1

    def hang() -> None:
        with suppress(Unreachable, sqlite3.Error), store.transaction() as tx:
            tx.write([row("a", 0)], changes(), {})
            tx.connection.create_function("wait", 0, wait)
            tx.execute("SELECT wait()").fetchone()

    hanging = threading.Thread(target=hang)
    hanging.start()
    assert inside.wait(30)
    store.abandon()
    go_on.set()
    hanging.join()
    with closing(SqliteStore(str(file), "orders")) as other:
        assert versions(other) == {}
