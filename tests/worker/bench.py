"""A topic and a store made for one test, a worker on them, and what the store says afterwards."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

import inorder
from inorder.core.order import Outcome
from inorder.declaration import declaration_of
from inorder.ports import Source
from inorder.sources.embedded import EmbeddedBroker, EmbeddedSource, Message
from inorder.stores.rows import LetterRow
from inorder.stores.sqlite import SqliteStore
from inorder.worker.assemble import Assembled
from inorder.worker.settings import Settings
from tests.worker.consumers import LEDGER, Act, Calls, Entry, declare, nothing

PATIENCE_S = 30.0
"""How long a test waits for anything: long, for a machine that is busy with something else."""
TOPIC = "topic"
GROUP = "group"
QUICK = inorder.Retry(attempts=3, delay_s=0.01, factor=2)


def until(what: str, condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.002)


def entries(key: str, *versions: int) -> list[Entry]:
    """Events of one key, in this order. The same version again is the same event again."""
    return [Entry(key, version, f"{key}-{version}", amount=version) for version in versions]


def encoded(entry: Entry | bytes) -> bytes:
    return entry if isinstance(entry, bytes) else msgspec.json.encode(entry)


class Working:
    """A worker in a thread of its own."""

    def __init__(self, parts: Assembled, until_idle_s: float | None) -> None:
        self.parts = parts
        self.tally = parts.tally
        self.drained: bool | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(until_idle_s,), daemon=True)
        self._thread.start()

    def _run(self, until_idle_s: float | None) -> None:
        try:
            self.drained = self.parts.loop.run(until_idle_s)
        except BaseException as error:
            self.error = error
        finally:
            self.parts.control.close()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def ask_to_stop(self) -> None:
        self.parts.loop.stop()

    def wait(self, patience_s: float = PATIENCE_S) -> bool:
        """Until it has ended. Returns whether everything that ran was finished; raises what it died of."""
        self._thread.join(patience_s)
        assert self.ended, "the worker did not end in time"
        if self.error is not None:
            raise self.error
        assert self.drained is not None
        return self.drained

    def stop(self) -> bool:
        self.ask_to_stop()
        return self.wait()


class Bench:
    """A topic of the embedded broker, a SQLite store, and consumers of one kind."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind = kind
        self.path = folder / "store.db"
        self.calls = Calls()
        self.entered: list[tuple[str, int]] = []
        """Every call of a handler, as it began."""
        self.produced = 0
        self._folder = folder
        self._broker: EmbeddedBroker | None = None
        self._working: list[Working] = []
        self._look: SqliteStore | None = None
        connection = sqlite3.connect(self.path)
        connection.execute(LEDGER.format(counter="INTEGER"))
        connection.close()

    # before

    @property
    def broker(self) -> EmbeddedBroker:
        if self._broker is None:
            self._broker = EmbeddedBroker(self._folder / "broker.db")
            self._broker.create_topic(TOPIC, 4)
        return self._broker

    def produce(self, *given: Entry | bytes, partition: int | None = None) -> None:
        """Append these in this order, to the partition of their key unless one is named."""
        self.produced += len(given)
        messages = [
            Message(one.key.encode() if isinstance(one, Entry) else None, encoded(one), partition=partition)
            for one in given
        ]
        self.broker.append_many(TOPIC, messages)

    def declare(self, act: Act = nothing, **options: Any) -> Callable[..., Any]:
        """A consumer of this bench's kind."""

        def entered(entry: Entry) -> Any:
            self.entered.append((entry.key, entry.version))
            return act(entry)

        return declare(self.kind, entered, self.calls.note, **{"retry": QUICK, **options})

    # during

    def open_source(self) -> Source:
        _ = self.broker
        return EmbeddedSource(self._folder / "broker.db", TOPIC, GROUP, session_timeout_s=2.0)

    def open_store(self) -> SqliteStore:
        return SqliteStore(str(self.path), "stream")

    def start(
        self,
        function: Callable[..., Any],
        source: Source | None = None,
        *,
        concurrency: int = 16,
        until_idle_s: float | None = None,
        open_store: Callable[[], Any] | None = None,
        worker: str = "1",
    ) -> Working:
        """Start a worker. The bench stops it after the test."""
        settings = Settings(source="", concurrency=concurrency, worker=worker)
        declared = declaration_of(function)
        found = source or self.open_source()
        parts = Assembled(declared, settings, found, open_store or self.open_store)
        working = Working(parts, until_idle_s)
        self._working.append(working)
        return working

    def work(self, function: Callable[..., Any], source: Source | None = None, **options: Any) -> Working:
        """Run a worker until the stream is at rest."""
        working = self.start(function, source, until_idle_s=0.02, **options)
        assert working.wait(), "something was left running"
        return working

    # after

    @property
    def look(self) -> SqliteStore:
        """The store, to look at."""
        if self._look is None:
            self._look = self.open_store()
        return self._look

    def effects(self) -> dict[str, list[int]]:
        """The versions that took effect, by key, in the order they did."""
        if "call" in self.kind:
            return self.calls.by_key()
        if "fold" in self.kind:
            states = {key: state for key, _, state in self.look.states() if state is not None}
            return {key: msgspec.json.decode(state)["versions"] for key, state in states.items()}
        found: defaultdict[str, list[int]] = defaultdict(list)
        connection = sqlite3.connect(self.path)
        for key, version in connection.execute("SELECT key, version FROM ledger ORDER BY n"):
            found[key].append(version)
        connection.close()
        return dict(found)

    def letters(self) -> list[LetterRow]:
        return list(self.look.letters())

    def dead(self) -> list[tuple[str | None, int | None, str]]:
        """Key, version and reason of each dead letter, sorted."""
        found = [(row.letter.key, row.letter.version, row.letter.reason.value) for row in self.letters()]
        return sorted(found, key=str)

    def parked(self) -> list[str]:
        return [key for key, _ in self.look.parked()]

    def waiting(self, key: str) -> list[int]:
        """The versions of a key that wait in the store."""
        return [row.version for row in self.look.held(key, 1000)]

    def count(self, name: str) -> int:
        return self.look.counts().get(name, 0)

    def outcomes(self, tallies: Sequence[int] | None = None) -> dict[str, int]:
        """The counts of every outcome that there is."""
        counts = self.look.counts(tallies)
        return {outcome.value: counts[outcome] for outcome in Outcome if counts.get(outcome)}

    def check_counts(self) -> None:
        """received is the sum of the outcomes, of each worker and of all."""
        for tallies in [None, *([working.tally] for working in self._working)]:
            received = self.look.counts(tallies).get("received", 0)
            assert received == sum(self.outcomes(tallies).values()), f"received of {tallies or 'all'}"

    def committed(self) -> bool:
        """Whether everything produced is settled."""
        return self.broker.committed(TOPIC, GROUP) == self.broker.ends(TOPIC)

    @contextmanager
    def store_locked(self) -> Iterator[None]:
        """Another program has the store's file to itself for as long as the block runs."""
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=PATIENCE_S)
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
            connection.close()

    def close(self) -> None:
        for working in self._working:
            if not working.ended:
                working.ask_to_stop()
        for working in self._working:
            if not working.ended:
                working.wait()
        self.check_counts()
        self.look.close()
        if self._broker is not None:
            self._broker.close()
