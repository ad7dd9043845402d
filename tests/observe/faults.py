"""The faults that the alerts are for: how each is planted into a live `inorder run --metrics`."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg import sql

from inorder.core.event import Partition
from inorder.core.order import Order
from inorder.sources.embedded_broker import EmbeddedBroker, Message
from inorder.wiring import open_store
from tests.cli.conftest import Command, events
from tests.cli.process import Running
from tests.observe.consumers import BAD
from tests.observe.scraping import await_

CONSUMERS = Path(__file__).with_name("consumers.py")
PARTITIONS = 4
LONG_AGO_S = 600.0


class Site:
    """One run, with a topic and a store of its own."""

    def __init__(self, folder: Path, fault: Fault, store: str | None) -> None:
        self.folder = folder
        self.broker = folder / "broker.db"
        self.store = store or f"sqlite:///{folder}/store.db"
        broker = EmbeddedBroker(self.broker)
        broker.create_topic("t", PARTITIONS)
        broker.close()
        self.run = Running(
            folder,
            "run",
            f"{CONSUMERS}:{fault.consumer}",
            *("--from", f"embedded://{self.broker}/t?session_timeout_s={fault.session_s}"),
            *("--store", self.store, "--workers", fault.workers, "--metrics", 0),
        )

    def send(self, found: list[dict[str, Any]], ago_s: float = 0.0) -> None:
        """Append these to the topic, as written some time ago."""
        at = int((time.time() - ago_s) * 1000)
        broker = EmbeddedBroker(self.broker)
        messages = [Message(one["account"].encode(), msgspec.json.encode(one), timestamp_ms=at) for one in found]
        broker.append_many("t", messages)
        broker.close()

    def statement(self, text: str, *values: object) -> None:
        """Change the store behind everybody's back."""
        connection = sqlite3.connect(self.folder / "store.db", timeout=20)
        with connection:
            connection.execute(text, values)
        connection.close()


class Fault(NamedTuple):
    """A fault, and the alerts that must fire for it; `too` may."""

    name: str
    consumer: str
    plant: Callable[[Site, Command], None]
    alerts: tuple[str, ...]
    too: tuple[str, ...] = ()
    workers: int = 1
    session_s: int = 30
    """Short where a worker must be missed soon; a busy machine lets others wait for as long as that."""
    postgres: bool = False


def in_order(site: Site, _: Command) -> None:
    site.send(events(12, 10))


def shuffled(site: Site, _: Command) -> None:
    found = events(4, 40)
    random.Random(3).shuffle(found)
    site.send(found)


def three_keys_in_trouble(site: Site, inorder: Command) -> None:
    """One has two events of one version, one lacks a version, one has an event that is refused, also in a replay."""
    found = events(3, 4)
    found[6]["amount"] = BAD
    site.send([*(one for one in found if one["id"] != "1-2"), {**found[-1], "id": "another"}])
    await_(site.run, lambda: _number(site, "SELECT count(*) FROM inorder_waiting WHERE why = 'gap'") == 1)
    site.statement("UPDATE inorder_waiting SET since = since - ? WHERE why = 'gap'", LONG_AGO_S)
    await_(site.run, lambda: _number(site, "SELECT count(*) FROM inorder_letters") == 2)
    consumer = f"{CONSUMERS}:refusing"
    assert inorder("dlq", "plan", consumer, "--store", site.store).code == 0
    assert inorder("dlq", "replay", 1, "--store", site.store, "--yes", "--reason", "again").code != 0


def one_key_has_most(site: Site, _: Command) -> None:
    most = [{"id": f"hot-{n}", "account": "hot", "version": n, "amount": 1} for n in range(1, 10_801)]
    site.send(most + events(30, 10))


def a_handler_hangs(site: Site, _: Command) -> None:
    site.send([{"id": "x", "account": "a", "version": 1, "amount": BAD}], ago_s=LONG_AGO_S)


def a_newer_owner(site: Site, _: Command) -> None:
    """Somebody else takes the partitions, and the worker has not heard of it."""
    store = open_store(site.store, "stream")
    store.register(Order.STRICT, 0)
    store.acquire([Partition("t", number) for number in range(PARTITIONS)])
    store.close()
    site.send(events(8, 2))


def a_worker_is_frozen(site: Site, _: Command) -> None:
    """Until its partitions are somebody else's, and then it goes on."""
    frozen = site.run.workers[0]
    os.kill(frozen, signal.SIGSTOP)
    try:
        owners = "SELECT count(DISTINCT owner) FROM share WHERE owner IS NOT NULL"
        await_(site.run, lambda: _number(site, owners, "broker.db") == 1)
    finally:
        os.kill(frozen, signal.SIGCONT)


def a_worker_dies_of_an_event(site: Site, _: Command) -> None:
    site.send([{"id": "x", "account": "a", "version": 1, "amount": BAD}])


def what_a_handler_needs_is_down(site: Site, _: Command) -> None:
    site.send([{"id": "x", "account": "a", "version": 1, "amount": BAD}])


def the_database_is_closed(site: Site, _: Command) -> None:
    """No connection to it is left or let in, as far as anybody but the superuser's own database is concerned."""
    server, name = site.store.partition("?")[0].rsplit("/", 1)
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        closing = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false")
        connection.execute(closing.format(sql.Identifier(name)))
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


def _number(site: Site, question: str, file: str = "store.db") -> int:
    connection = sqlite3.connect(f"file:{site.folder / file}?mode=ro", uri=True, timeout=20)
    try:
        return int(connection.execute(question).fetchone()[0])
    finally:
        connection.close()


HEALTHY = Fault("healthy", "steady", in_order, ())
FAULTS = (
    HEALTHY,
    Fault("naive", "naive", shuffled, ("InorderEffectsOutOfOrder",)),
    Fault("shuffled", "steady", shuffled, ("InorderArrivalDisorder",)),
    Fault(
        "troubled",
        "refusing",
        three_keys_in_trouble,
        (
            "InorderConflict",
            "InorderGapDoesNotFill",
            "InorderKeysParked",
            "InorderDeadLetters",
            "InorderReplayFails",
        ),
        ("InorderArrivalDisorder",),
    ),
    Fault("hot", "slow", one_key_has_most, ("InorderHotKey", "InorderFallsBehind")),
    Fault("stuck", "hanging", a_handler_hangs, ("InorderPartitionStuck",)),
    Fault("zombie", "steady", a_newer_owner, ("InorderZombieWrites", "InorderPartitionsLost")),
    Fault(
        "frozen",
        "steady",
        a_worker_is_frozen,
        ("InorderPartitionsLost",),
        ("InorderZombieWrites",),
        workers=2,
        session_s=1,
    ),
    Fault("dying", "dying", a_worker_dies_of_an_event, ("InorderWorkersDie",), ("InorderPartitionsLost",), 2, 1),
    Fault("needs", "dependent", what_a_handler_needs_is_down, ("InorderPaused",)),
    Fault(
        "database",
        "steady",
        the_database_is_closed,
        ("InorderStoreDown",),
        ("InorderPaused",),
        postgres=True,
    ),
)
