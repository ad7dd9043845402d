"""One stream, with all its disorder, through a naive consumer and through inorder, at the same time.

Both are groups of processes that read the same topic while it is produced. Nothing is compared or counted here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import msgspec

from inorder.deadletters.replay import replay
from inorder.errors import InorderError
from inorder.lab.accounts import FIXED, STREAM, Account, Entry, consumer
from inorder.lab.crew import Crew
from inorder.lab.disorder import Class, Script
from inorder.lab.fates import Met
from inorder.lab.history import History
from inorder.lab.naive import Bank
from inorder.lab.stream import TOPIC, Delivery, Producer
from inorder.lab.worker import Assignment
from inorder.sources.embedded_broker import EmbeddedBroker
from inorder.wiring import open_store

SESSION_S = 1.0
"""After so long without a sign of life, a worker's partitions go to others: short, so that a run is."""
PRODUCED_IN_S = 4.0
FASTEST_PER_S = 5_000.0
SLOWEST_PER_S = 200.0
LOOK_S = 0.02
STALLED_S = 60.0
"""A run that has not moved for so long has failed."""


class Audience(Protocol):
    """Whoever watches a run."""

    def progress(self, produced: int, of: int, done: Mapping[str, int]) -> None:
        """So many deliveries of so many are produced, and so many are settled by each crew."""

    def tell(self, what: str) -> None:
        """Something happened."""


class Contest:
    """A run in an empty folder. `order` is that of the consumer of inorder."""

    def __init__(
        self,
        folder: Path,
        stream: Sequence[Entry],
        script: Script,
        workers: int,
        audience: Audience,
        order: str = "strict",
    ) -> None:
        self.partitions = 2 * workers, 3 * workers
        """How many there are before the topic grows, and after."""
        self.naive_replayed = 0
        """How many events the naive consumer had to post again, by hand, after the bug was fixed."""
        self._folder = folder
        self._stream = stream
        self._script = script
        self._audience = audience
        self._order = order
        self._store = f"sqlite:///{quote(str(folder / 'inorder.db'))}"
        self._bank = folder / "naive.db"
        path = folder / "broker.db"
        self._broker = EmbeddedBroker(path)
        self._broker.create_topic(TOPIC, self.partitions[0])
        records = [(entry.account.encode(), msgspec.json.encode(entry)) for entry in stream]
        per_s = min(FASTEST_PER_S, max(SLOWEST_PER_S, len(stream) / PRODUCED_IN_S))
        self._producer = Producer(path, script, records, self.partitions[1], per_s, audience.tell)
        assignment = Assignment(
            crew="naive",
            folder=str(folder),
            source=f"embedded://{quote(str(path))}/{TOPIC}?session_timeout_s={SESSION_S:g}",
            store=str(self._bank),
            order=order,
            marks={Class.KILL: script.kill_at, Class.FREEZE: script.freeze_at},
        )
        ours = msgspec.structs.replace(assignment, crew="inorder", store=self._store)
        self._crews = [Crew(one, workers, audience.tell) for one in (assignment, ours)]

    def run(self) -> None:
        """From the first process to the last event, dead letters included."""
        Bank.create(self._bank, {entry.account for entry in self._stream})
        try:
            for crew in self._crews:
                crew.start()
            self._until(lambda: all(crew.owns(self.partitions[0]) for crew in self._crews))
            self._producer.start()
            self._until(lambda: self._producer.done)
            for crew in self._crews:
                crew.close()
            self._until(lambda: all(crew.ended for crew in self._crews))
        finally:
            self._producer.close()
            for crew in self._crews:
                crew.kill()
            self._broker.close()
        self._replay()

    @property
    def deliveries(self) -> list[Delivery]:
        """What was appended, in order."""
        return self._producer.deliveries

    def history(self, crew: str) -> History:
        """What became of each delivery, in the naive crew or in that of inorder."""
        return History(self._folder, crew, self._stream, self.deliveries)

    @property
    def fates(self) -> dict[Class, Met]:
        """Which process of inorder was killed, and which one stood still."""
        crew = self._crews[1]
        found = {Class.KILL: crew.killed, Class.FREEZE: crew.frozen}
        return {fate: met for fate, met in found.items() if met is not None}

    def naive_states(self) -> dict[str, Account]:
        """The accounts of the naive consumer."""
        bank = Bank(self._bank)
        try:
            return bank.states()
        finally:
            bank.close()

    def inorder_states(self) -> dict[str, Account]:
        """The accounts of inorder."""
        store = open_store(self._store, STREAM, create=False)
        try:
            return {key: msgspec.json.decode(state, type=Account) for key, _, state in store.states() if state}
        finally:
            store.close()

    def counts(self) -> dict[str, int]:
        """inorder's counts, of all workers and the replay."""
        store = open_store(self._store, STREAM, create=False)
        try:
            counts: dict[str, int] = store.counts()
            return counts
        finally:
            store.close()

    def _replay(self) -> None:
        """The bug is fixed: both consumers replay what had failed."""
        bank = Bank(self._bank)
        try:
            self.naive_replayed = bank.replay(FIXED)
        finally:
            bank.close()
        done = replay(consumer(FIXED, self._order), self._store, reason="refunds are known now").sums
        self._audience.tell(
            f"the bug is fixed: naive replays {self.naive_replayed} dead letters, inorder {done.selected}"
        )

    def _until(self, condition: Callable[[], bool]) -> None:
        """Look after the crews until something is so."""
        seen: tuple[int, ...] = ()
        moved_at = time.monotonic()
        while not condition():
            for crew in self._crews:
                crew.look()
            done = {crew.name: sum(self._broker.committed(TOPIC, crew.name).values()) for crew in self._crews}
            now = len(self.deliveries), *done.values(), *(crew.size for crew in self._crews)
            if now != seen:
                seen, moved_at = now, time.monotonic()
            elif time.monotonic() - moved_at > STALLED_S:
                raise InorderError(f"nothing has moved for {STALLED_S:g} s: is this machine very busy?")
            self._audience.progress(now[0], len(self._script), done)
            time.sleep(LOOK_S)
