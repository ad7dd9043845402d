"""Workers in a group of a real broker: what a rebalance may cost, and what a worker that breaks down leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import inorder
from inorder.declaration import declaration_of
from inorder.stores.sqlite import SqliteStore
from inorder.worker.assemble import Assembled
from inorder.worker.settings import Settings
from tests.kafka import broker
from tests.kafka.harness import KafkaHarness
from tests.kafka.protocols import SESSION_S
from tests.services import KafkaCluster
from tests.worker.bench import Working, encoded, entries, until
from tests.worker.consumers import Calls, Entry, declare

PATIENCE_S = 30.0


class Group:
    """Workers without `tx` on one topic, in one group."""

    def __init__(self, harness: KafkaHarness, folder: Path) -> None:
        self.harness = harness
        self.calls = Calls()
        self._path = str(folder / "store.db")
        self._working: list[Working] = []

    def store(self) -> SqliteStore:
        return SqliteStore(self._path, "stream")

    def start(self, act: Callable[[Entry], Any], **limits: Any) -> Working:
        function = declare("call", act, self.calls.note, limits=inorder.Limits(**limits))
        settings = Settings(source="", concurrency=4)
        parts = Assembled(declaration_of(function), settings, self.harness.open(), self.store)
        self._working.append(Working(parts, None))
        return self._working[-1]

    def close(self) -> None:
        for working in self._working:
            working.ask_to_stop()
        for working in self._working:
            working._thread.join(PATIENCE_S)


@pytest.fixture
def group(harness: KafkaHarness, tmp_path: Path) -> Iterator[Group]:
    made = Group(harness, tmp_path)
    yield made
    made.close()


def owns(working: Working) -> int:
    return len(working.parts.loop._engine.fences)


@pytest.mark.parametrize("harness", ["cooperative", "kip848"], indirect=True)
def test_a_handler_that_hangs_does_not_keep_a_revocation_past_the_poll_interval(group: Group) -> None:
    """The drain has a limit below `max.poll.interval.ms`, so the group never takes this worker for dead."""
    gate = threading.Event()
    for number in (0, 1):
        group.harness.produce(number, [encoded(*entries(f"key-{number}", 1))])
    entered: list[str] = []

    def act(entry: Entry) -> None:
        entered.append(entry.key)
        gate.wait(PATIENCE_S)

    first = group.start(act, drain_s=SESSION_S / 4)
    until("its handlers hang", lambda: len(entered) == 2, PATIENCE_S)
    before = dict(first.parts.loop._engine.fences)
    second = group.start(lambda entry: None)
    until("they share", lambda: owns(first) == owns(second) == 1, PATIENCE_S)
    ((kept, fence),) = first.parts.loop._engine.fences.items()
    assert before[kept] == fence, "what it kept, it never lost in between"
    gate.set()


@pytest.mark.parametrize("harness", ["cooperative"], indirect=True)
def test_a_worker_whose_poll_loop_dies_leaves_the_group(group: Group) -> None:
    """It says goodbye, so nobody waits for the end of its session, which is longer than this test's patience."""

    class Broken(Exception):
        pass

    for name in ("session.timeout.ms", "max.poll.interval.ms"):
        group.harness.set(name, "60000")
    first = group.start(lambda entry: None)
    until("it owns the topic", lambda: owns(first) == 2, PATIENCE_S)

    def die() -> None:
        raise Broken

    first.parts.loop._on_poll = die
    until("it died", lambda: first.ended, PATIENCE_S)
    assert isinstance(first.error, Broken)
    second = group.start(lambda entry: None)
    group.harness.produce(0, [encoded(*entries("a", 1))])
    until("its successor works", lambda: broker.committed(group.harness).get(0) == 1, PATIENCE_S)
    assert owns(second) == 2


def test_a_log_that_is_lost_in_mid_run_is_committed_as_far_as_the_new_one_is_done(tmp_path: Path) -> None:
    with KafkaCluster() as cluster:
        harness = KafkaHarness(cluster, "cooperative")
        for name in ("session.timeout.ms", "max.poll.interval.ms"):
            harness.set(name, "60000")
        group = Group(harness, tmp_path)
        harness.produce(0, [encoded(entry) for entry in entries("a", *range(1, 11))])
        group.start(lambda entry: None)
        until("all is committed", lambda: broker.committed(harness).get(0) == 10, PATIENCE_S)
        cluster.kill(0)
        cluster.lose(harness.topic, 0)
        cluster.start(0)
        harness.produce(0, [encoded(entry) for entry in entries("a", 11, 12)])
        until("its successor would begin there", lambda: broker.committed(harness).get(0) == 2, PATIENCE_S)
        group.close()
