"""Three brokers, a producer that never stops, and workers that read; faults strike, and the same must come out.

load ──► three brokers ──► a crew of workers with `tx`, one of them behind wires that can be cut
                      └──► a crew of workers without `tx`
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import TopicMetadata

from tests.e2e.crew import Crew, Topic
from tests.faults.load import Load
from tests.faults.verdict import Verdict, judge
from tests.faults.wires import Wires
from tests.services import KafkaCluster

BROKERS = 3
PARTITIONS = 6
ACCOUNTS = 18
PATIENCE_S = 180.0
"""How long anything may take: broker and group time limits added up, on a machine that is busy."""
FROZEN_S = 3.0
"""Longer than a member's session and a broker's."""


class NotInTime(AssertionError):
    """Something did not come back within `PATIENCE_S`."""


class Siege:
    """`with Siege(kafka, folder, seed=1) as siege:`. Faults are context managers: within, it is broken."""

    def __init__(self, kafka: KafkaCluster, folder: Path, seed: int, per_s: float = 60.0) -> None:
        self.kafka = kafka
        self.topic = Topic(kafka, PARTITIONS)
        self.wires = Wires(kafka.bootstrap)
        self.crews = [Crew(self.topic, "cooperative", "tx", folder), Crew(self.topic, "kip848", "call", folder)]
        self.workers: list[tuple[Crew, subprocess.Popen[bytes]]] = []
        url = f"kafka://{kafka.bootstrap}/{self.topic.name}?reconnect.backoff.max.ms=500"
        self._loaded = (url, ACCOUNTS, per_s, seed)

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.enter_context(self.wires)
            tx, call = self.crews
            for crew in self.crews:
                opened.callback(crew.close)
            tx.start(self.wires.bootstrap)
            self.workers = [(tx, tx.start()), (call, call.start()), (call, call.start())]
            self.load = Load(*self._loaded)
            opened.callback(self.load.close)
            self.resumes("the start")
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    # what is asked

    def resumes(self, after: str) -> float:
        """Wait until an entry of every account that is sent from now on has taken effect, with every crew.

        Returns how long that took.
        """
        began = time.monotonic()
        wanted = {account: version + 1 for account, version in self.load.sent.items()}
        self._until(
            f"every account goes on after {after}",
            lambda: all(
                reached.get(account, 0) >= version
                for reached in (crew.reached(self.load.accounts) for crew in self.crews)
                for account, version in wanted.items()
            ),
        )
        return time.monotonic() - began

    def verdict(self, patience_s: float = PATIENCE_S) -> Verdict:
        """Let everything come to rest, and look at what became of each entry. The load rests until `load.go_on()`."""
        self.load.rest(patience_s)
        deadline = time.monotonic() + patience_s
        open_crews = list(self.crews)
        while open_crews and time.monotonic() < deadline:
            open_crews = [crew for crew in open_crews if not self._rests(crew)]
            time.sleep(0.1)
        found = Verdict()
        for crew in self.crews:
            stuck = self._stuck(crew) if crew in open_crews else 0
            found += judge(crew.histories(), self.load.acknowledged, stuck, at_least_once=crew.kind == "call")
        return found

    def _rests(self, crew: Crew) -> bool:
        try:
            return self._stuck(crew) == 0 and crew.settled()
        except KafkaException:
            return False

    def _stuck(self, crew: Crew) -> int:
        reached = crew.reached(self.load.accounts)
        return sum(reached.get(account, 0) != last for account, last in self.load.acknowledged.items())

    # what strikes

    @contextmanager
    def killed(self, broker: int) -> Iterator[None]:
        """kill -9; afterwards it is back, with all replicas in sync."""
        self.kafka.kill(broker)
        try:
            yield
        finally:
            self.kafka.start(broker)
            self.heals()

    @contextmanager
    def paused(self, broker: int) -> Iterator[None]:
        """SIGSTOP: connections stay open, and nothing answers."""
        self.kafka.pause(broker)
        try:
            yield
        finally:
            self.kafka.resume(broker)
            self.heals()

    def roll(self, broker: int) -> None:
        """As an upgrade does: stopped in good order, started, and back in sync before the next one."""
        self.kafka.stop(broker)
        self.kafka.start(broker)
        self.heals()

    @contextmanager
    def severed(self) -> Iterator[None]:
        """One worker sees no broker."""
        self.wires.cut()
        try:
            yield
        finally:
            self.wires.mend()

    def worker_killed(self, at: int) -> None:
        """kill -9, and another is started in its place."""
        crew, process = self.workers[at]
        crew.kill(process)
        self.workers[at] = crew, crew.start()

    @contextmanager
    def worker_frozen(self, at: int) -> Iterator[None]:
        """SIGSTOP past its session; then it goes on beside its successor."""
        _, process = self.workers[at]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    # the cluster

    def leader(self, partition: int = 0) -> int:
        """The broker that leads a partition of the topic, from 0."""
        return self._described()[self.topic.name].partitions[partition].leader - 1

    def heals(self) -> None:
        """Wait until every partition has a leader and all of its replicas in sync."""

        def whole() -> bool:
            topics = self._described().values()
            return all(len(p.isrs) == len(p.replicas) and p.leader >= 0 for t in topics for p in t.partitions.values())

        self._until("all replicas are in sync", whole)

    def _described(self) -> dict[str, TopicMetadata]:
        return self.kafka.admin.list_topics(timeout=5).topics

    def _until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            if self.load.error is not None:
                raise self.load.error
            try:
                if condition():
                    return
            except KafkaException:
                pass  # nobody answered; asked again
            if time.monotonic() > deadline:
                raise NotInTime(f"not in time: {what}")
            time.sleep(0.05)
