"""What a doctor finds in stores, producers' files and the embedded broker, and what it says when it cannot look."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException

import inorder
from inorder.core.partitioner import partition_for
from inorder.doctor import examining, kafka_facts, postgres_facts, sqlite_facts
from inorder.doctor.facts import Sampled
from inorder.doctor.placement import consistent, judge
from inorder.doctor.producer_file import read_producer
from inorder.doctor.table import RUNBOOK, TABLE, Check, as_markdown
from inorder.sources.embedded import EmbeddedBroker, Message
from inorder.stores.sqlite import opening
from tests.doctor.conftest import Examine, Topic
from tests.services import Postgres
from tests.worker.bench import until


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A topic of the embedded broker, with nothing wrong."""
    url = f"embedded://{tmp_path}/broker.db/entries"
    with inorder.Producer(f"{url}?partitions=4") as producer:
        for number in range(30):
            producer.send(f"key-{number}", {"account": f"key-{number}", "version": 1, "amount": 1})
    return url


@inorder.fold(key="account", version="version")
def balance(total: int | None, entry: dict[str, Any]) -> int:
    return (total or 0) + int(entry["amount"])


# producers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("enable.idempotence=true\npartitioner=murmur2_random\nmax.in.flight=5", []),
        ("key.serializer=S\nacks=all", []),
        ('{"enable.idempotence": true, "partitioner": "murmur2", "max.in.flight": 1}', []),
        ("enable.idempotence=true\npartitioner=murmur2_random", []),
        ("# a comment\nlinger.ms=5", ["producer-idempotence", "producer-in-flight", "producer-partitioner"]),
        (
            "acks=1\nmax.in.flight=1\npartitioner=murmur2\nenable.idempotence=false",
            ["producer-acks", "producer-idempotence"],
        ),
        ("key.serializer=S\nacks=1", ["producer-acks", "producer-idempotence", "producer-in-flight"]),
        ("key.serializer=S\nmax.in.flight.requests.per.connection=9", ["producer-idempotence", "producer-in-flight"]),
        ("enable.idempotence=true\npartitioner=murmur2\nmax.in.flight=5\nretries=3", ["producer-retries"]),
        ("key.serializer=S\npartitioner.class=com.bank.ByRegion", ["producer-partitioner"]),
        ("key.serializer=S\npartitioner.ignore.keys=true", ["producer-partitioner"]),
    ],
)
def test_the_configuration_of_a_producer(
    source: str, examine: Examine, tmp_path: Path, text: str, found: list[str]
) -> None:
    (tmp_path / "producer").write_text(text)
    assert examine(source, "--producer", tmp_path / "producer")["found"] == found


@pytest.mark.parametrize(
    ("text", "says"), [("acks", "line 1: 'acks' is no name=value"), ("{", "truncated"), (None, "read")]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "producer").write_text(text)
    with pytest.raises(inorder.UsageError, match=says):
        read_producer(str(tmp_path / "producer"))


# stores


