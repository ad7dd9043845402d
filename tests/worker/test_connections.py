"""Handlers with `tx` over several connections: keys at once, the events of each in order, and nothing lost or twice."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import inorder
from inorder.core.event import Partition
from inorder.core.order import Order, Outcome
from inorder.declaration import declaration_of
from inorder.stores.postgres import PostgresStore
from inorder.worker.assemble import Assembled
from inorder.worker.job import shard_of
from inorder.worker.settings import Settings
from tests.worker.bench import QUICK, Bench, Working, entries, until
from tests.worker.conftest import kinds
from tests.worker.consumers import LEDGER, Act, Entry, declare, nothing

pytestmark = pytest.mark.postgres

FIRST, SECOND = (next(key for key in "abcdefgh" if shard_of(key, 2) == at) for at in range(2))
"""Two keys that two connections have between them."""


class Shop:
    """A topic, a PostgreSQL store, and workers of one kind of handler with `tx`."""

    def __init__(self, bench: Bench, url: str) -> None:
        self.bench = bench
        self.url = url
        self.look = PostgresStore(url, "stream")
        self.look.register(Order.STRICT, 0)
        self._working: list[Working] = []
        with psycopg.connect(url, autocommit=True) as database:
            database.execute(LEDGER.format(counter="BIGSERIAL"))

    def start(
        self, act: Act = nothing, connections: int = 2, until_idle_s: float | None = None, **options: Any
    ) -> Working:
        def entered(entry: Entry) -> Any:
            self.bench.entered.append((entry.key, entry.version))
            return act(entry)

        function = declare(self.bench.kind, entered, lambda entry: None, "%s", **{"retry": QUICK, **options})
        settings = Settings(source="", connections=connections)
        parts = Assembled(
            declaration_of(function), settings, self.bench.open_source(), lambda: PostgresStore(self.url, "stream")
        )
        self._working.append(Working(parts, until_idle_s))
        return self._working[-1]

    def effects(self) -> dict[str, list[int]]:
        """The versions that took effect, by key, in the order they did."""
        found: dict[str, list[int]] = {}
        with psycopg.connect(self.url) as database:
            for key, version in database.execute("SELECT key, version FROM ledger ORDER BY n"):
                found.setdefault(key, []).append(version)
        return found

    def count(self, name: str) -> int:
        return self.look.counts().get(name, 0)

    def close(self) -> None:
        for working in self._working:
            if not working.ended:
                working.stop()
        counts = self.look.counts()
        assert counts.get("received", 0) == sum(counts.get(outcome, 0) for outcome in Outcome)
        self.look.close()


@pytest.fixture
def shop(bench: Bench, postgres_url: str) -> Iterator[Shop]:
    found = Shop(bench, postgres_url)
    yield found
    found.close()


def stream(keys: int, each: int, seed: int) -> list[Entry]:
    """Entries of many keys, many of them out of order, some of them twice."""
    rng = random.Random(seed)
    given = [one for key in range(keys) for one in entries(f"key-{key}", *range(1, each + 1))]
    given += rng.sample(given, len(given) // 5)
    order = sorted(
        range(len(given)), key=lambda at: given[at].version + (rng.random() * 6 if rng.random() < 0.3 else 0)
    )
    return [given[at] for at in order]


@kinds("tx", "async tx")
def test_as_many_keys_are_handled_at_once_as_there_are_connections(shop: Shop) -> None:
    both = threading.Barrier(2)

    def act(entry: Entry) -> None:
        both.wait(30)

    shop.bench.produce(*entries(FIRST, 1, 2), *entries(SECOND, 1, 2))
    shop.start(act, until_idle_s=0.02).wait()
    assert shop.effects() == {FIRST: [1, 2], SECOND: [1, 2]}


@kinds("tx", "async tx")
def test_a_shuffled_stream_with_failures_comes_to_what_in_order_delivery_comes_to(shop: Shop) -> None:
    running, lock = set[str](), threading.Lock()
    seen_together: list[int] = []
    failed = set[tuple[str, int]]()

    def act(entry: Entry) -> None:
        with lock:
            assert entry.key not in running, "one event of a key at a time"
            running.add(entry.key)
            seen_together.append(len(running))
            fails = entry.version % 7 == 3 and (entry.key, entry.version) not in failed
            failed.add((entry.key, entry.version))
        time.sleep(0.0005)
        with lock:
            running.discard(entry.key)
        if fails:
            raise ValueError("once")

    shop.bench.produce(*stream(keys=30, each=15, seed=5))
    shop.start(act, connections=4, until_idle_s=0.1).wait()
    assert shop.effects() == {f"key-{key}": list(range(1, 16)) for key in range(30)}
    assert max(seen_together) > 1
    assert shop.count("applied") == 30 * 15


@kinds("tx")
def test_one_that_fails_stops_only_its_own_key(shop: Shop) -> None:
    def act(entry: Entry) -> None:
        if entry.key == FIRST and entry.version == 2:
            raise inorder.Poison("no")

    shop.bench.produce(*entries(FIRST, 1, 2, 3), *entries(SECOND, 1, 2, 3))
    shop.start(act, until_idle_s=0.02).wait()
    assert shop.effects() == {FIRST: [1], SECOND: [1, 2, 3]}
    assert [key for key, _ in shop.look.parked()] == [FIRST]


@kinds("tx", "async tx")
def test_one_that_hangs_keeps_no_other_connection_from_its_keys(shop: Shop) -> None:
    hanging, go_on = threading.Event(), threading.Event()

    def act(entry: Entry) -> None:
        if entry.key == FIRST and not hanging.is_set():
            hanging.set()
            go_on.wait(60)

    shop.bench.produce(*entries(FIRST, 1, 2))
    working = shop.start(act, limits=inorder.Limits(handler_s=3))
    assert hanging.wait(30)
    shop.bench.produce(*entries(SECOND, 1, 2))
    until("the other key goes on", lambda: shop.count("applied") == 2)
    assert shop.effects() == {SECOND: [1, 2]}
    until("it is given up on, and tried again", lambda: shop.count("applied") == 4)
    go_on.set()
    assert working.stop()
    assert shop.effects() == {FIRST: [1, 2], SECOND: [1, 2]}


@kinds("tx")
def test_connections_that_are_cut_under_load_cost_nothing(shop: Shop) -> None:
    cut = threading.Barrier(2)

    def act(entry: Entry) -> None:
        time.sleep(0.001)
        if (
            entry.key == "key-7"
            and entry.version in {4, 9}
            and shop.bench.entered.count((entry.key, entry.version)) == 1
        ):
            cut.wait(30)
            cut.wait(30)

    shop.bench.produce(*stream(keys=20, each=15, seed=6))
    working = shop.start(act, connections=4)
    for _ in range(2):
        cut.wait(30)
        with psycopg.connect(shop.url, autocommit=True) as database:
            database.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE 'inorder-%'"
            )
        cut.wait(30)
    until("all took effect", lambda: sum(map(len, shop.effects().values())) >= 20 * 15)
    assert working.stop()
    assert shop.effects() == {f"key-{key}": list(range(1, 16)) for key in range(20)}


@kinds("tx")
def test_what_a_newer_owner_has_taken_is_written_by_no_connection(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    inside, go_on = threading.Barrier(3), threading.Event()

    def act(entry: Entry) -> None:
        inside.wait(30)
        go_on.wait(30)

    shop.bench.produce(*entries(FIRST, 1), *entries(SECOND, 1), partition=0)
    working = shop.start(act)
    inside.wait(30)
    shop.look.acquire([Partition("topic", 0)])
    go_on.set()
    until("both are refused", lambda: caplog.text.count("are left to the new owner") == 2)
    assert working.stop()
    assert (shop.effects(), shop.count("received")) == ({}, 0)


@kinds("fold", "call")
def test_connections_are_for_handlers_with_tx(shop: Shop) -> None:
    with pytest.raises(inorder.UsageError, match="connections are for handlers with tx, and stream is none"):
        shop.start()


@kinds("tx")
def test_connections_share_the_room_in_memory(shop: Shop) -> None:
    runner: Any = shop.start(connections=4, limits=inorder.Limits(cache_bytes=1_000)).parts.loop._runner
    assert [one._batches.cache._most for one in runner._runners] == [250] * 4


@kinds("tx")
def test_there_is_a_connection_at_least(shop: Shop) -> None:
    with pytest.raises(inorder.UsageError, match="connections=0 must be at least 1"):
        shop.start(connections=0)


@kinds("tx")
def test_on_sqlite_there_is_one_transaction_at_a_time(bench: Bench) -> None:
    two = Settings(source="", connections=2)
    with pytest.raises(inorder.UsageError, match="SQLite writes one transaction at a time"):
        Assembled(declaration_of(bench.declare()), two, bench.open_source(), bench.open_store)
