"""What `tx.execute` gives on PostgreSQL is the answer to that statement, whatever is still to come for earlier ones."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from typing import Any

import psycopg
import pytest
from psycopg.abc import PQGen
from psycopg.pq import Format
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

from inorder.errors import InorderError
from inorder.stores.postgres.connections import TOGETHER
from inorder.stores.postgres.transaction import MOST_PARAMETERS
from tests.stores.making import opened

pytestmark = pytest.mark.postgres

TOO_MUCH = f"select array[{','.join(['%s'] * (MOST_PARAMETERS + 1))}]"
"""A statement of one parameter more than there can be."""


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


def test_statements_are_sent_several_at_a_time_until_somebody_asks(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    send = psycopg.Pipeline._communicate_gen

    def counted(pipeline: psycopg.Pipeline) -> PQGen[None]:
        sent.append(len(pipeline.result_queue))
        yield from send(pipeline)

    with closing(opened(url)) as store, store.transaction() as tx:
        tx.execute("create temp table posts (n int)")
        with tx.together():
            monkeypatch.setattr(psycopg.Pipeline, "_communicate_gen", counted)
            for n in range(2 * TOGETHER + 1):
                last = tx.execute("insert into posts values (%s)", [n])
            assert len(sent) == 2
            assert last.rowcount == 1
            assert len(sent) == 3
            assert tx.execute("select count(*) from posts").fetchone() == (2 * TOGETHER + 1,)


def test_an_error_of_a_statement_that_nobody_asks_about_is_raised_in_the_end(url: str) -> None:
    failing = pytest.raises(psycopg.errors.DivisionByZero)
    with closing(opened(url)) as store, failing, store.transaction() as tx, tx.together():
        tx.execute("select 1 / 0")
        tx.execute("select 1")


def test_an_error_that_is_known_before_the_end_is_raised_as_what_it_is(url: str) -> None:
    def fail(tx: Any) -> None:
        with tx.together():
            tx.execute("select 1 / 0")
            for _ in range(TOGETHER - 1):
                tx.execute("select 1")
            time.sleep(0.1)  # until the answer is here
            tx.execute("select 1")

    with closing(opened(url)) as store:
        with store.transaction() as tx:
            before = tx.execute("select pg_backend_pid()").fetchone()
        with pytest.raises(psycopg.errors.DivisionByZero), store.transaction() as tx:
            fail(tx)
        with store.transaction() as tx:
            assert tx.execute("select pg_backend_pid()").fetchone() == before, "the connection is as good as before"


@pytest.mark.parametrize("more", [0, TOGETHER])
def test_a_copy_by_execute_is_not_taken_for_a_lost_connection(url: str, more: int) -> None:
    def copy(tx: Any) -> None:
        tx.execute("create temp table posts (n int)")
        with tx.together():
            tx.execute("copy posts from stdin")
            for _ in range(more):
                tx.execute("select 1")

    with closing(opened(url)) as store, pytest.raises(psycopg.Error, match="COPY"), store.transaction() as tx:
        copy(tx)


def test_statements_that_fill_the_network_are_all_sent_before_a_savepoint_is_waited_for(url: str) -> None:
    found: list[Any] = []

    def work() -> None:
        with suppress(InorderError), store.transaction() as tx:
            tx.execute("create temp table posts (note text)")
            with tx.together():
                tx.execute("select pg_sleep(0.2)")
                for _ in range(TOGETHER - 4):
                    tx.execute("insert into posts values (%s)", ["x" * 2_000_000])
                with tx.savepoint():
                    tx.execute("insert into posts values ('')")
                found.append(tx.execute("select count(*) from posts").fetchone())

    with closing(opened(url)) as store:
        working = threading.Thread(target=work)
        working.start()
        working.join(20)
        if working.is_alive():
            store.abandon()
            working.join()
        assert found == [(TOGETHER - 3,)]


def test_many_executions_are_counted_to_the_last(url: str) -> None:
    with closing(opened(url)) as store, store.transaction() as tx:
        tx.execute("create temp table posts (n int)")
        cursor = tx.connection.cursor()
        with tx.together():
            for many in (TOGETHER - 11, 3 * TOGETHER):
                cursor.executemany("insert into posts values (%s)", [(n,) for n in range(many)])
                assert (cursor.rowcount, cursor.statusmessage) == (many, "INSERT 0 1")


@pytest.mark.parametrize("together", [False, True])
def test_too_many_parameters_are_an_error_of_the_handlers(url: str, together: bool) -> None:
    with closing(opened(url)) as store, store.transaction() as tx, tx.together() if together else nullcontext():
        with pytest.raises(psycopg.ProgrammingError, match="65,535"):
            tx.execute(TOO_MUCH, range(MOST_PARAMETERS + 1))
        assert tx.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("first", [0, 5])
def test_a_statement_that_is_not_even_sent_gets_nobody_elses_answer(url: str, first: int) -> None:
    with closing(opened(url)) as store, store.transaction() as tx, tx.together():
        connection = tx.connection
        kept = [connection.execute("select %s::int", [n]) for n in range(first)]
        with pytest.raises(psycopg.OperationalError, match="number of parameters"):
            connection.execute(TOO_MUCH, range(MOST_PARAMETERS + 1))
        kept += [connection.execute("select %s::int", [n]) for n in range(first, 10)]
        assert [result.fetchone() for result in kept] == [(n,) for n in range(10)]


def test_results_that_are_kept_are_each_their_own(url: str) -> None:
    with closing(opened(url)) as store, store.transaction() as tx, tx.together():
        kept = [tx.execute("select %s::int", [n]) for n in range(5)]
        tx.execute("select -1")
        assert [result.fetchone() for result in kept] == [(n,) for n in range(5)]


def test_cursors_are_used_again_once_nobody_holds_them(url: str) -> None:
    with closing(opened(url)) as store, store.transaction() as tx:
        first = tx.execute("select 1")
        second = tx.execute("select 2")
        assert second is not first
        assert first.fetchone() == (1,)
        same = weakref.ref(first)
        del first
        third = tx.execute("select 3")
        again = same()
        assert again is not None
        assert again is third
        assert (second.fetchone(), third.fetchone()) == ((2,), (3,))


def test_no_cursor_is_used_again_before_its_answer_is_in(url: str) -> None:
    with closing(opened(url)) as store, store.transaction() as tx, tx.together():
        unanswered = {id(tx.execute("select pg_sleep(0.05)")) for _ in range(3)}
        assert len(unanswered) == 3


def _closed(cursor: Any) -> None:
    cursor.close()


def _in_dictionaries(cursor: Any) -> None:
    cursor.row_factory = dict_row


def _by_many(cursor: Any) -> None:
    cursor.arraysize = 10


def _in_binary(cursor: Any) -> None:
    cursor.format = Format.BINARY


def _numbers_as_text(cursor: Any) -> None:
    cursor.adapters.register_loader("int4", TextLoader)


@pytest.mark.parametrize("change", [_closed, _in_dictionaries, _by_many, _in_binary, _numbers_as_text])
def test_what_a_handler_does_to_a_cursor_is_for_that_cursor_alone(url: str, change: Callable[[Any], None]) -> None:
    with closing(opened(url)) as store, store.transaction() as tx:
        for _ in range(3):
            change(tx.execute("select 1::int4 as n"))
        found = tx.execute("select 1::int4 as n")
        assert (found.format, found.arraysize, found.fetchall()) == (Format.TEXT, 1, [(1,)])


@pytest.mark.parametrize("through", ["cursor", "transaction"])
def test_what_a_handler_teaches_the_connection_is_for_all_cursors(url: str, through: str) -> None:
    with closing(opened(url)) as store, store.transaction() as tx:
        for _ in range(3):
            tx.execute("select 1::int4")
        connection = tx.connection if through == "transaction" else tx.execute("select 1::int4").connection
        connection.adapters.register_loader("int4", TextLoader)
        assert tx.execute("select 1::int4").fetchone() == ("1",)
