"""Rebalances and commits: what the source promises while partitions come and go, in each group protocol."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from inorder.core.event import Partition
from inorder.sources import kafka_end, kafka_member
from inorder.sources.kafka import KafkaSource
from tests.kafka import broker
from tests.kafka.harness import KafkaHarness
from tests.kafka.protocols import SESSION_S
from tests.services import KafkaCluster
from tests.sources.harness import Consumer, for_a_while, until
from tests.sources.test_source_conformance import numbered, owning


class Noted(Consumer):
    """Notes the order in which it is told things and given records."""

    def __init__(self, harness: KafkaHarness) -> None:
        self.story: list[str] = []
        self.delay_s = 0.0
        super().__init__(harness)

    def assigned(self, partitions: Sequence[Partition]) -> None:
        self.story.append("assigned")
        time.sleep(self.delay_s)
        self.story.append("assigned returned")
        super().assigned(partitions)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        self.story.append("revoked")
        super().revoked(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        self.story.append("lost")
        super().lost(partitions)


def test_no_record_comes_before_the_assignment(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(100))
    harness.produce(1, numbered(100))
    consumer = Noted(harness)
    consumer.delay_s = 0.3  # time enough for a record to be fetched, if anything were fetched yet
    seen: list[str] = []
    while len(consumer.received) < 200:
        told = len(consumer.story)
        if consumer.poll():
            seen = seen or consumer.story[: max(told, len(consumer.story))]
    assert seen[:2] == ["assigned", "assigned returned"]


def test_commits_during_a_rebalance_are_harmless_and_arrive(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(200))
    harness.produce(1, numbered(200))
    first = owning(harness)
    first.on_revoked = first.commit_all
    second = Consumer(harness)
    second.on_revoked = second.commit_all
    while not (len(first.owned) == len(second.owned) == 1):
        for consumer in (first, second):
            consumer.poll(most=5)
            consumer.commit_all()
    until("all came", lambda: len(first.received) + len(second.received) >= 400, first, second)
    first.commit_all()
    second.commit_all()
    until("all is committed", lambda: broker.committed(harness) == {0: 200, 1: 200}, first, second)
    given = [(record.partition, record.offset) for c in (first, second) for record in c.received]
    assert len(given) == len(set(given)), "everything was committed before it went over"


def test_a_commit_after_leaving_is_ignored(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(10))
    consumer = owning(harness)
    until("all came", lambda: len(consumer.received) == 10, consumer)
    consumer.commit({0: 4})
    consumer.source.close()
    consumer.commit({0: 10})
    assert isinstance(consumer.source, KafkaSource)
    assert consumer.source.ignored_commits == 1
    assert broker.committed(harness) == {0: 4}


def test_a_commit_asked_within_revoked_is_made_before_the_partition_goes(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(10))
    harness.produce(1, numbered(10))
    consumer = owning(harness)
    until("all came", lambda: len(consumer.received) == 20, consumer)
    consumer.on_revoked = consumer.commit_all
    consumer.source.close()
    assert broker.committed(harness) == {0: 10, 1: 10}


def test_a_commit_of_lost_partitions_is_ignored(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(10))
    sleeper = owning(harness)
    until("all came", lambda: len(sleeper.received) == 10, sleeper)
    heir = owning(harness)
    heir.commit({0: 10})
    until("it is told", lambda: len(sleeper.lost_ever) == 2, sleeper, heir)
    sleeper.commit({0: 2})
    for_a_while(0.3, sleeper, heir)
    assert broker.committed(harness)[0] == 10


def test_handing_over_is_revoked_and_sleeping_is_lost(harness: KafkaHarness) -> None:
    first = Noted(harness)
    until("it owns the topic", lambda: len(first.owned) == 2, first)
    second = Noted(harness)
    until("they share", lambda: len(first.owned) == len(second.owned) == 1, first, second)
    assert "revoked" in first.story
    assert "lost" not in first.story + second.story
    first.story.clear()
    until("the other has all", lambda: len(second.owned) == 2, second)  # nobody polls the first one
    until("it is told", lambda: "lost" in first.story, first, second)
    assert first.lost_ever
    assert "revoked" not in first.story[: first.story.index("lost")]


def test_what_a_listener_raises_comes_out_of_poll_and_costs_no_record(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(50))
    harness.produce(1, numbered(50))
    first = owning(harness)
    first.on_revoked = lambda partitions: 1 / 0  # type: ignore[assignment]
    second = Consumer(harness)
    raised = 0
    deadline = time.monotonic() + harness.patience_s
    while not (len(second.owned) == 1 and len(first.received) + len(second.received) >= 100):
        assert time.monotonic() < deadline
        try:
            first.poll(most=3)
        except ZeroDivisionError:
            raised += 1
        second.poll()
    assert raised
    first.on_revoked = lambda partitions: None
    (kept,) = second.owned ^ {first.partition(0), first.partition(1)}
    until("the rest came", lambda: set(first.values(kept.number)) == set(numbered(50)), first, second)


class Interruptible:
    """librdkafka's consumer, whose `consume` alone may be interrupted."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self.inside = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def consume(self, most: int, timeout_s: float) -> Any:
        self.inside = True
        try:
            return self._consumer.consume(most, timeout_s)
        finally:
            self.inside = False

    def interrupt(self, number: int, frame: object) -> None:
        if self.inside:
            raise InterruptedError


