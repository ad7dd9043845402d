"""What PostgreSQL's own troubles look like: one line each, nothing lost or written twice, on again when they pass."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from inorder.core.event import Partition
from inorder.errors import InorderError, Mismatch, Unreachable, UsageError
from inorder.stores.postgres import PostgresStore, connections, store
from inorder.stores.postgres.weather import outage
from tests.stores.making import HERE, THERE, changes, held, line_of, opened, row, versions, write
from tests.worker.bench import until

pytestmark = pytest.mark.postgres


def test_several_options_of_the_servers_may_be_in_the_url(url: str) -> None:
    options = "options=-cenable_seqscan%3Doff%20-cenable_indexscan%3Doff"
    with closing(opened(f"{url}{'&' if '?' in url else '?'}{options}")) as made, made.transaction() as tx:
        assert [tx.execute(f"SHOW enable_{one}scan").fetchone() for one in ("seq", "index")] == [("off",), ("off",)]


def test_a_schema_that_has_tables_of_the_users_own_becomes_a_store(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA inorder")
        connection.execute("CREATE TABLE inorder.accounts (n integer)")
    with closing(opened(url)) as made:
        write(made, [row("a", 0)])
        assert versions(made) == {"a": 1}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"port": "1"}, "no connection"),
        ({"dbname": "no_such_database"}, "no_such_database"),
        ({"user": "nobody_of_that_name"}, "nobody_of_that_name"),
    ],
)
def test_a_server_that_does_not_answer_is_named(url: str, change: dict[str, str], says: str) -> None:
    given = psycopg.conninfo.conninfo_to_dict(url) | change | {"password": "secret"}
    wrong = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**given)
    with pytest.raises(Unreachable, match=says) as failure:
        PostgresStore(wrong, "orders")
    assert f"{given['host']}:{given['port']}" in line_of(failure)
    assert "secret" not in line_of(failure)


@pytest.mark.parametrize("query", ["schema=a-b", "schema=", 'schema="', "no_such_option=1"])
def test_a_wrong_url_is_refused(url: str, query: str) -> None:
    with pytest.raises(UsageError) as failure:
        PostgresStore(f"{url}?{query}", "orders")
    line_of(failure)


def test_a_schema_of_the_users_choice(url: str) -> None:
    with closing(opened(f"{url}?schema=Größe_1")) as one, closing(opened(url)) as two:
        write(one, [row("a", 0)])
        assert versions(two) == {}
        with psycopg.connect(url) as other:
            found = other.execute('SELECT key, state FROM "Größe_1".states').fetchall()
        assert found == [("a", {})]


def test_a_lock_that_lasts_is_an_outage(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LOCK_S", 1)
    with closing(opened(url)) as made, psycopg.connect(url) as other:
        write(made, [row("a", 0)])
        other.execute("UPDATE inorder.entities SET version = version")
        with pytest.raises(Unreachable, match="kept a lock") as failure:
            write(made, [row("a", 1)])
        line_of(failure)
        other.rollback()
        write(made, [row("a", 1)])


FULL = """
CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'could not extend file: no space left on device' USING ERRCODE = 'disk_full'; END $$
"""


@pytest.mark.parametrize(
    "when",
    [
        "TRIGGER no_space BEFORE INSERT ON inorder.entities",
        "CONSTRAINT TRIGGER no_space AFTER INSERT ON inorder.entities DEFERRABLE INITIALLY DEFERRED",
    ],
    ids=["while it writes", "at the commit"],
)
def test_a_full_disk_is_an_outage_and_leaves_nothing(url: str, when: str) -> None:
    with closing(opened(url)) as made, psycopg.connect(url, autocommit=True) as other:
        other.execute(FULL)
        other.execute(f"CREATE {when} FOR EACH ROW EXECUTE FUNCTION no_space()")
        with pytest.raises(Unreachable, match="its disk is full") as failure:
            write(made, [row("a", 0)], changes(held=[held("a", 5)]))
        line_of(failure)
        assert versions(made) == {}
        assert made.held("a", 10) == []
        other.execute("DROP TRIGGER no_space ON inorder.entities")
        write(made, [row("a", 0)], changes(held=[held("a", 5)]))
        assert versions(made) == {"a": 1}


def test_a_new_owner_waits_for_what_the_old_one_has_under_way(url: str) -> None:
    with closing(opened(url)) as old, closing(opened(url)) as new:
        fences = old.acquire([HERE, THERE])
        taken = threading.Thread(target=new.acquire, args=([HERE],))
        with old.transaction() as tx:
            tx.write([row("a", 0)], changes(), {HERE: fences[HERE]})
            assert new.acquire([THERE])[THERE] > fences[THERE], "that of another partition is free"
            taken.start()
            taken.join(0.5)
            assert taken.is_alive()
        taken.join()
        assert versions(new) == {"a": 1}


def test_an_old_owner_that_is_frozen_does_not_keep_its_partition(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LOCK_S", 1)
    monkeypatch.setattr(store, "LOCK_S", 1)
    with (
        closing(opened(url)) as old,
        closing(opened(url)) as new,
        psycopg.connect(url, application_name="dump") as dump,
    ):
        fences = old.acquire([HERE, THERE])
        dump.execute("SELECT * FROM inorder.fences WHERE partition = 1 FOR SHARE")
        thawed = threading.Event()

        def freeze(tx: Any) -> None:
            tx.write([row("a", 0)], changes(), fences)
            with new._link() as link:
                assert link.execute(new._sql["fence_breakers"], (3_600.0,)).fetchall() == [], "none stood still so long"
            taken = new.acquire([HERE])
            assert taken[HERE] > fences[HERE]
            thawed.set()

        with pytest.raises(Unreachable), old.transaction() as tx:
            freeze(tx)
        assert thawed.is_set()
        assert versions(new) == {}
        assert dump.execute("SELECT 1").fetchone() == (1,), "who is not of inorder's is let be"


def test_only_who_stands_still_is_ended(url: str) -> None:
    with closing(opened(url)) as made, psycopg.connect(url, application_name="inorder-at-work") as other:
        made.acquire([HERE])

        def standing() -> Any:
            with made._link() as link:
                return link.execute(made._sql["fence_breakers"], (-60.0,)).fetchall()

        other.execute("SELECT * FROM inorder.streams FOR SHARE")
        assert standing() == [], "that keeps nobody from a fence"
        other.execute("SELECT * FROM inorder.fences FOR SHARE")
        assert standing() == [("inorder-at-work",)]
        with ThreadPoolExecutor(1) as pool:
            asleep = pool.submit(other.execute, "SELECT pg_sleep(60)")
            until("its statement runs", lambda: standing() == [])
            other.cancel()
            assert isinstance(asleep.exception(), psycopg.errors.QueryCanceled)


def test_the_marks_of_commits_are_kept_for_a_week(url: str) -> None:
    with closing(opened(url)) as made, psycopg.connect(url, autocommit=True) as look:
        write(made, [row("a", 0)])
        with closing(opened(url)):
            assert look.execute("SELECT count(*) FROM inorder.commits").fetchone() == (1,)
        look.execute("UPDATE inorder.commits SET at = at - interval '8 days'")
        write(made, [row("a", 1)])
        with closing(opened(url)):
            assert look.execute("SELECT count(*) FROM inorder.commits").fetchone() == (1,), "it commits still"
        look.execute("UPDATE inorder.commits SET at = at - interval '8 days'")
        with closing(opened(url)):
            assert look.execute("SELECT count(*) FROM inorder.commits").fetchone() == (0,)


def test_transactions_in_each_others_way_are_worth_another_try(url: str) -> None:
    met = threading.Barrier(2)
    errors: list[BaseException] = []
    with closing(opened(url)) as made:
        with made.transaction() as tx:
            tx.execute("CREATE TABLE accounts (id int PRIMARY KEY, n int)")
            tx.execute("INSERT INTO accounts VALUES (1, 0), (2, 0)")

        def cross(first: int, second: int) -> None:
            try:
                with made.transaction() as tx:
                    tx.execute("UPDATE accounts SET n = n + 1 WHERE id = %s", (first,))
                    met.wait()
                    tx.execute("UPDATE accounts SET n = n + 1 WHERE id = %s", (second,))
            except InorderError as error:
                errors.append(error)

        threads = [threading.Thread(target=cross, args=order) for order in ((1, 2), (2, 1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [type(error).__mro__[1] for error in errors] == [Mismatch]
        assert "\n" not in str(errors[0])
        with made.transaction() as tx:
            assert tx.execute("SELECT n FROM accounts").fetchall() == [(1,), (1,)]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE inorder.entities RENAME COLUMN state TO condition",
        "ALTER TABLE inorder.entities ADD CHECK (revision < 2)",
        "DROP TABLE inorder.counts",
        "DROP TABLE inorder.entities CASCADE",
    ],
)
def test_a_table_that_was_altered_is_named(url: str, change: str) -> None:
    with closing(opened(url)) as made:
        write(made, [row("a", 0)], changes(counts={"applied": 1}))
        with psycopg.connect(url) as other:
            other.execute(change)
        with pytest.raises(Unreachable, match="its tables are not as inorder made them") as failure:
            write(made, [row("a", 1), row("b", 0)], changes(counts={"applied": 1}))
        line_of(failure)


def test_a_standby_is_told_from_a_wrong_table(url: str) -> None:
    opened(url).close()
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    with pytest.raises(Unreachable, match="only reads") as failure:
        opened(url)
    line_of(failure)


def test_a_handler_that_goes_on_after_a_failed_statement_does_not_commit(url: str) -> None:
    with closing(opened(url)) as made:

        def swallow(tx: Any) -> None:
            with pytest.raises(psycopg.errors.UndefinedTable):
                tx.execute("SELECT * FROM no_such_table")
            tx.write([row("a", 0)], changes(), {})

        with pytest.raises(psycopg.errors.InFailedSqlTransaction), made.transaction() as tx:
            swallow(tx)
        assert versions(made) == {}


def test_many_threads_write_at_once(url: str) -> None:
    with closing(opened(url)) as made:
        tally, fences = made.tally("w"), made.acquire([HERE])
        inside = threading.Barrier(6)

        def advance(number: int) -> None:
            for revision in range(5):
                with made.transaction() as tx:
                    what = changes(tally, counts={"applied": 1})
                    tx.write([row(f"k{number}", revision)], what, fences)
                    inside.wait(10)

        threads = [threading.Thread(target=advance, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert versions(made) == {f"k{number}": 5 for number in range(6)}
        assert made.counts() == {"applied": 30}


def test_a_handler_that_hides_a_failed_statement_is_told(url: str) -> None:
    def swallow(tx: Any) -> None:
        tx.execute("CREATE TABLE effects (n int)")
        with pytest.raises(psycopg.errors.UndefinedTable):
            tx.execute("SELECT * FROM no_such_table")

    with closing(opened(url)) as made:
        with pytest.raises(psycopg.errors.InFailedSqlTransaction), made.transaction() as tx:
            swallow(tx)
        with made.transaction() as tx:
            tx.execute("CREATE TABLE effects (n int)")


def test_fences_are_raised_in_one_order_so_that_no_two_wait_for_each_other(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [Partition("topic", number) for number in (2, 0, 1)]
    raised: list[Any] = []
    with closing(opened(url)) as made:
        run = connections.Link.run

        def told(link: Any, query: Any, params: Any = None, **more: Any) -> Any:
            if query == made._sql["fence_raise"]:
                raised.append(params[1:])
            return run(link, query, params, **more)

        monkeypatch.setattr(connections.Link, "run", told)
        assert set(made.acquire(places)) == set(places)
    assert raised == sorted(places)


REPEATABLE_READ = "options=-cdefault_transaction_isolation%3Drepeatable%5C%20read"


def until_waiting(server: psycopg.Connection[Any], many: int) -> None:
    """Until so many sessions wait for a lock."""
    count = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    until("they wait", lambda: server.execute(count).fetchone() == (many,))


def test_workers_begin_together_whatever_the_servers_isolation_is(url: str) -> None:
    def begin() -> dict[str, int]:
        with closing(opened(f"{url}?{REPEATABLE_READ}")) as made:
            return versions(made)

    with (
        psycopg.connect(url, autocommit=True) as server,
        psycopg.connect(url) as first,
        ThreadPoolExecutor(2) as others,
    ):
        first.execute("SELECT pg_advisory_xact_lock(hashtext('inorder schema inorder'))")
        begun = [others.submit(begin) for _ in range(2)]
        until_waiting(server, 2)
        first.commit()
        assert [one.result() for one in begun] == [{}, {}]


def test_fences_are_raised_one_after_the_other_whatever_the_servers_isolation_is(url: str) -> None:
    with (
        closing(opened(f"{url}?{REPEATABLE_READ}")) as made,
        psycopg.connect(url, autocommit=True) as server,
        psycopg.connect(url) as another,
        ThreadPoolExecutor(1) as worker,
    ):
        assert made.acquire([HERE]) == {HERE: 1}
        another.execute("UPDATE inorder.fences SET token = token + 1")
        raised = worker.submit(made.acquire, [HERE])
        until_waiting(server, 1)
        another.commit()
        assert raised.result() == {HERE: 3}


@pytest.fixture
def encoded(url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database in another encoding."""
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE encoded ENCODING '{request.param}' LOCALE 'C' TEMPLATE template0")
        yield urlsplit(url)._replace(path="/encoded").geturl()
        server.execute("DROP DATABASE encoded WITH (FORCE)")


