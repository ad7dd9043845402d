"""An outbox has exactly the events whose transactions committed, and their versions are in the order of the commits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg.rows import dict_row, namedtuple_row

import inorder
from inorder.producing.outbox_tables import OutboxTables, lane_of
from inorder.wiring import open_outbox
from tests.producing.databases import Database


class Entry(msgspec.Struct):
    account: str
    amount: int
    version: int = 0
    id: str = ""


def test_an_event_is_there_with_the_transaction_that_added_it(database: Database) -> None:
    outbox = inorder.Outbox(database.url)
    with database.transaction() as connection:
        assert outbox.add(connection, "A", Entry("A", 5)) == 1
        assert outbox.add(connection, "A", Entry("A", 6)) == 2
        assert outbox.add(connection, "B", {"amount": 7}, id="seven") == 1
        assert database.events() == []
    assert database.events() == [
        ("A", 1, "A-1", b'{"account":"A","amount":5,"version":1,"id":"A-1"}'),
        ("A", 2, "A-2", b'{"account":"A","amount":6,"version":2,"id":"A-2"}'),
        ("B", 1, "seven", b'{"amount":7,"version":1,"id":"seven"}'),
    ]


def test_a_transaction_that_is_rolled_back_leaves_neither_event_nor_gap(database: Database) -> None:
    outbox = inorder.Outbox(database.url)
    with database.transaction() as connection:
        outbox.add(connection, "A", b"1")
    with pytest.raises(KeyError), database.transaction() as connection:
        raise KeyError(outbox.add(connection, "A", b"2"))
    with database.transaction() as connection:
        assert outbox.add(connection, "A", b"2") == 2
    assert [row[1] for row in database.events()] == [1, 2]


def test_bytes_are_published_as_they_are_and_an_events_own_id_counts(database: Database) -> None:
    outbox = inorder.Outbox(database.url)
    with database.transaction() as connection:
        outbox.add(connection, 7, b"raw", headers={"trace": b"t"})
        outbox.add(connection, 7, Entry("A", 5, id="own"))
    assert [row[:3] for row in database.events()] == [("7", 1, "7-1"), ("7", 2, "own")]
    tables: OutboxTables = open_outbox(database.url, "outbox")
    first, second = tables.unsent([lane_of("7")], [], 10)
    assert (first.value, first.headers, second.headers) == (b"raw", (("trace", b"t"),), ())
    tables.close()


def test_outboxes_of_one_database_are_apart(database: Database) -> None:
    orders, bank = inorder.Outbox(database.url, name="orders"), inorder.Outbox(database.url, name="bank")
    with database.transaction() as connection:
        assert orders.add(connection, "A", b"1") == 1
        assert bank.add(connection, "A", b"1") == 1


def test_without_a_transaction_an_event_is_refused(database: Database) -> None:
    outbox = inorder.Outbox(database.url)
    options = {"autocommit": True} if database.mark == "%s" else {"isolation_level": None}
    with closing(database.connect(**options)) as connection:
        with pytest.raises(inorder.UsageError, match="autocommit mode"):
            outbox.add(connection, "A", b"1")
        connection.execute("BEGIN")
        assert outbox.add(connection, "A", b"1") == 1
        connection.execute("COMMIT")


def test_without_tables_it_says_what_to_do(database: Database) -> None:
    with database.transaction() as connection:
        for name in ("events", "keys"):
            connection.execute(f"DROP TABLE {database.table(name)}")
    with closing(database.connect()) as connection, pytest.raises(inorder.UsageError, match=r"call prepare\(\) once"):
        inorder.Outbox(database.url).add(connection, "A", b"1")


def test_tables_can_be_made_by_several_programs_at_once(database: Database) -> None:
    with database.transaction() as connection:
        for name in ("events", "keys", "relays", "leases"):
            connection.execute(f"DROP TABLE {database.table(name)}")
    failed: list[Exception] = []

    def prepare() -> None:
        try:
            inorder.Outbox(database.url).prepare()
        except Exception as error:
            failed.append(error)

    run_together([prepare] * 4)
    assert failed == []
    assert database.events() == []


@pytest.mark.parametrize(
    ("key", "event", "says"),
    [
        ("", b"x", "needs a key"),
        ("A\0", b"x", "NUL"),
        ("\ud800", b"x", "is no text that can be sent"),
        (b"A", b"x", "key=b'A'"),
        ("A", {"id": 5}, "id=5"),
        ("A", 5, "object with fields"),
        ("A", object(), "cannot be encoded"),
    ],
)
def test_what_cannot_be_added_is_said_at_once(database: Database, key: Any, event: object, says: str) -> None:
    with closing(database.connect()) as connection, pytest.raises(inorder.UsageError, match=says):
        inorder.Outbox(database.url).add(connection, key, event)


@pytest.mark.parametrize(
    ("event", "id"),
    [(object(), None), (5, None), ({"note": "\udcff"}, None), (b"x", "\udcff")],
)
def test_an_event_that_is_refused_leaves_no_gap_though_the_transaction_goes_on(
    database: Database, event: object, id: Any
) -> None:
    outbox = inorder.Outbox(database.url)
    with database.transaction() as connection:
        with pytest.raises(inorder.UsageError):
            outbox.add(connection, "A", event, id=id)
        assert outbox.add(connection, "A", b"x") == 1
    assert [(key, version) for key, version, *_ in database.events()] == [("A", 1)]


@pytest.mark.parametrize("headers", [{1: b"x"}, {"a": 1}, {"a\0b": b"x"}])
def test_headers_that_no_relay_could_publish_are_refused(database: Database, headers: Any) -> None:
    with closing(database.connect()) as connection, pytest.raises(inorder.UsageError, match="header"):
        inorder.Outbox(database.url).add(connection, "A", b"x", headers=headers)


def test_a_handler_adds_to_an_outbox_in_its_own_transaction(database: Database, tmp_path: Path) -> None:
    outbox = inorder.Outbox(database.url)

    @inorder.handler(key="account", version="version", retry=inorder.Retry(attempts=2, delay_s=0.01))
    def forward(entry: Entry, tx: inorder.Transaction) -> None:
        outbox.add(tx, entry.account, {"account": entry.account, "double": 2 * entry.amount})
        if entry.amount < 0:
            raise ValueError("refused after it was added")

    source = f"embedded://{tmp_path}/in.db/entries"
    with inorder.Producer(source) as producer:
        for version, amount in enumerate((5, 6, -1, 7), 1):
            producer.send("A", Entry("A", amount, version))
        producer.send("B", Entry("B", 1, 1))
    report = inorder.run(forward, source=source, store=database.url, until_idle_s=0.2)
    assert report.outcomes["applied"] == 3
    assert [(key, version) for key, version, _, _ in database.events()] == [("A", 1), ("A", 2), ("B", 1)]


@pytest.mark.parametrize("row_factory", [None, dict_row, namedtuple_row], ids=["tuple", "dict", "named tuple"])
def test_rows_may_be_what_the_caller_likes(postgres_url: str, row_factory: Any) -> None:
    outbox = inorder.Outbox(postgres_url)
    outbox.prepare()
    with psycopg.connect(postgres_url, row_factory=row_factory) as connection:
        assert [outbox.add(connection, "A", b"x") for _ in range(2)] == [1, 2]


def test_async_connections(postgres_url: str) -> None:
    outbox = inorder.Outbox(postgres_url)
    outbox.prepare()

    async def main() -> list[int]:
        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            return [await outbox.add_async(connection, "A", {"n": n}) for n in range(3)]

    assert asyncio.run(main()) == [1, 2, 3]


# the lock


def run_together(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


def published_in_a_race(url: str, add: Callable[[Any], int]) -> list[int]:
    """Two transactions add an event of one key at the same time; the first one commits last, if it may.

    A relay looks after each commit. Returns the versions in the order it publishes them.
    """
    tables: OutboxTables = open_outbox(url, "outbox")
    published: list[int] = []

    def look() -> None:
        rows = tables.unsent([lane_of("A")], [], 10)
        published.extend(row.version for row in rows)
        tables.sent([row.number for row in rows], keep=False)

    done = threading.Event()

    def second() -> None:
        with psycopg.connect(url) as connection:
            add(connection)
        done.set()

    with psycopg.connect(url) as connection:
        add(connection)
        thread = threading.Thread(target=second)
        thread.start()
        done.wait(0.5)
        look()
    thread.join(10)
    look()
    tables.close()
    return published


def test_the_next_version_of_a_key_waits_for_the_transaction_that_has_the_last_one(postgres_url: str) -> None:
    outbox = inorder.Outbox(postgres_url)
    outbox.prepare()
    assert published_in_a_race(postgres_url, lambda connection: outbox.add(connection, "A", b"x")) == [1, 2]


def test_without_the_row_lock_the_race_is_lost(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = inorder.Outbox(postgres_url)
    outbox.prepare()
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE SEQUENCE versions")
    unlocked = {**outbox._tables.sql, "version_next": "SELECT nextval('versions') WHERE %s <> %s"}
    monkeypatch.setattr(outbox._tables, "sql", unlocked)
    assert published_in_a_race(postgres_url, lambda connection: outbox.add(connection, "A", b"x")) == [2, 1]


def test_a_key_that_waits_holds_up_no_other(postgres_url: str) -> None:
    outbox = inorder.Outbox(postgres_url)
    outbox.prepare()
    with psycopg.connect(postgres_url) as slow:
        outbox.add(slow, "A", b"x")
        with psycopg.connect(postgres_url) as quick:
            quick.execute("SET lock_timeout = '200ms'")
            assert outbox.add(quick, "B", b"x") == 1
            with pytest.raises(psycopg.errors.LockNotAvailable):
                outbox.add(quick, "A", b"x")


def test_a_classic_outbox_skips_what_commits_late_and_ours_does_not(postgres_url: str) -> None:
    """The classic one: rows with a serial id, and a relay that remembers the highest id it has published."""
    outbox = inorder.Outbox(postgres_url)
    outbox.prepare()
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE classic (id serial PRIMARY KEY, key text)")
    tables: OutboxTables = open_outbox(postgres_url, "outbox")
    lanes = [lane_of("A"), lane_of("B")]
    theirs: list[str] = []
    ours: list[str] = []
    cursor = 0

    def relay() -> None:
        nonlocal cursor
        with psycopg.connect(postgres_url) as look:
            found = look.execute("SELECT id, key FROM classic WHERE id > %s ORDER BY id", (cursor,)).fetchall()
        for number, key in found:
            theirs.append(key)
            cursor = number
        rows = tables.unsent(lanes, [], 10)
        ours.extend(row.key for row in rows)
        tables.sent([row.number for row in rows], keep=False)

    def change(connection: psycopg.Connection[Any], key: str) -> None:
        connection.execute("INSERT INTO classic (key) VALUES (%s)", (key,))
        outbox.add(connection, key, b"x")

    with psycopg.connect(postgres_url) as slow:
        change(slow, "A")
        with psycopg.connect(postgres_url) as quick:
            change(quick, "B")
        relay()
    relay()
    tables.close()
    assert theirs == ["B"], "the row of A has a lower id than what was published already, and is never looked at"
    assert ours == ["B", "A"]
