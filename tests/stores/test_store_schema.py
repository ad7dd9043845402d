"""What every store promises about the version of its tables. Each kind of store passes all of it."""

from __future__ import annotations

import importlib
import sqlite3

import psycopg
import pytest

from inorder.errors import NotFound, Unreachable, UsageError
from inorder.stores.letter_rows import PlanRow
from tests.stores.making import changes, held, letter, row, versions, write
from tests.stores.places import Place


def one_more_migration(place: Place, patch: pytest.MonkeyPatch) -> None:
    """As if this were the next release, with one table more."""
    opening = importlib.import_module(place.opening)
    known = opening.migrations
    patch.setattr(opening, "migrations", lambda package: (*known(package), place.extra))


def test_an_older_schema_is_brought_up_to_date(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    store = place.open()
    write(store, [row("a", 0)], changes(held=[held("a", 5)], letters=[letter(1)]))
    with monkeypatch.context() as patch:
        one_more_migration(place, patch)
        for _ in range(2):
            newer = place.open()
            with newer.transaction() as tx:
                tx.execute(f"INSERT INTO {place.extra_table} VALUES (1)")
    assert versions(newer) == {"a": 1}
    assert newer.held_count() == 1
    assert len(list(newer.letters())) == 1
    with newer.transaction() as tx:
        assert tx.execute(f"SELECT count(*) FROM {place.extra_table}").fetchone() == (2,)


def test_a_newer_schema_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        one_more_migration(place, patch)
        place.open()
    with pytest.raises(UsageError, match=r"its schema is version \d+, this inorder knows up to \d+:") as refusal:
        place.open()
    assert "\n" not in str(refusal.value)


def test_a_migration_that_fails_changes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.open()
    with monkeypatch.context() as patch:
        patch.setattr(place, "extra", place.extra + ";\nSELECT * FROM no_such_table;\n")
        one_more_migration(place, patch)
        with pytest.raises(Unreachable, match="no_such_table"):
            place.open()
    with place.open().transaction() as tx:
        tx.execute(place.extra)


def test_the_tables_refuse_what_cannot_be(place: Place) -> None:
    store, prefix = place.open(), place.audit_table.removesuffix("audit")
    write(store, what=changes(letters=[letter(1)]))
    for wrong in (
        f"UPDATE {prefix}letters SET status = 'gone'",
        f"INSERT INTO {prefix}streams (name, \"order\", baseline) VALUES ('orders', 'strict', 0)",
        f"INSERT INTO {prefix}plan_letters (plan, place, letter) VALUES (1, 1, 1), (1, 2, 1)",
        f"INSERT INTO {prefix}plan_letters (plan, place, letter) VALUES (1, 1, 1), (1, 1, 2)",
    ):
        with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)), store.transaction() as tx:
            tx.execute(wrong)


@pytest.mark.parametrize("table", ["letters", "edits", "plans", "tallies"])
def test_a_number_is_given_once(place: Place, table: str) -> None:
    """Whoever deletes rows leaves their numbers in logs and in the audit. They never name anything else."""
    store = place.open()
    plan = PlanRow(handler="h", code_version=None, made_at=5.0, actor="ann", reason="", selection={})

    def made() -> int:
        with store.transaction() as tx:
            match table:
                case "letters":
                    assert tx.import_letter(letter(1), 1)
                case "edits":
                    return int(tx.add_edit(1, b"{}", "ann", "", 5.0))
                case "plans":
                    return int(tx.add_plan(plan, []))
        return int(store.tally("worker") if table == "tallies" else next(store.letters()).id)

    first = made()
    with store.transaction() as tx:
        tx.execute(f"DELETE FROM {place.audit_table.removesuffix('audit')}{table}")
    assert made() > first


def test_a_look_makes_no_store(place: Place) -> None:
    with pytest.raises(NotFound, match="there is no"):
        place.look(create=False)
    place.open()
    assert list(place.look(create=False).states()) == []


def test_a_look_declares_nothing(place: Place) -> None:
    write(place.open(), [row("a", 0)])
    look = place.look("unknown")
    assert list(look.states()) == []
    assert look.counts() == {}
    assert [stream.name for stream in place.look("").streams()] == ["orders"]
