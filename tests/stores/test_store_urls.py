"""A URL of a store is read whole, or refused in one line: nothing of it is left out without a word."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

import inorder
from inorder.errors import NotFound
from inorder.stores.postgres.connections import address
from inorder.wiring import open_source, open_store
from tests.stores.making import line_of, opened, row, versions, write


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///a%00b.db", "names no file"),
        ("sqlite:///bank#1.db", "write %23"),
        ("postgresql://me:a#secret@server/bank", "write %23"),
        ("postgresql://[::1/bank", "is no URL"),
        ("postgresql://server/b%ffank", "not understood"),
        ("postgresql://server/bank?connect_timeout=long", "connect_timeout"),
        ("postgresql://server/bank?schema=pg_bank", "no pg_ in front"),
    ],
)
def test_a_url_that_cannot_be_what_was_meant_is_refused(url: str, says: str) -> None:
    with pytest.raises(inorder.UsageError, match=says) as refusal:
        open_store(url, "orders")
    assert "secret" not in line_of(refusal)


def test_a_source_is_not_cut_off_either() -> None:
    with pytest.raises(inorder.UsageError, match="write %23"):
        open_source("kafka://server/orders?sasl.password=a#b", "group")


def test_a_name_may_have_a_number_sign_that_is_written_as_it_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(opened("sqlite:///bank%231.db")) as store:
        write(store, [row("a", 0)])
        assert versions(store) == {"a": 1}
    assert (tmp_path / "bank#1.db").exists()


def test_a_file_whose_name_is_too_long_is_not_there() -> None:
    with pytest.raises(NotFound):
        open_store(f"sqlite:///{'x' * 1_000}", "orders", create=False)


def test_a_server_that_is_not_named_is_the_one_of_this_machine() -> None:
    given = conninfo_to_dict(address("postgresql:///bank?host=/var/run/postgresql&schema=here").conninfo)
    assert (given["host"], given["dbname"]) == ("/var/run/postgresql", "bank")
    assert "host" not in conninfo_to_dict(address("postgresql:///bank").conninfo)
