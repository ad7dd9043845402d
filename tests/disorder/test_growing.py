"""A topic grows while it is written and read: keys move, arrive out of order for a while, and end up right.

What decides is which of a key's two partitions is read first. One worker is slow at the wrong moment here, as one is
sooner or later, so that the test is the same each time.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import inorder
from inorder.core.partitioner import partition_for
from inorder.wiring import open_store
from inorder.worker.run import Worker
from inorder.worker.settings import Settings
from tests.disorder.stream import Entry
from tests.producing.reading import read_topic
from tests.services import KafkaCluster

BEFORE, AFTER = 2, 6
KEYS = [f"A-{number}" for number in range(30)]
LATE = range(21, 31)
"""Versions that are in the old partitions when the topic grows, and of which one worker is slow to take those of..."""
SLOW = {key for key in KEYS if partition_for(key.encode(), BEFORE) == 0}
QUICK = "topic.metadata.refresh.interval.ms=200"
PATIENCE_S = 60

_numbers = itertools.count()


def consumer(order: str, go_on: threading.Event) -> Callable[..., Any]:
    """Keeps the versions of each key as it applies them."""

    @inorder.fold(key="account", version="version", id="id", name=order, order=order)
    def history(before: list[int] | None, entry: Entry) -> list[int]:
        if entry.account in SLOW and entry.version in LATE:
            go_on.wait(PATIENCE_S)
        return [*(before or []), entry.version]

    return history


class Growing:
    """A topic, its producer, and two workers of each consumer."""

    def __init__(self, kafka: KafkaCluster, folder: Path) -> None:
        self.topic = kafka.create_topic(f"growing-{os.getpid()}-{next(_numbers)}", BEFORE)
        self.url = f"kafka://{kafka.bootstrap}/{self.topic}"
        self.store = f"sqlite:///{folder}/store.db"
        self.version = 0
        self.go_on = threading.Event()
        consumers = [consumer(order, self.go_on) for order in ("strict", "unguarded")]
        settings = [Settings(source=f"{self.url}?{QUICK}", store=self.store, worker=name) for name in "12"]
        self._workers = [Worker(*pair) for pair in itertools.product(consumers, settings)]
        self._threads = [threading.Thread(target=worker.run, daemon=True) for worker in self._workers]
        for thread in self._threads:
            thread.start()

    def produce(self, producer: inorder.Producer, rounds: int) -> set[int]:
        """The next versions of every key. Returns the partitions they went to."""
        sent = []
        for _ in range(rounds):
            self.version += 1
            for key in KEYS:
                entry = Entry(key, self.version, f"{key}-{self.version}")
                sent.append(producer.send(key, entry, version=entry.version, id=entry.id))
        producer.flush(20)
        return {delivery.result().partition for delivery in sent}

    def histories(self, stream: str) -> dict[str, list[int]]:
        look = open_store(self.store, stream)
        found = {key: msgspec.json.decode(state, type=list[int]) for key, _, state in look.states() if state}
        look.close()
        return found

    def counts(self) -> dict[str, int]:
        look = open_store(self.store, "strict")
        found: dict[str, int] = defaultdict(int, look.counts())
        found["held now"] = look.held_count()
        look.close()
        return found

    def stop(self) -> None:
        self.go_on.set()
        for worker in self._workers:
            worker.stop()
        for thread in self._threads:
            thread.join(20)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_growing_a_topic_under_load_disturbs_the_arrival_and_not_the_state(kafka: KafkaCluster, tmp_path: Path) -> None:
    growing = Growing(kafka, tmp_path)
    with inorder.Producer(f"{growing.url}?{QUICK}") as producer:
        growing.produce(producer, LATE.start - 1)
        growing.produce(producer, len(LATE))
        kafka.grow(growing.topic, AFTER)
        until(lambda: len(growing.produce(producer, 1)) == AFTER)
        growing.produce(producer, 20)
        until(lambda: growing.counts()["early"])
        until(lambda: any(LATE[-1] < max(h) and LATE[-1] not in h for h in growing.histories("unguarded").values()))
        growing.go_on.set()
        growing.produce(producer, 20)
    in_order = {key: list(range(1, growing.version + 1)) for key in KEYS}
    until(lambda: growing.histories("strict") == in_order)
    until(lambda: all(len(history) >= growing.version for history in growing.histories("unguarded").values()))
    growing.stop()

    where: dict[str, set[int]] = defaultdict(set)
    for row in read_topic(growing.url):
        where[(row.key or b"").decode()].add(row.partition)
    assert where == {key: {partition_for(key.encode(), count) for count in (BEFORE, AFTER)} for key in KEYS}

    counts = growing.counts()
    moved = [key for key in KEYS if len(where[key]) > 1]
    print(f"{len(moved)} of {len(KEYS)} keys moved; {counts['early']} of {counts['received']} events came early")
    assert counts["applied"] == len(KEYS) * growing.version
    assert counts["received"] == counts["applied"] + counts["duplicate"]
    assert counts["early"] == counts["released"] > 0
    assert counts["held now"] == 0
    wrong = {key for key, history in growing.histories("unguarded").items() if history != in_order[key]}
    assert wrong
    assert wrong <= set(moved)
