"""Batches of handlers with `tx` over real stores: what a handler did to its transaction costs nobody else anything."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

import inorder
from inorder.codecs.json import JsonCodec
from inorder.declaration import declaration_of
from inorder.errors import Unreachable
from inorder.worker.assemble import planner_for
from inorder.worker.batch import MANY_FAILURES, Batches
from inorder.worker.effects import TxEffect
from tests.stores.places import Place
from tests.worker.batching import FENCES, job
from tests.worker.consumers import Entry
from tests.worker.played import HERE, Seen, Still

Do = Callable[[Entry, Any], object]


class Real:
    """A handler that notes each event in a table of its own, and then does what the test says."""

    def __init__(self, place: Place, then: Do) -> None:
        self.store = place.open("stream")
        with self.store.transaction() as tx:
            tx.execute("CREATE TABLE effects (key TEXT, version BIGINT, UNIQUE (key, version))")
        self.insert = f"INSERT INTO effects VALUES ({place.mark}, {place.mark})"

        @inorder.handler(key="key", version="version", id="id", name="stream", retry=inorder.Retry(attempts=1))
        def post(entry: Entry, tx: inorder.Transaction) -> None:
            tx.execute(self.insert, (entry.key, entry.version))
            then(entry, tx)

        declared = declaration_of(post)
        self.effect = TxEffect(declared)
        codec, tally = JsonCodec(declared), self.store.tally("1")
        for _ in range(FENCES[HERE]):
            self.fences = self.store.acquire([HERE])
        self.batches = Batches(planner_for(declared), self.effect, codec, self.store, tally, Still(), observer=Seen())

    def run(self, names: str) -> None:
        self.batches.run(job(names), [], self.fences)

    @property
    def effects(self) -> list[str]:
        with self.store.transaction() as tx:
            found = tx.execute("SELECT key, version FROM effects ORDER BY key, version").fetchall()
        return [f"{key}{version}" for key, version in found]

    @property
    def versions(self) -> list[str]:
        return [f"{key}{version}" for key, version, _ in self.store.states() if version]

    @property
    def dead(self) -> dict[str, str]:
        return {f"{row.letter.key}{row.letter.version}": row.letter.detail for row in self.store.letters()}


def many(n: int) -> list[str]:
    """Events whose keys come before all others."""
    return [f"{chr(ord('a') + at)}1" for at in range(n)]


class Unspeakable(Exception):
    """Its message cannot be read."""

    def __str__(self) -> str:
        raise KeyError("no message")


@pytest.mark.parametrize("n", [1, MANY_FAILURES + 1])
def test_an_error_without_a_readable_message_undoes_what_its_handler_wrote(place: Place, n: int) -> None:
    def then(entry: Entry, tx: Any) -> None:
        if entry.key < "z":
            raise Unspeakable

    real = Real(place, then)
    bad = many(n)
    real.run(" ".join([*bad, "z1"]))
    assert real.effects == real.versions == ["z1"]
    assert list(real.dead) == bad


@pytest.mark.parametrize("n", [1, MANY_FAILURES + 1])
def test_a_failed_statement_that_a_handler_hides_is_the_failure_of_its_event_alone(place: Place, n: int) -> None:
    """On PostgreSQL it spoils the transaction; on SQLite it is undone by itself, and the handler may go on."""

    def then(entry: Entry, tx: Any) -> None:
        if entry.key == "y":
            with pytest.raises((psycopg.Error, sqlite3.Error)):
                tx.execute("SELECT * FROM no_such_table").fetchall()
        elif entry.key < "y":
            raise ValueError("no")

    real = Real(place, then)
    bad = many(n)
    real.run(" ".join([*bad, "y1", "z1"]))
    hidden = [] if place.mark == "?" else ["y1"]
    assert real.effects == real.versions == sorted({"y1", "z1"} - set(hidden))
    assert list(real.dead) == [*bad, *hidden]


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
@pytest.mark.parametrize("hides", [False, True])
@pytest.mark.parametrize("n", [0, 1, MANY_FAILURES + 1])
def test_a_statement_that_rolls_all_of_it_back_costs_no_other_event_its_effect(
    place: Place, n: int, hides: bool
) -> None:
    def then(entry: Entry, tx: Any) -> None:
        if "a" <= entry.key < "y":
            raise ValueError("no")
        if entry.key == "y":
            try:
                tx.execute("INSERT OR ROLLBACK INTO effects VALUES ('y', 1)")
            except sqlite3.IntegrityError:
                if not hides:
                    raise

    real = Real(place, then)
    bad = many(n)
    real.run(" ".join(["A1", *bad, "y1", "z1"]))
    assert real.effects == real.versions == ["A1", "z1"]
    assert list(real.dead) == [*bad, "y1"]


@pytest.mark.parametrize("n", [1, MANY_FAILURES + 1])
def test_an_error_of_another_database_is_no_outage_of_the_store(place: Place, tmp_path: Path, n: int) -> None:
    def then(entry: Entry, tx: Any) -> None:
        if entry.key < "z":
            if place.mark == "?":
                sqlite3.connect(tmp_path / "nowhere" / "other.db")
            raise psycopg.OperationalError("the other database is away")

    real = Real(place, then)
    bad = many(n)
    real.run(" ".join([*bad, "z1"]))
    assert real.effects == real.versions == ["z1"]
    assert list(real.dead) == bad


def test_a_handler_that_would_close_the_drivers_connection_has_failed(place: Place) -> None:
    def then(entry: Entry, tx: Any) -> None:
        if entry.key == "b":
            tx.connection.close()

    real = Real(place, then)
    real.run("a1 b1 c1")
    assert real.effects == real.versions == ["a1", "c1"]
    assert list(real.dead) == ["b1"]
    assert "ended by inorder" in real.dead["b1"]


def test_a_handler_that_fails_within_its_connections_own_block_has_failed_as_it_says(place: Place) -> None:
    def then(entry: Entry, tx: Any) -> None:
        if entry.key == "b":
            with tx.connection:
                raise ValueError("no")

    real = Real(place, then)
    real.run("a1 b1 c1")
    assert real.effects == real.versions == ["a1", "c1"]
    assert "ValueError: no" in real.dead["b1"]


@pytest.mark.postgres
@pytest.mark.parametrize("place", ["postgres"], indirect=True)
@pytest.mark.parametrize("n", [0, 1, MANY_FAILURES + 1])
def test_a_constraint_that_is_checked_at_the_commit_fails_the_event_that_breaks_it(place: Place, n: int) -> None:
    def then(entry: Entry, tx: Any) -> None:
        if entry.key < "x":
            raise ValueError("no")
        if entry.key < "z":
            tx.execute("INSERT INTO lines VALUES (5)")

    real = Real(place, then)
    with real.store.transaction() as tx:
        tx.execute("CREATE TABLE orders (id int PRIMARY KEY)")
        tx.execute("CREATE TABLE lines (id int REFERENCES orders DEFERRABLE INITIALLY DEFERRED)")
    bad = many(n)
    real.run(" ".join([*bad, "x1", "y1", "z1"]))
    assert real.effects == real.versions == ["z1"]
    assert list(real.dead) == [*bad, "x1", "y1"]
    assert "ForeignKeyViolation" in real.dead["y1"]


@pytest.mark.parametrize("statement", ["ROLLBACK", "COMMIT", "/* as\nhe likes */ -- it\n; rollback"])
def test_a_handler_that_would_end_the_transaction_on_the_drivers_connection_has_failed(
    place: Place, statement: str
) -> None:
    def then(entry: Entry, tx: Any) -> None:
        if entry.key == "b":
            tx.connection.execute(statement)

    real = Real(place, then)
    real.run("a1 b1 c1")
    assert real.effects == real.versions == ["a1", "c1"]
    assert list(real.dead) == ["b1"]


@pytest.mark.postgres
@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_an_error_at_the_commit_that_is_no_events_is_raised(place: Place) -> None:
    real = Real(place, lambda entry, tx: None)
    with real.store.transaction() as tx:
        tx.execute("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never'; END $$")
        schema = tx.execute("SELECT current_schema()").fetchone()[0]
        tx.execute(
            f"CREATE CONSTRAINT TRIGGER no AFTER INSERT ON {schema}.entities DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION no()"
        )
    with pytest.raises(psycopg.errors.RaiseException, match="never"):
        real.run("a1 b1")
    assert real.effects == real.versions == []


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
@pytest.mark.parametrize("n", [0, MANY_FAILURES + 1])
def test_a_full_disk_that_a_handler_hides_is_an_outage(place: Place, n: int) -> None:
    def then(entry: Entry, tx: Any) -> None:
        if entry.key < "y":
            raise ValueError("no")
        if entry.key == "y":
            with suppress(Exception):
                tx.execute("INSERT INTO large VALUES (zeroblob(1000000))")

    real = Real(place, then)
    with real.store.transaction() as tx:
        tx.execute("CREATE TABLE large (content BLOB)")
        tx.execute("PRAGMA max_page_count = 100")
    bad = many(n)
    with pytest.raises(Unreachable, match="is full"):
        real.run(" ".join([*bad, "y1", "z1"]))
    assert real.effects == real.versions == []
    assert real.dead == {}


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_table_that_a_handler_locks_itself_is_no_outage(place: Place) -> None:
    def then(entry: Entry, tx: Any) -> None:
        if entry.key == "b":
            rows = tx.execute("SELECT * FROM work")
            rows.fetchone()
            tx.execute("DROP TABLE work")

    real = Real(place, then)
    with real.store.transaction() as tx:
        tx.execute("CREATE TABLE work (n INTEGER)")
        tx.execute("INSERT INTO work VALUES (1), (2)")
    real.run("a1 b1 c1")
    assert real.effects == real.versions == ["a1", "c1"]
    assert list(real.dead) == ["b1"]


@pytest.mark.postgres
@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_what_a_function_calls_an_internal_error_is_the_failure_of_its_event(place: Place) -> None:
    """PostGIS does, of a geometry that it cannot read."""

    def then(entry: Entry, tx: Any) -> None:
        if entry.key == "b":
            tx.execute("SELECT parsed('POINT(')")

    real = Real(place, then)
    with real.store.transaction() as tx:
        tx.execute(
            "CREATE FUNCTION parsed(of text) RETURNS text LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'parse error - invalid geometry' USING ERRCODE = 'XX000'; END $$"
        )
    real.run("a1 b1 c1")
    assert real.effects == real.versions == ["a1", "c1"]
    assert list(real.dead) == ["b1"]