@pytest.fixture
def sqlite_store(source: str, tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/store.db"
    inorder.run(balance, source=source, store=url, until_idle_s=0.1)
    return url


def test_a_good_sqlite_store(source: str, sqlite_store: str, examine: Examine) -> None:
    found = examine(source, "--store", sqlite_store)
    assert found["findings"] == []
    assert {"store-durability", "store-place", "clock-skew-store"} <= set(found["passed"])


def test_a_sqlite_store_without_its_log(source: str, sqlite_store: str, examine: Examine, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    for _ in range(2):  # it looks, and mends nothing
        found = examine(source, "--store", sqlite_store)
        assert found["found"] == ["store-durability"]
        assert "journal_mode=delete" in found["findings"][0]["what"]


def test_sqlite_connections_that_do_not_wait_for_the_disk(
    source: str, sqlite_store: str, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = opening.open_file

    def careless(path: str, create: bool = True) -> sqlite3.Connection:
        connection = real(path, create)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    monkeypatch.setattr(opening, "open_file", careless)
    assert "synchronous=normal" in examine(source, "--store", sqlite_store)["findings"][0]["what"]


@pytest.mark.parametrize(("kind", "says"), [("nfs4", "network file system"), ("tmpfs", "in memory")])
def test_a_sqlite_store_in_the_wrong_place(
    source: str,
    sqlite_store: str,
    examine: Examine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    says: str,
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} {kind} rw 0 0\nproc /proc proc rw 0 0\n")
    monkeypatch.setattr(sqlite_facts, "MOUNTS", mounts)
    found = examine(source, "--store", sqlite_store)
    assert found["found"] == ["store-place"]
    assert says in found["findings"][0]["what"]


def test_a_good_postgresql_store(source: str, postgres_url: str, examine: Examine) -> None:
    assert examine(source, "--store", postgres_url)["findings"] == [], "before its first run"
    inorder.run(balance, source=source, store=postgres_url, until_idle_s=0.1)
    assert examine(source, "--store", postgres_url)["findings"] == []


def test_postgresql_sessions_that_do_not_wait_for_the_disk(source: str, postgres_url: str, examine: Examine) -> None:
    found = examine(source, "--store", f"{postgres_url}?options=-csynchronous_commit%3Doff")
    assert found["found"] == ["store-durability"]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET synchronous_commit = off")
    assert "synchronous_commit=off" in examine(source, "--store", postgres_url)["findings"][0]["what"]


@pytest.mark.postgres
def test_a_postgresql_server_that_does_not_wait_for_the_disk(source: str, examine: Examine) -> None:
    """A server of its own: what is set here goes for everybody who uses it."""
    with Postgres() as server, psycopg.connect(server.url, autocommit=True) as connection:
        url = server.fresh_database()

        def is_now(setting: str, value: str) -> bool:
            return connection.execute(f"SELECT current_setting('{setting}')").fetchone() == (value,)

        for setting in ("fsync", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")
            until("it is off", lambda setting=setting: is_now(setting, "off"))  # type: ignore[misc]
            found = examine(source, "--store", url)
            assert [finding["what"].partition(" in ")[0] for finding in found["findings"]] == [f"{setting}=off"]
            connection.execute(f"ALTER SYSTEM RESET {setting}")
            connection.execute("SELECT pg_reload_conf()")
            until("it is on", lambda setting=setting: is_now(setting, "on"))  # type: ignore[misc]


@pytest.mark.parametrize(("skew_s", "says"), [(-60, "ahead of"), (60, "behind")])
def test_a_clock_that_is_not_the_databases(
    source: str, postgres_url: str, examine: Examine, monkeypatch: pytest.MonkeyPatch, skew_s: float, says: str
) -> None:
    class Wrong:
        @staticmethod
        def time() -> float:
            return time.time() + skew_s

    monkeypatch.setattr(postgres_facts, "time", Wrong)
    found = examine(source, "--store", postgres_url)
    assert found["found"] == ["clock-skew-store"]
    assert f"60 s {says}" in found["findings"][0]["what"]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_letters_that_are_older_than_what_the_topic_keeps(
    topic: Topic, examine: Examine, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    url = topic(records=False, retention_ms=4 * 86_400_000)
    store = f"sqlite:///{tmp_path}/store.db" if kind == "sqlite" else str(request.getfixturevalue("postgres_url"))
    with inorder.Producer(url) as producer:
        producer.send("A", b"not JSON").result(20)
    inorder.run(balance, source=url, store=store, until_idle_s=0.3)
    assert examine(url, "--store", store)["findings"] == []
    age = "UPDATE {}letters SET first_at = first_at - 5 * 86400"
    if kind == "sqlite":
        with closing(sqlite3.connect(tmp_path / "store.db")) as connection, connection:
            connection.execute(age.format("inorder_"))
    else:
        with psycopg.connect(store) as link:
            link.execute(age.format("inorder."))
    found = examine(url, "--store", store)
    assert found["found"] == ["retention"]
    assert "has been open for 5 days" in found["findings"][0]["what"]


def test_a_store_that_is_not_there(source: str, tmp_path: Path) -> None:
    with pytest.raises(inorder.Unreachable, match="there is no such file"):
        examining.examine(source, f"sqlite:///{tmp_path}/nowhere.db")
    assert not (tmp_path / "nowhere.db").exists()


# the embedded broker


def test_a_good_embedded_broker(source: str, examine: Examine) -> None:
    assert examine(source)["findings"] == []


def test_an_embedded_topic_that_has_grown(source: str, examine: Examine, tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "broker.db")
    broker.grow("entries", 9)
    broker.close()
    assert examine(source)["found"] == ["partition-growth"]


def test_embedded_records_in_partitions_of_the_users_choice(source: str, examine: Examine, tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "broker.db")
    broker.append_many("entries", [Message(b"key-%d" % n, b"{}", partition=3 - n % 4) for n in range(40)])
    broker.close()
    assert examine(source)["found"] == ["partitioner-mismatch"]


# what cannot be decided


def test_without_the_right_to_ask_checks_are_unknown_and_not_passed(
    topic: Topic, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise KafkaException(KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED))

    monkeypatch.setattr(kafka_facts, "_describe", refuse)
    found = examine(topic(records=False))
    assert found["code"] == 5
    assert {"replication", "retention", "compaction"} <= set(found["unknown"])
    assert not set(found["unknown"]) & set(found["passed"])


def test_a_check_that_fails_has_not_passed(source: str, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(topic: object) -> list[str]:
        raise KeyError("no such setting")

    monkeypatch.setattr(examining, "TABLE", (Check("broken", broken, "", ""),))
    assert examine(source)["unknown"] == {"broken": "KeyError: 'no such setting'"}


# placement


def sampled(place: Callable[[bytes, int], int], partitions: int, count: int = 50) -> list[Sampled]:
    keys = [b"key-%d" % number for number in range(count)]
    return [Sampled(place(key, partitions), offset, key, None) for offset, key in enumerate(keys)]


@pytest.mark.parametrize("before", [1, 2, 3, 5])
def test_growth_is_told_from_another_partitioner(before: int) -> None:
    records = sampled(partition_for, before) + sampled(partition_for, 8)
    assert judge(records, 8).grown_from == before
    assert judge(sampled(consistent, 8), 8).grown_from is None
    assert judge(sampled(partition_for, 8), 8).elsewhere == 0


def test_one_record_elsewhere_names_no_cause() -> None:
    found = judge([Sampled(3, 0, b"key-0", None)], 8)
    assert (found.elsewhere, found.grown_from) == (1, None)


# the table


def test_the_runbook_has_a_section_for_every_check() -> None:
    """Run `python -m inorder.doctor.table` and put what it prints between the marks."""
    text = (Path(__file__).parents[2] / RUNBOOK).read_text()
    assert text.partition("<!-- checks -->\n")[2].partition("<!-- end of checks -->")[0] == as_markdown()


def test_every_check_says_why_and_how_and_has_a_name_of_its_own() -> None:
    assert len({check.name for check in TABLE}) == len(TABLE) == len({check.look for check in TABLE})
    assert all(check.why and check.fix and check.needs for check in TABLE)
