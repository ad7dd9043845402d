"""A crash at any point between receive and settle loses nothing and applies nothing twice."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest

import inorder
from inorder.core.order import Outcome
from inorder.sources.embedded import EmbeddedBroker, Message
from inorder.stores.sqlite import SqliteStore
from inorder.wiring import open_store
from tests.worker.bench import encoded, entries
from tests.worker.consumers import LEDGER, Entry
from tests.worker.crashing import UNTIL_IDLE_S, Crasher, Order, consumer

SESSION_S = 0.2
"""How long a dead worker keeps its partitions."""

AROUND_THE_STORE = [
    ("fences raised", 1),
    ("polled", 1),
    ("decoded", 2),
    ("entities loaded", 1),
    ("handler: begins", 1),
    ("handler: begins", 7),
    ("any: committed", 1),
    ("offsets: before", 1),
    ("offsets: after", 1),
    ("held events read back", 1),
]
IN_THE_STORE = [
    ("any: write", 1),
    ("any: statement", 2),
    ("any: commit", 1),
    ("holding: statement", 3),
    ("holding: committed", 1),
    ("releasing: statement", 3),
    ("releasing: committed", 1),
    ("parking: statement", 3),
    ("parking: commit", 1),
    ("parking: committed", 1),
]
CASES = [(kind, "sqlite", *step) for kind in ("fold", "tx", "call") for step in AROUND_THE_STORE + IN_THE_STORE]
CASES += [("tx", "postgresql", *step) for step in IN_THE_STORE]
CASES += [(kind, "postgresql", *step) for kind in ("fold", "call") for step in IN_THE_STORE[1::2]]
RIGHT = {"a": [1, 2, 3, 4, 5, 6, 7, 8], "b": [1, 2, 3, 4, 5], "c": [1, 2], "d": [1, 2, 3, 4]}


class Stream:
    """A short stream with everything in it that a worker has a step for, and what became of it."""

    def __init__(self, folder: Path, kind: str, store: str) -> None:
        self.kind = kind
        self.store = store
        self.source = f"embedded://{folder}/broker.db/topic?group=group&session_timeout_s={SESSION_S}"
        self.effects_file = folder / "effects"
        self.effects_file.touch()
        self.broker = EmbeddedBroker(folder / "broker.db")
        self.broker.create_topic("topic", 2)
        zero: list[Entry | bytes] = [
            *entries("a", 1, 2, 2, 3),
            *entries("b", 4, 3),
            *entries("a", 4, 5),
            *entries("b", 5),
            b"not JSON",
        ]
        zero += entries("b", 2, 1) + entries("a", 6, 3, 7, 8)
        one = [*entries("c", 1, 2), *entries("d", 1, 2, 3), *entries("c", 3, 4), *entries("d", 4), *entries("c", 5)]
        self.produced = len(zero) + len(one)
        messages = [Message(None, encoded(entry), partition=0) for entry in zero]
        messages += [Message(None, encoded(entry), partition=1) for entry in one]
        self.broker.append_many("topic", messages)
        if store.startswith("postgresql"):
            with psycopg.connect(store) as connection:
                connection.execute(LEDGER.format(counter="BIGSERIAL"))
        else:
            with sqlite3.connect(store.removeprefix("sqlite:///")) as lite:
                lite.execute(LEDGER.format(counter="INTEGER"))

    def order(self, step: str, nth: int) -> Order:
        return Order(self.kind, self.source, self.store, str(self.effects_file), step, nth)

    def finish(self) -> None:
        """Normal workers work to the end of the stream.

        One may find everything committed before it owns anything, for a dead worker still keeps its partitions. What
        is left to be tried again is then up to the next one.
        """
        function = consumer(self.kind, self.store, str(self.effects_file))
        for _ in range(20):
            inorder.run(function, source=self.source, store=self.store, until_idle_s=UNTIL_IDLE_S)
            store: SqliteStore = open_store(self.store, "stream")
            waits = store.due(list(self.broker.ends("topic"))).values()
            store.close()
            if not any(waiting.urgent for waiting in waits):
                return

    def effects(self, store: SqliteStore) -> dict[str, list[int]]:
        """The versions that took effect, by key, in the order they did."""
        if self.kind == "fold":
            states = {key: state for key, _, state in store.states() if state is not None}
            return {key: msgspec.json.decode(state)["versions"] for key, state in states.items()}
        found: defaultdict[str, list[int]] = defaultdict(list)
        for key, version in self._rows():
            found[key].append(version)
        return dict(found)

    def _rows(self) -> list[tuple[str, int]]:
        if self.kind == "call":
            lines = [line.split() for line in self.effects_file.read_text().splitlines()]
            return [(key, int(version)) for key, version in lines]
        question = "SELECT key, version FROM ledger ORDER BY n"
        if self.store.startswith("postgresql"):
            with psycopg.connect(self.store) as connection:
                return [(key, version) for key, version in connection.execute(question).fetchall()]
        with sqlite3.connect(self.store.removeprefix("sqlite:///")) as lite:
            return lite.execute(question).fetchall()

    def counts(self) -> dict[str, int]:
        """The sums of all workers' counts."""
        store = open_store(self.store, "stream")
        counts: dict[str, int] = store.counts()
        store.close()
        return counts

    def check(self, right: dict[str, list[int]] = RIGHT) -> None:
        """Each event took effect exactly once (without `tx`, at least once), in order, and the counts add up."""
        store: SqliteStore = open_store(self.store, "stream")
        try:
            effects = self.effects(store)
            if self.kind == "call":
                effects = {key: list(dict.fromkeys(found)) for key, found in effects.items()}
            assert effects == right
            letters = [(row.letter.key, row.letter.version, row.letter.reason.value) for row in store.letters()]
            assert sorted(letters, key=str) == [("c", 3, "failed"), (None, None, "malformed")]
            assert [key for key, _ in store.parked()] == ["c"]
            assert {row.version for row in store.held("c", 10)} >= {4, 5}
            assert [store.held_count(key) for key in "abd"] == [0, 0, 0]
            counts = store.counts()
            outcomes = {outcome.value: counts.get(outcome.value, 0) for outcome in Outcome}
            assert counts["received"] == sum(outcomes.values()) >= self.produced
            assert outcomes["applied"] == sum(map(len, right.values()))
            assert outcomes["held"] + outcomes["parked"] == store.held_count()
            assert outcomes["conflict"] == outcomes["late"] == outcomes["stale"] == 0
        finally:
            store.close()
        assert self.broker.committed("topic", "group") == self.broker.ends("topic")


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    with Crasher() as found:
        yield found


@pytest.mark.parametrize(("kind", "database", "step", "nth"), CASES, ids=[" ".join(map(str, case)) for case in CASES])
def test_a_worker_killed_at_this_step_loses_nothing_and_applies_nothing_twice(
    tmp_path: Path, kind: str, database: str, step: str, nth: int, crasher: Crasher, request: pytest.FixtureRequest
) -> None:
    store = f"sqlite:///{tmp_path}/store.db" if database == "sqlite" else request.getfixturevalue("postgres_url")
    stream = Stream(tmp_path, kind, store)
    crasher.kill(stream.order(step, nth))
    stream.finish()
    stream.check()


@pytest.mark.parametrize("kind", ["fold", "tx", "call"])
def test_a_worker_killed_again_and_again_comes_to_the_end(tmp_path: Path, kind: str, crasher: Crasher) -> None:
    stream = Stream(tmp_path, kind, f"sqlite:///{tmp_path}/store.db")
    for step, nth in [("any: statement", 2), ("any: committed", 1), ("any: commit", 1), ("any: committed", 2)]:
        crasher.kill(stream.order(step, nth))
    stream.finish()
    stream.check()
