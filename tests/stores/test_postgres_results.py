"""What `tx.execute` gives on PostgreSQL is the answer to that statement, whatever is still to come for earlier ones."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from tests.stores.making import opened

pytestmark = pytest.mark.postgres


def test_an_answer_is_never_that_of_an_earlier_statement(url: str) -> None:
    with closing(opened(url)) as store, store.transaction() as tx:
        tx.execute("create temp table posts (n int, note text)")
        with tx.together():
            for n in range(10):
                # Answers that nobody looks at, long enough for the server to send some of them early.
                for _ in range(40):
                    tx.execute("insert into posts values (%s, %s) returning -1, note", [n, "x" * 500])
                time.sleep(0.005)
                assert tx.execute("select %s::int", [n]).fetchone() == (n,)
                assert tx.execute("update posts set n = n where n = %s", [-1]).rowcount == 0


def test_results_that_are_kept_are_each_their_own(url: str) -> None:
    with closing(opened(url)) as store, store.transaction() as tx, tx.together():
        kept = [tx.execute("select %s::int", [n]) for n in range(5)]
        tx.execute("select -1")
        assert [result.fetchone() for result in kept] == [(n,) for n in range(5)]
