"""A topic on a real Kafka, a store, and the worker processes on them."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from inorder.core.entity import Entity
from inorder.core.order import Outcome
from inorder.stores.sqlite import SqliteStore
from tests.e2e.accounts import Account, Bank, Disorder
from tests.kafka.protocols import HEARTBEAT_S, SESSION_S, prepare_group
from tests.services import KafkaCluster

PATIENCE_S = 45.0
CLASSIC = f"session.timeout.ms={SESSION_S * 1000:.0f}&heartbeat.interval.ms={HEARTBEAT_S * 1000:.0f}"
PROTOCOLS = {
    "cooperative": CLASSIC,
    "eager": f"{CLASSIC}&partition.assignment.strategy=range",
    "kip848": "group.protocol=consumer",
}

_numbers = itertools.count()


def until(what: str, condition: Callable[[], Any]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


class Topic:
    """A topic of one test."""

    def __init__(self, kafka: KafkaCluster, partitions: int) -> None:
        self.kafka = kafka
        self.partitions = partitions
        self.name = kafka.create_topic(f"accounts-{os.getpid()}-{time.time_ns()}", partitions)

    def produce(self, stream: Disorder, part: int, of: int) -> None:
        """Append a part of the stream, each entry to the partition that it names."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "linger.ms": 0, "log_level": 0})
        for partition, entry in stream.part(part, of, self.partitions):
            producer.produce(self.name, msgspec.json.encode(entry), entry.account.encode(), partition)
        assert producer.flush(PATIENCE_S) == 0

    def grow(self, partitions: int) -> None:
        self.kafka.grow(self.name, partitions)
        self.partitions = partitions


class Crew:
    """Worker processes of one kind, in one consumer group."""

    module = "tests.e2e.worker"

    def __init__(self, topic: Topic, protocol: str, kind: str, folder: Path) -> None:
        self.kind = kind
        self._topic = topic
        self.group = f"{topic.name}-{kind}-{next(_numbers)}"
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.path = folder / f"{kind}.db"
        self.effects = folder / f"{kind}.effects"
        self.effects.touch()
        prepare_group(topic.kafka, protocol, self.group)
        self._options = f"group={self.group}&topic.metadata.refresh.interval.ms=200&{PROTOCOLS[protocol]}"
        if kind in {"tx", "naive"}:
            Bank(str(self.path)).create()

    # processes

    def start(self, bootstrap: str | None = None) -> subprocess.Popen[bytes]:
        """Start a worker, which finds the brokers at `bootstrap`, and wait until it is up."""
        source = f"kafka://{bootstrap or self._topic.kafka.bootstrap}/{self._topic.name}?{self._options}"
        effects = self.path if self.kind == "naive" else self.effects
        command = [sys.executable, "-m", self.module, self.kind, source]
        process = subprocess.Popen(
            [*command, f"sqlite:///{self.path}", str(effects)], stdout=subprocess.PIPE, start_new_session=True
        )
        self._processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Ask a worker to leave; it finishes what runs."""
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        self._end(process)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self._end(process)

    def ask_to_freeze(self, process: subprocess.Popen[bytes]) -> None:
        """A worker stops in its next handler."""
        Path(f"{self.effects}.freeze").write_text(str(process.pid))

    def frozen(self, process: subprocess.Popen[bytes]) -> bool:
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "T"

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._processes.remove(process)
        if process.stdout is not None:
            process.stdout.close()

    def close(self) -> None:
        for process in list(self._processes):
            self.kill(process)

    # what they have done

    def done(self) -> int:
        """How many entries have taken effect."""
        if self.kind == "naive":
            return sum(map(len, Bank(str(self.path)).histories().values()))
        return self.counts().get("applied", 0)

    def committed(self) -> bool:
        """Whether the group has committed the whole topic."""
        client = Consumer({"bootstrap.servers": self._topic.kafka.bootstrap, "group.id": self.group, "log_level": 0})
        try:
            everything = [TopicPartition(self._topic.name, number) for number in range(self._topic.partitions)]
            committed = {found.partition: found.offset for found in client.committed(everything, timeout=10)}
            ends = {one.partition: client.get_watermark_offsets(one, timeout=10)[1] for one in everything}
        finally:
            client.close()
        return not any(committed[number] != end for number, end in ends.items() if end)

    def settled(self) -> bool:
        """Whether the group has committed the whole topic, and nothing waits in the store."""
        return self.committed() and (self.kind == "naive" or self._look(lambda store: store.held_count()) == 0)

    def reached(self, accounts: Sequence[str]) -> dict[str, int]:
        """The last version of each account that took effect."""
        found: dict[str, Entity] = self._look(lambda store: store.load(accounts))
        return {account: entity.version for account, entity in found.items()}

    def counts(self) -> dict[str, int]:
        """The sums over all workers, the dead ones included."""
        counts: dict[str, int] = self._look(lambda store: store.counts())
        return counts

    def check_counts(self, produced: int) -> None:
        """Every delivery has exactly one outcome."""
        counts = self.counts()
        outcomes = {outcome.value: counts.get(outcome.value, 0) for outcome in Outcome}
        assert counts["received"] == sum(outcomes.values())
        assert counts["received"] >= produced, "nothing was lost on the way"
        assert {name for name, n in outcomes.items() if n} == {"applied", "duplicate"}, outcomes

    def balances(self) -> dict[str, int]:
        if self.kind in {"tx", "naive"}:
            return Bank(str(self.path)).balances()
        return {key: account.balance for key, account in self._states().items()}

    def histories(self) -> dict[str, list[int]]:
        """The versions of each account, in the order they took effect."""
        if self.kind in {"tx", "naive"}:
            return Bank(str(self.path)).histories()
        if self.kind == "fold":
            return {key: account.versions for key, account in self._states().items()}
        found: defaultdict[str, list[int]] = defaultdict(list)
        for line in self.effects.read_text().splitlines():
            account, version = line.split()
            found[account].append(int(version))
        return dict(found)

    def _states(self) -> dict[str, Account]:
        rows = self._look(lambda store: list(store.states()))
        return {key: msgspec.json.decode(state, type=Account) for key, _, state in rows if state is not None}

    def _look(self, question: Callable[[SqliteStore], Any]) -> Any:
        store = SqliteStore(str(self.path), "accounts")
        try:
            return question(store)
        finally:
            store.close()
