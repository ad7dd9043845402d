"""A relay publishes exactly the committed events, each key in its order, with others beside it and after any crash."""

from __future__ import annotations

import itertools
import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

import inorder
from inorder.cli import main
from inorder.errors import Mismatch, Unreachable
from inorder.producing import relay as module
from inorder.producing.outbox_tables import LANES, OutboxTables
from inorder.producing.relay import Relay
from inorder.sources import embedded_url
from inorder.wiring import open_outbox
from tests.producing.databases import Database, Postgres
from tests.producing.fake import FakeChannel
from tests.producing.reading import read_topic

Published = dict[str, list[int]]


def add(database: Database, *pairs: tuple[str, int]) -> None:
    """So many events of each key, a transaction each."""
    outbox = inorder.Outbox(database.url)
    for key, count in pairs:
        for _ in range(count):
            with database.transaction() as connection:
                outbox.add(connection, key, {"account": key, "amount": 1})


def published(url: str) -> Published:
    """What the topic has, partition by partition: the versions of each key in their order."""
    path = embedded_url.parse(url, known=("partitions",)).path
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT value FROM record ORDER BY position").fetchall()
    found: Published = {}
    for (value,) in rows:
        event = json.loads(value)
        found.setdefault(event["account"], []).append(event["version"])
    return found


def first_appearances(found: Published) -> Published:
    return {key: list(dict.fromkeys(versions)) for key, versions in found.items()}


@contextmanager
def relays(database: Database, to: str, count: int) -> Iterator[list[Relay]]:
    """So many relays at work."""
    made = [Relay(database.url, to) for _ in range(count)]
    threads = [threading.Thread(target=one.run) for one in made]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        for one in made:
            one.stop()
        for thread in threads:
            thread.join(20)


def until(condition: Callable[[], bool], patience_s: float = 20) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_committed_is_published_in_the_order_of_versions_and_removed(database: Database, embedded: str) -> None:
    add(database, ("A", 3), ("B", 2), ("A", 2))
    report = Relay(database.url, embedded).run(until_idle_s=0.1)
    assert (report.published, report.unsent, report.stopped) == (7, 0, {})
    assert published(embedded) == {"A": [1, 2, 3, 4, 5], "B": [1, 2]}
    assert database.events() == []
    add(database, ("A", 1))
    assert Relay(database.url, embedded).run(until_idle_s=0.1).published == 1
    assert published(embedded)["A"] == [1, 2, 3, 4, 5, 6]


