"""`inorder state`: JSON Lines, sorted by key; never writes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import CONSUMERS, Command, events, expected, write_lines

STORE = ("--store", "sqlite:///inorder.db")


@pytest.fixture
def filled(inorder: Command, tmp_path: Path) -> None:
    """A store with one stream of twelve accounts."""
    file = write_lines(tmp_path / "events.jsonl", events(12, 3)[::-1])
    assert inorder("run", f"{CONSUMERS}:ledger", "--from", file, "--until-idle", 0.1).code == 0


@pytest.mark.usefixtures("filled")
def test_one_line_for_each_entity_sorted_by_key(inorder: Command) -> None:
    said = inorder("state", *STORE)
    assert said.out.splitlines()[0] == '{"key":"a00","version":3,"state":{"amounts":[101,102,103]}}'
    assert said.lines == expected(12, 3)
    assert inorder("state", *STORE, "--json").out == said.out


@pytest.mark.usefixtures("filled")
def test_one_entity_by_its_key(inorder: Command) -> None:
    assert inorder("state", *STORE, "a07").lines == [expected(12, 3)[7]]
    said = inorder("state", *STORE, "nobody")
    assert (said.code, said.out) == (3, "")
    assert said.err == "inorder: stream ledger has no entity 'nobody'\n"


@pytest.mark.usefixtures("filled")
def test_several_streams_need_a_name(inorder: Command, tmp_path: Path) -> None:
    inorder("run", f"{CONSUMERS}:noisy", "--from", tmp_path / "events.jsonl", "--until-idle", 0.1)
    said = inorder("state", *STORE)
    assert (said.code, said.out) == (2, "")
    assert said.err.endswith("add --stream with one of ledger, noisy\n")
    assert inorder("state", *STORE, "--stream", "ledger").lines == expected(12, 3)
    kept = inorder("state", *STORE, "--stream", "noisy").lines
    assert kept[0] == {"key": "a00", "version": 3, "state": None}
    unknown = inorder("state", *STORE, "--stream", "other")
    assert (unknown.code, unknown.out) == (3, "")
    assert unknown.err.endswith("has no stream 'other': it has ledger, noisy\n")


def test_a_store_that_is_not_there_is_not_created(inorder: Command, tmp_path: Path) -> None:
    said = inorder("state", *STORE)
    assert (said.code, said.out) == (3, "")
    assert said.err == "inorder: store inorder.db: there is no such file\n"
    assert list(tmp_path.iterdir()) == []


def test_another_programs_database_is_left_alone(inorder: Command, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "inorder.db") as theirs:
        theirs.execute("CREATE TABLE notes (text)")
    theirs.close()
    before = (tmp_path / "inorder.db").read_bytes()
    assert inorder("state", *STORE).code == 3
    assert (tmp_path / "inorder.db").read_bytes() == before


@pytest.mark.usefixtures("filled")
def test_keys_of_any_characters_stay_one_line_each(inorder: Command, tmp_path: Path) -> None:
    keys = ["é", "日本", 'quo"te', "new\nline", "\x1b[31m", "a b"]
    found = [{"id": f"x{key}", "account": key, "version": 1, "amount": 1} for key in keys]
    inorder("run", f"{CONSUMERS}:ledger", "--from", write_lines(tmp_path / "odd", found), "--until-idle", 0.1)
    said = inorder("state", *STORE)
    assert [row["key"] for row in said.lines] == sorted(keys + [row["key"] for row in expected(12, 3)])
    assert "\x1b" not in said.out