def test_a_signal_handler_that_raises_in_poll_costs_no_record(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(3000))
    consumer = owning(harness)
    assert isinstance(consumer.source, KafkaSource)
    member = consumer.source._member
    interruptible = Interruptible(member.consumer)
    member.consumer = interruptible  # type: ignore[assignment]
    before = signal.signal(signal.SIGUSR1, interruptible.interrupt)
    enough = threading.Event()

    def disturb() -> None:
        while not enough.wait(0.003):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    interrupted = 0
    deadline = time.monotonic() + harness.patience_s
    while interrupted <= 50 and time.monotonic() < deadline:
        with suppress(InterruptedError):
            consumer.poll(most=5, timeout_s=0.01)
            continue
        interrupted += 1
    enough.set()
    disturber.join()
    signal.signal(signal.SIGUSR1, before)
    until("all came", lambda: len(set(consumer.values())) == 3000, consumer)
    assert interrupted > 50
    firsts = list(dict.fromkeys(record.offset for record in consumer.received))
    assert firsts == list(range(3000)), "each offset came, and none before an earlier one"


def test_a_paused_poll_keeps_the_membership_past_the_poll_interval(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(500))
    busy = owning(harness)
    until("it is at work", lambda: bool(busy.received), busy)
    busy.source.pause(busy.owned)
    given = len(busy.received)
    for_a_while(SESSION_S * 2, busy)
    assert len(busy.received) == given
    assert busy.lost_ever == set()
    busy.source.resume(busy.owned)
    until("the rest came", lambda: len(busy.received) == 500, busy)
    assert busy.values() == numbered(500)


def test_who_polls_a_little_too_late_still_says_what_it_lost(harness: KafkaHarness) -> None:
    late = owning(harness)
    time.sleep(SESSION_S * 1.5)
    until("it has noticed", lambda: len(late.lost_ever) == 2, late)
    until("it owns them again", lambda: len(late.owned) == 2, late)


def test_leaving_a_broker_that_hangs_takes_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, limit in ((kafka_member, "LEAVE_WAIT_S"), (kafka_member, "CLOSE_WAIT_S"), (kafka_end, "ASK_TIMEOUT_S")):
        assert getattr(module, limit) <= 5, "and this test waits for each of them, so it makes them shorter"
        monkeypatch.setattr(module, limit, 1.0)
    with KafkaCluster() as cluster:
        consumers = []
        for protocol in ("cooperative", "kip848"):
            harness = KafkaHarness(cluster, protocol)
            harness.set("max.poll.interval.ms", "60000")
            harness.produce(0, numbered(10))
            consumer = owning(harness)
            until("all came", lambda c=consumer: len(c.received) == 10, consumer)  # type: ignore[misc]
            consumers.append(consumer)
        cluster.pause(0)
        for consumer in consumers:
            consumer.commit_all()
            started = time.monotonic()
            assert not consumer.source.at_end()
            consumer.source.close()
            assert time.monotonic() - started < 15
            assert consumer.owned == set()
        cluster.resume(0)


def test_a_cluster_that_goes_away_in_mid_run_is_told_of_once_each_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kafka_member, "CLOSE_WAIT_S", 1.0)
    with KafkaCluster() as cluster:
        harness = KafkaHarness(cluster, "cooperative")
        harness.set("max.poll.interval.ms", "60000")
        consumer = owning(harness)

        def told() -> int:
            says = f"Kafka at {cluster.bootstrap} does not answer, tried again: "
            warnings = [record for record in caplog.records if record.levelname == "WARNING"]
            return sum(record.getMessage().startswith(says) for record in warnings)

        for count in (1, 2):
            if count == 2:
                cluster.start(0)
            given = len(consumer.received)
            harness.produce(0, [b"v"])
            until("something came", lambda before=given: len(consumer.received) > before, consumer)  # type: ignore[misc]
            assert told() == count - 1
            cluster.kill(0)
            until("it is told", lambda wanted=count: told() == wanted, consumer)  # type: ignore[misc]
            for_a_while(1.0, consumer)
            assert told() == count, "and not again for each attempt"
        harness.close()