def test_published_events_are_kept_for_as_long_as_asked(
    database: Database, embedded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXPIRE_EVERY_S", 0.0)
    add(database, ("A", 3))
    assert Relay(database.url, embedded, keep_days=1).run(until_idle_s=0.1).published == 3
    assert len(database.events()) == 3
    assert Relay(database.url, embedded, keep_days=1).run(until_idle_s=0.1).published == 0
    Relay(database.url, embedded, keep_days=0.1 / module.DAY_S).run(until_idle_s=0.5)
    assert database.events() == []
    assert published(embedded) == {"A": [1, 2, 3]}


def test_several_relays_beside_many_writers_publish_each_committed_event_once(
    database: Database, embedded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE_S", 3.0)  # long enough for a busy machine: no relay is taken for dead
    committed: dict[str, int] = dict.fromkeys("ABCDEFGH", 0)
    lock = threading.Lock()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        outbox = inorder.Outbox(database.url)
        for _ in range(25):
            keys = sorted(chance.sample("ABCDEFGH", 2))
            try:
                with database.transaction() as connection:
                    for key in keys:
                        outbox.add(connection, key, {"account": key})
                        time.sleep(chance.random() * 0.004)
                    if chance.random() < 0.2:
                        raise InterruptedError
            except InterruptedError:
                continue
            with lock:
                for key in keys:
                    committed[key] += 1

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    tables: OutboxTables = open_outbox(database.url, "outbox")
    with relays(database, embedded, 3):
        for thread in writers:
            thread.start()
        for thread in writers:
            thread.join(60)
        until(lambda: tables.unsent_count() == 0)
        until(lambda: sorted(Counter(dict(tables.run("leases", "outbox")).values()).values()) == [20, 22, 22])
    tables.close()
    assert published(embedded) == {key: list(range(1, count + 1)) for key, count in committed.items()}


def test_lanes_of_a_relay_that_died_are_taken_over_and_those_of_one_that_left_at_once(
    database: Database, embedded: str, quick_leases: None
) -> None:
    tables: OutboxTables = open_outbox(database.url, "outbox")
    assert len(tables.renew("dead", 0.5, may_release=True)) == LANES
    add(database, ("A", 2))
    began = time.monotonic()
    with relays(database, embedded, 1):
        until(lambda: tables.unsent_count() == 0)
    assert time.monotonic() - began > 0.3
    assert len(tables.renew("next", 0.5, may_release=True)) == LANES
    tables.close()


def test_a_relay_that_comes_later_gets_its_share(database: Database) -> None:
    tables: OutboxTables = open_outbox(database.url, "outbox")
    assert len(tables.renew("first", 60, may_release=True)) == LANES
    assert tables.renew("second", 60, may_release=True) == []
    assert len(tables.renew("first", 60, may_release=False)) == LANES
    kept = tables.renew("first", 60, may_release=True)
    taken = tables.renew("second", 60, may_release=True)
    assert (len(kept), len(taken), sorted(kept + taken)) == (LANES // 2, LANES // 2, list(range(LANES)))
    tables.close()


def test_a_key_that_is_not_taken_rests_and_goes_on_with_the_same_event(
    database: Database, broker: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.3)
    outbox = inorder.Outbox(database.url)
    with database.transaction() as connection:
        for key, value in (("A", b"bad"), ("B", b"b1"), ("A", b"a2"), ("B", b"b2")):
            outbox.add(connection, key, value)
    broker.refused.add(b"bad")
    report = Relay(database.url, "fake://").run(until_idle_s=0.1)
    assert (report.published, report.unsent) == (2, 2)
    assert list(report.stopped) == ["A"]
    assert "MSG_SIZE_TOO_LARGE" in report.stopped["A"]
    broker.refused.clear()
    Relay(database.url, "fake://").run(until_idle_s=0.1)
    assert broker.values(b"A") == [b"bad", b"a2"]
    ids = [dict(headers)["inorder-id"] for key, _, headers in broker.log if key == b"A"]
    assert ids == [b"A-1", b"A-2"]


def test_a_resting_key_is_tried_again_by_the_same_relay(
    database: Database, broker: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.1)
    outbox = inorder.Outbox(database.url)
    with database.transaction() as connection:
        outbox.add(connection, "A", b"bad")
    broker.refused.add(b"bad")
    threading.Timer(0.3, broker.refused.clear).start()
    report = Relay(database.url, "fake://").run(until_idle_s=0.5)
    assert (report.published, report.unsent, report.stopped) == (1, 0, {})


def test_what_was_published_and_could_not_be_marked_is_marked_later(
    database: Database, embedded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(database, ("A", 3))
    working = Relay(database.url, embedded)
    real, fails = working._tables.sent, [True]

    def sent(numbers: Any, keep: bool) -> None:
        if fails:
            fails.pop()
            raise Unreachable("the database is away")
        real(numbers, keep)

    monkeypatch.setattr(working._tables, "sent", sent)
    assert working.run(until_idle_s=0.1).published == 3
    assert published(embedded) == {"A": [1, 2, 3]}
    assert database.events() == []


def test_leases_that_cannot_be_renewed_for_a_moment_end_no_relay(
    database: Database, broker: FakeChannel, quick_leases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(database, ("A", 3))
    broker.silent = True
    working = Relay(database.url, "fake://")
    real, asked = working._tables.renew, itertools.count(1)

    def renew(*arguments: Any) -> list[int]:
        if next(asked) == 2:
            broker.silent = False
            raise Mismatch(())
        return real(*arguments)

    monkeypatch.setattr(working._tables, "renew", renew)
    report = working.run(until_idle_s=0.1)
    assert (report.published, report.unsent) == (3, 0)
    assert len(broker.values(b"A")) == 3


def test_a_relay_outlives_its_connection(postgres_url: str, embedded: str) -> None:
    database = Postgres.at(postgres_url)
    add(database, ("A", 2))
    tables: OutboxTables = open_outbox(postgres_url, "outbox")
    with relays(database, embedded, 1):
        until(lambda: tables.unsent_count() == 0)
        with psycopg.connect(postgres_url) as link:
            others = "pid <> pg_backend_pid() AND datname = current_database()"
            link.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        add(database, ("A", 2))
        tables = open_outbox(postgres_url, "outbox")
        until(lambda: tables.unsent_count() == 0)
        tables.close()
    assert first_appearances(published(embedded)) == {"A": [1, 2, 3, 4]}


def test_an_outbox_in_a_schema_of_the_users_choice(postgres_url: str, embedded: str) -> None:
    url = f"{postgres_url}?schema=bank"
    outbox = inorder.Outbox(url)
    outbox.prepare()
    with psycopg.connect(postgres_url) as connection:
        outbox.add(connection, "A", {"account": "A"})
    assert Relay(url, embedded).run(until_idle_s=0.1).published == 1


def test_killed_at_any_moment_a_relay_loses_nothing_and_changes_no_order(database: Database, embedded: str) -> None:
    outbox = inorder.Outbox(database.url)
    with database.transaction() as connection:
        for version in range(600):
            for key in "ABCD":
                outbox.add(connection, key, {"account": key, "n": version})
    program = (
        "import sys\n"
        "from inorder.producing import relay\n"
        "relay.BATCH = 40\n"
        "from inorder.cli import main\n"
        f"sys.exit(main(['relay', '--store', {database.url!r}, '--to', {embedded!r}]))"
    )
    tables: OutboxTables = open_outbox(database.url, "outbox")
    for goal, pause_s in ((2400, 0.0), (1200, 0.02)):
        process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
        until(lambda below=goal: tables.unsent_count() < below)  # type: ignore[misc]
        time.sleep(pause_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for name in [relay for _, relay in tables.run("leases", "outbox")]:
            tables.leave(name)
    Relay(database.url, embedded).run(until_idle_s=0.1)
    tables.close()
    assert first_appearances(published(embedded)) == {key: list(range(1, 601)) for key in "ABCD"}
    assert database.events() == []


def test_the_command_publishes_and_says_what_it_did(
    database: Database, embedded: str, capsys: pytest.CaptureFixture[str]
) -> None:
    add(database, ("A", 3))
    assert main(["relay", "--store", database.url, "--to", embedded, "--until-idle", "0.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"published": 3, "unsent": 0, "stopped": {}}
    assert main(["relay", "--store", database.url, "--to", embedded, "--until-idle", "0.1"]) == 0
    assert capsys.readouterr().out == "0 published, 0 not published\n"


def test_the_command_says_what_was_not_taken(
    database: Database, broker: FakeChannel, embedded: str, capsys: pytest.CaptureFixture[str]
) -> None:
    add(database, ("A", 1))
    broker.refused.add(b'{"account":"A","amount":1,"version":1,"id":"A-1"}')
    assert main(["relay", "--store", database.url, "--to", embedded, "--until-idle", "0.1"]) == 5
    assert "A: MSG_SIZE_TOO_LARGE" in capsys.readouterr().out


def test_the_command_prints_nothing_that_would_disturb_a_terminal(
    database: Database, broker: FakeChannel, embedded: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outbox = inorder.Outbox(database.url)
    with database.transaction() as connection:
        outbox.add(connection, "\x1b[31mred", b"bad")
    broker.refused.add(b"bad")
    assert main(["relay", "--store", database.url, "--to", embedded, "--until-idle", "0.1"]) == 5
    assert "\\x1b[31mred: MSG_SIZE_TOO_LARGE" in capsys.readouterr().out


def test_the_command_says_that_it_does_not_know_how_much_is_left(
    database: Database, embedded: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(tables: OutboxTables) -> int:
        raise Unreachable("the database is away")

    add(database, ("A", 3))
    monkeypatch.setattr(OutboxTables, "unsent_count", away)
    assert main(["relay", "--store", database.url, "--to", embedded, "--until-idle", "0.1"]) == 0
    assert capsys.readouterr().out.startswith("3 published, how many are not is not known")


def test_an_outbox_that_never_had_an_event_is_named(
    database: Database, embedded: str, caplog: pytest.LogCaptureFixture
) -> None:
    add(database, ("A", 1))
    for name, named in (("outbox", False), ("outbax", True), ("outbox", False)):
        caplog.clear()
        Relay(database.url, embedded, outbox=name).run(until_idle_s=0.1)
        assert (f"outbox {name} of " in caplog.text and "has had no event yet" in caplog.text) is named


def test_a_file_that_is_not_there_is_not_made(
    tmp_path: Path, embedded: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("bnak.db", "nowhere/bank.db"):
        assert main(["relay", "--store", f"sqlite:///{tmp_path}/{name}", "--to", embedded]) == 3
        [line] = capsys.readouterr().err.splitlines()
        assert f"{name}: there is no such file: " in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sigterm_ends_the_command_cleanly(database: Database, embedded: str) -> None:
    add(database, ("A", 2))
    command = [sys.executable, "-m", "inorder.cli", "relay", "--store", database.url, "--to", embedded, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    tables: OutboxTables = open_outbox(database.url, "outbox")
    until(lambda: tables.unsent_count() == 0)
    process.terminate()
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, json.loads(out)["published"]) == (0, 2)
    assert tables.run("leases", "outbox") == []
    tables.close()


def test_from_postgresql_through_kafka_to_the_right_state(topic: Callable[..., str], postgres_url: str) -> None:
    outbox = inorder.Outbox(postgres_url)
    outbox.prepare()
    url = topic(partitions=3)

    @inorder.fold(key="account", version="version", id="id")
    def total(so_far: int | None, entry: dict[str, Any]) -> int:
        return (so_far or 0) * 2 + int(entry["amount"])

    for number in range(1, 21):
        with psycopg.connect(postgres_url) as connection:
            for key in ("A", "B"):
                outbox.add(connection, key, {"account": key, "amount": number})
    assert Relay(postgres_url, url).run(until_idle_s=0.1).published == 40
    assert len(read_topic(url)) == 40
    report = inorder.run(total, source=url, store=postgres_url, until_idle_s=0.5)
    assert (report.outcomes["applied"], report.held_now) == (40, 0)
