"""Keys that are woken while partitions come and go, or on what turns out to be old: once, and by their owner."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import inorder
from inorder.core.waiting import AT_ONCE, Wait, Waiting
from inorder.stores.sqlite import SqliteStore
from inorder.worker import worker as loop
from tests.worker.bench import Bench, Working, until
from tests.worker.conftest import kinds
from tests.worker.consumers import Entry
from tests.worker.scripted import ScriptedGroup, ScriptedTopic, put

PATIENT = inorder.Retry(attempts=3, delay_s=1.0, factor=1)


def lanes(working: Working) -> Any:
    """The inside of a worker's lanes: what it has been told is nowhere else to be seen."""
    runner: Any = working.parts.loop._runner
    return runner._work


class Gate:
    """Whoever comes here waits until it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.waits = False

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def passed(self) -> None:
        if not self._open.is_set():
            self.waits = True
            assert self._open.wait(30)
            self.waits = False


class Stage:
    """A worker whose store, and whose handler for chosen events, wait at gates. Keys fail until it is mended."""

    def __init__(self, bench: Bench, topic: ScriptedTopic, group: ScriptedGroup, **options: Any) -> None:
        self.mended = False
        self.away = False
        self.writes, self.reads = Gate(), Gate()
        self.gates: dict[tuple[str, int], Gate] = {}
        self._bench = bench
        self._topic = topic
        stage = self

        class Gated(SqliteStore):
            def transaction(self) -> Any:
                if threading.current_thread().name.startswith("inorder-store"):
                    stage.writes.passed()
                return super().transaction()

            def held(self, key: str, most: int) -> Any:
                stage.reads.passed()
                return super().held(key, most)

        self.source = group.member()
        consumer = bench.declare(self._act, retry=PATIENT, **options)
        self.working = bench.start(
            consumer, self.source, concurrency=1, open_store=lambda: Gated(str(bench.path), "stream")
        )
        group.give(self.source, 0, 1)

    def _act(self, entry: Entry) -> None:
        if (entry.key, entry.version) in self.gates:
            self.gates[entry.key, entry.version].passed()
        if self.away:
            raise inorder.Unavailable("away")
        if entry.key in "ab" and entry.version == 1 and not self.mended:
            raise ValueError("not yet")

    def stop_at(self, key: str, version: int) -> Gate:
        self.gates[key, version] = gate = Gate()
        gate.close()
        return gate

    def failed(self, times: int) -> None:
        until("they failed once, durably", lambda: self._bench.count("retries") == times)
        until("the worker knows", lambda: self.source.group.settled(0) == times)
        self.mended = True

    def due(self) -> None:
        """Until what failed is due, and has been for a while."""
        last = max(waiting.due_at for waiting in self._bench.look.due([self._topic.partition(0)]).values())
        until("it is long due", lambda: self.working.parts.clock.now() > last + 0.2)

    def taken(self, number: int) -> None:
        """Let the worker begin to let go of a partition."""
        partition = self._topic.partition(number)
        self._bench_group().give(None, number)
        until("it lets go", lambda: partition not in lanes(self.working)._known.fences)

    def _bench_group(self) -> ScriptedGroup:
        return self.source.group


@kinds("call")
def test_a_key_that_goes_away_while_it_is_woken_is_left_to_the_next_owner(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup
) -> None:
    put(topic, 0, "a", 1)
    stage = Stage(bench, topic, group)
    stage.failed(1)
    stage.reads.close()
    until("what waits is being read", lambda: stage.reads.waits)
    stage.taken(0)
    until("the partition is free", lambda: 0 not in group.owners)
    stage.reads.open()
    put(topic, 1, "z", 1)
    until("it works on", lambda: group.settled(1) == 1)
    assert bench.entered == [("a", 1), ("z", 1)]
    group.give(stage.source, 0)
    until("the owner did it", lambda: bench.count("applied") == 2)


@kinds("call")
def test_what_is_put_back_in_an_outage_is_not_tried_again_once_its_home_is_gone(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup
) -> None:
    put(topic, 0, "a", 1)
    stage = Stage(bench, topic, group, limits=inorder.Limits(drain_s=0.1))
    stage.failed(1)
    gate = stage.stop_at("a", 1)
    until("it is tried again", lambda: gate.waits)
    stage.taken(0)
    until("the partition is free", lambda: 0 not in group.owners)
    stage.away = True
    gate.open()
    until("it has ended", lambda: not gate.waits)
    until("it pauses", lambda: lanes(stage.working)._deciding._paused_s)
    stage.away = False
    put(topic, 1, "z", 1)
    until("it works on", lambda: group.settled(1) == 1)
    assert bench.entered == [("a", 1), ("a", 1), ("z", 1)]


@kinds("call")
def test_a_refused_commit_while_keys_are_woken_does_not_wake_them_twice(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup
) -> None:
    put(topic, 0, "a", 1)
    put(topic, 0, "b", 1)
    stage = Stage(bench, topic, group)
    stage.failed(2)
    home = topic.partition(0)
    late = max(waiting.due_at for waiting in bench.look.due([home]).values()) + 0.2
    both = {key: Waiting(Wait.RETRY, 1, 0.0, due_at=late, home=home) for key in "ab"}
    loop_ = stage.working.parts.loop
    loop_._runner.own(loop_._engine.fences, both)
    stage.writes.close()
    put(topic, 1, "z", 1)
    until("it is being committed", lambda: stage.writes.waits)
    stage.reads.close()
    until("both are woken", lambda: stage.working.parts.clock.now() > late + 0.2)
    woken = lanes(stage.working)._waking
    bench.look.acquire([topic.partition(1)])
    stage.writes.open()
    until("what waits for the first is being read", lambda: stage.reads.waits)
    until("the refusal has come", lambda: topic.partition(1) not in lanes(stage.working)._known.fences)
    until("they were rung for again", lambda: {"a", "b"} == set(woken._rung) | woken._draining.keys())
    stage.reads.open()
    until("both took effect", lambda: bench.count("applied") == 2)
    stage.working.stop()
    assert bench.outcomes() == {"applied": 2}


@kinds("fold", "tx", "call")
def test_old_news_of_a_retry_do_not_take_its_time_away(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The poll loop reads that a key is due; before it says so, the key has failed again."""
    monkeypatch.setattr(loop, "OVERDUE_EVERY_S", 10_000)
    put(topic, 0, "a", 1)
    stage = Stage(bench, topic, group)
    stage.failed(1)
    old = Waiting(Wait.RETRY, 1, 0.0, due_at=AT_ONCE, home=topic.partition(0))
    parts = stage.working.parts
    parts.loop._runner.own(parts.loop._engine.fences, {"a": old})
    until("it is tried again", lambda: bench.outcomes() == {"applied": 1})


