"""kill -9 at every step of planning, replaying, draining, skipping and editing: nothing is lost, twice or out of order.

Parking is a worker's, and so are its crashes: see `tests/worker/test_crashing.py`.

The invariants are those of a proof of dead letters: no event of a key takes effect past an open letter of it (S12), no
letter is lost or doubled (S13), none is applied twice (S14) or out of order (S15), and nothing is stranded behind one
that was poison while it waited (S16).
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

import inorder
from inorder.core.order import Outcome
from inorder.stores.sqlite import SqliteStore
from inorder.wiring import open_store
from inorder.worker import worker as loop
from tests.deadletters.crashing import Crasher, Order, consumer, do
from tests.services import Postgres
from tests.worker.bench import encoded, entries
from tests.worker.consumers import LEDGER

AT_FIRST = [("a", 2), ("b", 1), ("b", 3)]
"""Bad events when the stream is consumed. The handler is mended then, but for the last one."""
LEFT = [("b", 3)]
STREAM = [*entries("a", 1, 2, 3, 4), *entries("b", 1, 2, 3, 4), *entries("c", 1)]
WAYS = 3
"""A replay's deaths are split into so many tests."""
ALL_STEPS = "INORDER_EVERY_STEP"
"""With PostgreSQL a death takes long, and every eighth step must do, others each time, unless this is set."""


