"""Handlers with tx share transactions, and nobody can tell: the same as one transaction for each event."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

import inorder
from inorder.sources.embedded import EmbeddedBroker, Message
from inorder.worker import batch

UPSERT = """insert into posted as p (account, balance) values (%s, %s)
on conflict (account) do update set balance = p.balance + excluded.balance"""
FAST = inorder.Retry(attempts=2, delay_s=0.01)


class Entry(msgspec.Struct):
    id: str
    account: str
    version: int
    amount: int


class Shop:
    """A topic of entries and a table of balances."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.source = f"embedded://{folder}/broker.db/entries"
        self.broker = EmbeddedBroker(folder / "broker.db")
        self.broker.create_topic("entries", 2)
        with psycopg.connect(url, autocommit=True) as database:
            database.execute("create table posted (account text primary key, balance bigint not null)")

    def produce(self, accounts: int, versions: int) -> None:
        """An entry of 1 for each version of each account, round robin."""
        entries = [
            Entry(f"{account}-{version}", f"account-{account}", version, 1)
            for version in range(1, versions + 1)
            for account in range(accounts)
        ]
        self.broker.append_many("entries", [Message(e.account.encode(), msgspec.json.encode(e)) for e in entries])

    def run(
        self, handle: Callable[[Entry, inorder.Transaction], None], name: str = "post", connections: int = 1
    ) -> inorder.Report:
        """Run a handler until all is settled."""

        @inorder.handler(key="account", version="version", id="id", name=name, retry=FAST)
        def post(entry: Entry, tx: inorder.Transaction) -> None:
            handle(entry, tx)

        source = f"{self.source}?group={name}"
        return inorder.run(post, source=source, store=self.url, connections=connections, until_idle_s=0.2)

    def balances(self) -> dict[str, int]:
        """What the handlers wrote."""
        with psycopg.connect(self.url) as database:
            return dict(database.execute("select account, balance from posted").fetchall())


@pytest.fixture
def shop(tmp_path: Path, postgres_url: str) -> Shop:
    return Shop(tmp_path, postgres_url)


def add(entry: Entry, tx: inorder.Transaction) -> Any:
    return tx.execute(UPSERT, (entry.account, entry.amount))


def is_bad(entry: Entry) -> bool:
    return (entry.account, entry.version) == ("account-3", 4)


def raises(entry: Entry, tx: inorder.Transaction) -> None:
    add(entry, tx)
    if is_bad(entry):
        raise ValueError("no")


def fails_in_the_database(entry: Entry, tx: inorder.Transaction) -> None:
    add(entry, tx)
    if is_bad(entry):
        tx.execute("select 1 / 0")


def swallows(entry: Entry, tx: inorder.Transaction) -> None:
    add(entry, tx)
    if is_bad(entry):
        with suppress(psycopg.Error):
            tx.execute("select 1 / 0").fetchone()


@pytest.mark.parametrize("handle", [raises, fails_in_the_database, swallows])
def test_a_failure_costs_its_own_event_alone(shop: Shop, handle: Callable[..., None]) -> None:
    shop.produce(accounts=20, versions=6)
    report = shop.run(handle)
    assert report.parked_keys == 1
    assert report.outcomes["dead_lettered"] == 1
    assert shop.balances() == {f"account-{n}": 3 if n == 3 else 6 for n in range(20)}


def test_many_failures_cost_their_own_events_alone(shop: Shop) -> None:
    def handle(entry: Entry, tx: inorder.Transaction) -> None:
        add(entry, tx)
        if entry.version == 2 and entry.account in {f"account-{n}" for n in range(batch.MANY_FAILURES * 2)}:
            raise ValueError("no")

    shop.produce(accounts=20, versions=3)
    report = shop.run(handle)
    assert report.parked_keys == batch.MANY_FAILURES * 2
    assert shop.balances() == {f"account-{n}": 1 if n < batch.MANY_FAILURES * 2 else 3 for n in range(20)}


def test_a_handler_reads_its_own_writes_and_how_many_rows_it_changed(shop: Shop) -> None:
    def handle(entry: Entry, tx: inorder.Transaction) -> None:
        assert add(entry, tx).rowcount == 1
        missing = tx.execute("update posted set balance = 0 where account = %s", ("nobody",))
        assert missing.rowcount == 0
        row = tx.execute("select balance from posted where account = %s", (entry.account,)).fetchone()
        assert row == (entry.version,)

    shop.produce(accounts=10, versions=5)
    assert shop.run(handle).outcomes["applied"] == 50


@pytest.mark.parametrize("connections", [1, 4])
def test_the_result_is_that_of_a_transaction_for_each_event(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, connections: int
) -> None:
    shop.produce(accounts=20, versions=6)
    together = shop.run(raises, "together", connections)
    first = shop.balances()
    with psycopg.connect(shop.url, autocommit=True) as database:
        database.execute("truncate posted")
    monkeypatch.setattr("inorder.worker.assemble.TX_EVENTS", 1)
    singly = shop.run(raises, "singly")
    assert shop.balances() == first
    assert singly.outcomes["applied"] == together.outcomes["applied"]