@kinds("call")
def test_what_others_did_with_a_partition_is_not_repeated_when_it_comes_back(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup
) -> None:
    put(topic, 0, "c", 1, 2)
    stage = Stage(bench, topic, group)
    until("it has done these", lambda: group.settled(0) == 2)
    other = group.member()
    other.commit = lambda offsets: None  # type: ignore[method-assign]  # it dies before it commits any
    second = bench.start(bench.declare(), other)
    group.give(other, 0)
    put(topic, 0, "c", 3, 4)
    until("another did those", lambda: bench.count("applied") == 4)
    group.seize(0, heir=stage.source)
    until("they were given out again", lambda: group.settled(0) == 4)
    assert bench.effects() == {"c": [1, 2, 3, 4]}
    second.stop()


@kinds("call")
def test_a_held_event_is_handled_under_the_fence_of_its_keys_home(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup
) -> None:
    """It came from a partition of somebody else: the fence is of whoever had the missing version, who handles it."""
    told: list[tuple[int, str, int]] = []
    gate = Gate()
    gate.close()

    @inorder.handler(key="key", version="version", id="id", name="stream")
    def note(entry: Entry, context: inorder.Context) -> None:
        told.append((entry.version, context.partition, context.fence))
        if entry.version == 2:
            gate.passed()

    first, second = group.member(), group.member()
    bench.start(note, first)
    group.give(first, 0)
    put(topic, 0, "a", 2)
    until("it waits", lambda: bench.outcomes() == {"held": 1})
    bench.look.acquire([topic.partition(1)])
    working = bench.start(note, second)
    group.give(second, 1)
    put(topic, 1, "a", 1)
    until("it is handled", lambda: gate.waits)
    assert told == [(1, "topic/1", 2), (2, "topic/1", 2)]
    group.give(None, 1)
    until("it lets go", lambda: topic.partition(1) not in lanes(working)._known.fences)
    polls = second.polls
    threading.Event().wait(0.1)
    assert group.owners.get(1) is second, "it keeps the partition for as long as its handler runs"
    assert second.polls == polls
    gate.open()
    until("the partition is free", lambda: 1 not in group.owners)
    assert bench.outcomes() == {"applied": 2}
