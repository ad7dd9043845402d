"""What `tx.execute` gives on PostgreSQL: a cursor of its own for whoever looks at it, a used one for who does not."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.stores.making import opened

pytestmark = pytest.mark.postgres


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As long as cursors were made for the user's statements."""
    made: list[int] = []
    make = psycopg.Connection.cursor

    def counted(self: psycopg.Connection, *args: object, **kwargs: object) -> object:
        made.append(1)
        return make(self, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(psycopg.Connection, "cursor", counted)
    return made


def test_results_that_nobody_looks_at_share_a_cursor(url: str, made: list[int]) -> None:
    with closing(opened(url)) as store, store.transaction() as tx:
        tx.execute("create temp table posts (n int)")
        made.clear()
        with tx.together():
            for n in range(100):
                tx.execute("insert into posts values (%s)", [n])
        assert not made
        assert tx.execute("select count(*), sum(n) from posts").fetchone() == (100, 4950)


def test_results_that_are_kept_are_each_their_own(url: str) -> None:
    with closing(opened(url)) as store, store.transaction() as tx:
        kept = [tx.execute("select %s::int", [n]) for n in range(5)]
        tx.execute("select -1")
        assert [result.fetchone() for result in kept] == [(n,) for n in range(5)]
        first, second = tx.execute("select 1 union all select 2 order by 1"), tx.execute("select 3")
        assert next(first) == (1,)
        assert list(second) == [(3,)]
        assert list(first) == [(2,)]


def test_what_is_set_on_a_result_or_closed_is_nobody_elses(url: str) -> None:
    with closing(opened(url)) as store, store.transaction() as tx:
        tx.execute("select 1 as one").row_factory = dict_row
        assert tx.execute("select 1 as one").fetchone() == (1,)
        with tx.execute("select 2") as cursor:
            assert cursor.fetchone() == (2,)
        assert cursor.closed
        result = tx.execute("select 3")
        assert result.rowcount == 1
        del result
        assert tx.execute("select 4").fetchone() == (4,)
        with pytest.raises(AttributeError):
            tx.execute("select 5").no_such_thing  # noqa: B018