@pytest.mark.parametrize("encoded", ["UTF8", "SQL_ASCII"], indirect=True)
@pytest.mark.parametrize("query", ["", "?client_encoding=latin1"])
def test_any_key_is_kept_as_it_is_whatever_the_connections_encoding(encoded: str, query: str) -> None:
    with closing(opened(encoded + query)) as made:
        write(made, [row("Größe 😀", 0)])
        assert versions(made) == {"Größe 😀": 1}
        assert list(made.load(["Größe 😀"])) == ["Größe 😀"]


@pytest.mark.parametrize("encoded", ["LATIN1"], indirect=True)
def test_a_database_that_cannot_keep_every_key_is_refused(encoded: str) -> None:
    with pytest.raises(UsageError, match="LATIN1") as refusal:
        opened(encoded)
    line_of(refusal)


def test_a_transaction_that_the_server_ends_for_its_length_is_an_outage(url: str) -> None:
    with closing(opened(url)) as made, pytest.raises(Unreachable) as failure, made.transaction() as tx:
        tx.execute("SELECT set_config('transaction_timeout', '50', true), pg_sleep(20)")
    assert "took too long" in line_of(failure)


@pytest.mark.parametrize("state", ["25P03", "25P04", "57P05"])
def test_a_connection_that_the_server_ends_for_its_time_is_an_outage(state: str) -> None:
    assert isinstance(outage(psycopg.errors.lookup(state)("terminating connection"), "here"), Unreachable)