class Base:
    """A store with two parked keys, copied for each death."""

    def __init__(self, folder: Path, kind: str, postgres: Postgres | None) -> None:
        self.folder = folder
        self.kind = kind
        self._postgres = postgres
        self._url = postgres.fresh_database() if postgres is not None else f"sqlite:///{folder}/base.db"
        self._numbers = itertools.count()
        self.stride = 8 if postgres is not None and not os.environ.get(ALL_STEPS) else 1
        stream = folder / "stream.jsonl"
        stream.write_bytes(b"\n".join(map(encoded, STREAM)))
        self.source = str(stream)
        self.execute(self._url, LEDGER.format(counter="BIGSERIAL" if postgres is not None else "INTEGER"))
        self.effects = str(folder / "base.effects")
        Path(self.effects).touch()
        if postgres is not None:
            # A process is killed here, not the machine.
            name = self._url.rpartition("/")[2]
            self.execute(self._url, f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        self.consume(Order(verb="", kind=kind, store=self._url, effects=self.effects, bad=AT_FIRST))

    def consume(self, order: Order) -> None:
        """A live worker, to the end of the stream."""
        inorder.run(consumer(order), source=self.source, store=order.store, until_idle_s=0.02)

    def copy(self, verb: str) -> Order:
        """A copy of the store, and an order for it."""
        number = next(self._numbers)
        if self._postgres is not None:
            self._restore()
        effects = str(self.folder / f"{number}.effects")
        shutil.copyfile(self.effects, effects)
        if self._postgres is None:
            url = f"sqlite:///{self.folder}/{number}.db"
            with sqlite3.connect(f"{self.folder}/base.db") as base, sqlite3.connect(f"{self.folder}/{number}.db") as to:
                base.backup(to)
        else:
            url = self._url
        return Order(verb=verb, kind=self.kind, store=url, effects=effects, bad=LEFT)

    def _restore(self) -> None:
        """Make all tables what they were at first: a copy of a small database takes as long as that of a large one."""
        with psycopg.connect(self._url) as connection:
            # No triggers: the audit refuses to be taken back.
            connection.execute("SET session_replication_role = replica")
            tables = connection.execute(
                "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('inorder', 'public')"
            ).fetchall()
            connection.execute("CREATE SCHEMA IF NOT EXISTS saved")
            for schema, table in tables:
                connection.execute(f"CREATE TABLE IF NOT EXISTS saved.{table} AS TABLE {schema}.{table}")
                connection.execute(f"DELETE FROM {schema}.{table}")
                connection.execute(f"INSERT INTO {schema}.{table} OVERRIDING SYSTEM VALUE TABLE saved.{table}")

    def execute(self, url: str, statement: str) -> list[tuple[str, int]]:
        if url.startswith("postgresql"):
            with psycopg.connect(url) as connection:
                cursor = connection.execute(statement)
                return cursor.fetchall() if cursor.description else []
        with sqlite3.connect(url.removeprefix("sqlite:///")) as lite:
            return lite.execute(statement).fetchall()

    def versions(self, order: Order, store: SqliteStore) -> dict[str, list[int]]:
        """The versions that took effect, by key, in the order they did."""
        if self.kind == "fold":
            states = {key: state for key, _, state in store.states() if state is not None}
            return {key: msgspec.json.decode(state)["versions"] for key, state in states.items()}
        if self.kind == "tx":
            rows = self.execute(order.store, "SELECT key, version FROM ledger ORDER BY n")
        else:
            lines = [line.split() for line in Path(order.effects).read_text().splitlines()]
            rows = [(key, int(version)) for key, version in lines]
        found: defaultdict[str, list[int]] = defaultdict(list)
        for key, version in rows:
            found[key].append(version)
        return dict(found)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "END_CHECK_S", 0.02)
    monkeypatch.setattr(loop, "POLL_S", 0.02)
    monkeypatch.setattr(loop, "OVERDUE_EVERY_S", 0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory, where there is such a place: a process is killed here, not the machine."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="inorder-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    with Crasher() as found:
        yield found


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> Postgres | None:
    found: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgres" else None
    return found


def check(base: Base, order: Order, right: dict[str, list[int]], statuses: dict[tuple[str, int], str]) -> None:
    store: Any = open_store(order.store, "stream")
    try:
        effects = base.versions(order, store)
        for key, versions in effects.items():
            done = 0
            for version in versions:
                assert version <= max(done, right[key][0] - 1) + 1 or version - 1 not in right[key], (key, versions)
                done = max(done, version)
        if base.kind == "call":
            effects = {key: list(dict.fromkeys(found)) for key, found in effects.items()}
        assert effects == right
        letters = {(row.letter.key, row.letter.version): row for row in store.letters()}
        assert len(letters) == len(list(store.letters())), "a letter is there twice"
        assert {place: row.status for place, row in letters.items()} == statuses
        done_with = [(row.key, row.version) for row in store.audit() if row.outcome in {"applied", "skipped"}]
        assert sorted(done_with) == sorted(place for place, status in statuses.items() if status != "open")
        waiting = {key: {row.version for row in store.held(key, 10)} for key in "abc"}
        # The event of an open letter waits beside it when it is delivered again.
        assert all(bool(waiting[key]) == (key in dict(store.parked())) for key in "abc"), waiting
        counts = store.counts()
        outcomes = {str(name): counts.get(name, 0) for name in (*Outcome, "replayed")}
        assert counts["received"] == sum(outcomes.values())
        assert outcomes["applied"] + outcomes["replayed"] == sum(map(len, right.values()))
        assert outcomes["held"] + outcomes["parked"] == store.held_count()
    finally:
        store.close()


@pytest.mark.parametrize("way", range(WAYS))
@pytest.mark.parametrize("kind", ["fold", "tx", "call"])
@pytest.mark.timeout(400)
def test_a_replay_killed_at_any_step_and_run_again(
    folder: Path, kind: str, way: int, database: Postgres | None, crasher: Crasher
) -> None:
    """From the first statement of planning to the last of draining."""
    base = Base(folder, kind, database)
    killed = True
    at = 1 + way * base.stride + (0 if base.stride == 1 else random.randrange(base.stride))
    while killed:
        order = base.copy("replay")
        killed = crasher.run(msgspec.structs.replace(order, dies_at=at))
        # What was being drained is claimed for a while: a claim ends with its time, or is given up.
        _until_free(order)
        do(order, consumer(order))
        base.consume(order)
        right = {"a": [1, 2, 3, 4], "b": [1, 2], "c": [1]}
        check(base, order, right, {("a", 2): "resolved", ("b", 1): "resolved", ("b", 3): "open"})
        at += WAYS * base.stride
    assert at > 12, "it died at hardly any step"


@pytest.mark.parametrize("kind", ["fold", "tx", "call"])
@pytest.mark.timeout(400)
def test_what_a_killed_replay_leaves_half_done_goes_on_with_the_live_workers(
    folder: Path, kind: str, database: Postgres | None, crasher: Crasher
) -> None:
    base = Base(folder, kind, database)
    killed, at = True, 1
    while killed:
        order = base.copy("replay")
        killed = crasher.run(msgspec.structs.replace(order, dies_at=at))
        _until_free(order)
        base.consume(order)
        store: Any = open_store(order.store, "stream")
        parked = dict(store.parked())
        effects = base.versions(order, store)
        for key, versions in {"a": [1, 2, 3, 4], "b": [1, 2]}.items():
            resolved = not any(reason == "failed" and v in versions for _, v, reason in store.open_letters_of(key))
            assert resolved == (list(dict.fromkeys(effects.get(key, []))) == versions), (at, key, effects)
            assert resolved == (key not in parked or parked[key].version not in versions), (at, key, parked)
        store.close()
        at += 4 * base.stride


def _until_free(order: Order) -> None:
    """Claims of a dead replay are over after a while; here that while is over at once."""
    store: Any = open_store(order.store, "stream")
    table = "inorder.waiting" if order.store.startswith("postgresql") else "inorder_waiting"
    with store.transaction() as tx:
        tx.execute(f"UPDATE {table} SET due_at = 1 WHERE due_at > 1")
    store.close()


@pytest.mark.parametrize("verb", ["plan", "skip", "edit"])
@pytest.mark.timeout(400)
def test_other_verbs_killed_at_any_step_and_run_again(
    folder: Path, verb: str, database: Postgres | None, crasher: Crasher
) -> None:
    base = Base(folder, "tx", database)
    killed, at = True, 1
    while killed:
        order = base.copy(verb)
        killed = crasher.run(msgspec.structs.replace(order, dies_at=at))
        do(order, consumer(order))
        base.consume(order)
        store: Any = open_store(order.store, "stream")
        actions = Counter(row.action for row in store.audit())
        assert actions == {verb: 1}
        if verb == "plan":
            assert [letter.forecast for letter in store.plan_letters(store.plans()[0].id)] == ["applied", "applied"]
        store.close()
        if verb == "skip":
            check(base, order, {"a": [1, 3, 4], "c": [1]}, {("a", 2): "skipped", ("b", 1): "open"})
        else:
            assert base.versions(order, store) == {"a": [1], "c": [1]}
        at += base.stride
    assert at > 3, "it died at hardly any step"
