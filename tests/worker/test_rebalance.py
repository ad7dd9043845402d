"""Partitions that come, go and come back while handlers run: no key overlaps, nothing is lost, nothing counts twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import inorder
from tests.worker.bench import Bench, Working, encoded, entries, until
from tests.worker.conftest import kinds
from tests.worker.consumers import Entry
from tests.worker.scripted import ScriptedGroup, ScriptedSource, ScriptedTopic, put


class Gate:
    """Handlers of chosen events wait here until they are let through. Notes which keys are being handled."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.stops: set[tuple[str, int]] = set()
        self.waiting = 0
        self.active: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()

    def act(self, entry: Entry) -> None:
        with self._passing(entry) as stopped:
            if stopped:
                assert self._open.wait(10)

    async def act_async(self, entry: Entry) -> None:
        with self._passing(entry) as stopped:
            while stopped and not self._open.is_set():
                await asyncio.sleep(0.002)

    @contextmanager
    def _passing(self, entry: Entry) -> Iterator[bool]:
        with self._lock:
            self.active[entry.key] += 1
            self.peak[entry.key] = max(self.peak[entry.key], self.active[entry.key])
            stopped = (entry.key, entry.version) in self.stops
            self.waiting += stopped
        try:
            yield stopped
        finally:
            with self._lock:
                self.active[entry.key] -= 1
                self.waiting -= stopped

    def stop_nobody_else(self) -> None:
        with self._lock:
            self.stops.clear()

    def open(self) -> None:
        """From now on nobody is stopped."""
        self.stop_nobody_else()
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    found = Gate()
    yield found
    found.open()


without_tx = kinds("fold", "async fold", "call", "async call")
"""A handler with `tx` that takes its time keeps a SQLite file to itself: nobody can take over meanwhile."""


def joined(
    bench: Bench, group: ScriptedGroup, gate: Gate, *numbers: int, **limits: Any
) -> tuple[Working, ScriptedSource]:
    """A worker that is to have these partitions."""
    source = group.member()
    chosen = inorder.Limits(**{"drain_s": 5.0, **limits})
    act = gate.act_async if bench.kind.startswith("async") else gate.act
    working = bench.start(bench.declare(act, limits=chosen), source, concurrency=4)
    group.give(source, *numbers)
    return working, source


def effects_in_order(bench: Bench) -> dict[str, list[int]]:
    """The effects; of handlers without `tx`, whose effects may be repeated, each at its first time."""
    effects = bench.effects()
    return {key: list(dict.fromkeys(found)) if "call" in bench.kind else found for key, found in effects.items()}


def all_settled(group: ScriptedGroup) -> bool:
    return all(group.settled(number) == len(log) for number, log in enumerate(group.topic.logs))


def test_a_revocation_waits_for_the_running_handler_and_commits_what_it_did(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup, gate: Gate
) -> None:
    gate.stops = {("a", 2)}
    put(topic, 0, "a", 1, 2, 3)
    _, source = joined(bench, group, gate, 0)
    until("the handler runs", lambda: gate.waiting)
    group.give(None, 0)
    polls = source.polls
    time.sleep(0.05)
    assert group.owners.get(0) is source, "it keeps the partition for as long as its handler runs"
    assert source.polls == polls
    gate.open()
    until("the partition is free", lambda: 0 not in group.owners)
    done = bench.effects()["a"]
    assert done[:2] == [1, 2]
    assert group.settled(0) <= len(done), "nothing is settled that was not done"
    joined(bench, group, gate, 0, 1)
    until("the next owner did the rest", lambda: all_settled(group))
    assert bench.effects() == {"a": [1, 2, 3]}
    assert gate.peak["a"] == 1


def test_what_is_settled_when_a_partition_goes_is_not_done_again(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup, gate: Gate
) -> None:
    put(topic, 0, "a", *range(1, 11))
    joined(bench, group, gate, 0)
    until("all took effect", lambda: bench.effects().get("a") == list(range(1, 11)))
    group.give(None, 0)
    until("the partition is free", lambda: 0 not in group.owners)
    assert group.settled(0) == 10
    heir, _ = joined(bench, group, gate, 0, 1)
    put(topic, 0, "a", 11)
    until("the next owner goes on", lambda: all_settled(group))
    assert bench.effects() == {"a": list(range(1, 12))}
    assert bench.outcomes([heir.tally]) == {"applied": 1}


@without_tx
def test_a_handler_that_outlasts_the_drain_settles_nothing_when_it_ends(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup, gate: Gate
) -> None:
    gate.stops = {("a", 1)}
    put(topic, 0, "a", 1, 2, 3)
    old, _ = joined(bench, group, gate, 0, drain_s=0.1)
    until("the handler runs", lambda: gate.waiting)
    group.give(None, 0)
    until("the partition is free", lambda: 0 not in group.owners)
    assert group.settled(0) == 0
    gate.stop_nobody_else()
    joined(bench, group, gate, 0, 1)
    until("the next owner did it all", lambda: all_settled(group))
    before = bench.outcomes()
    gate.open()
    until("the handler has ended", lambda: not gate.active["a"])
    old.stop()
    assert bench.effects()["a"][:3] == [1, 2, 3]
    if "call" not in bench.kind:
        assert bench.effects() == {"a": [1, 2, 3]}
    assert bench.outcomes()["applied"] == before["applied"] == 3


@without_tx
def test_a_late_finish_is_refused_by_the_fence_before_the_next_owner_has_begun(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup, gate: Gate
) -> None:
    gate.stops = {("a", 1)}
    put(topic, 0, "a", 1, 2, 3)
    old, _ = joined(bench, group, gate, 0)
    until("the handler runs", lambda: gate.waiting)
    group.seize(0)
    until("the fence is raised", lambda: bench.look.acquire([topic.partition(0)]))
    gate.open()
    until("the handler has ended", lambda: not gate.active["a"])
    assert old.stop()
    assert group.settled(0) == 0
    assert bench.outcomes() == {}
    if "call" not in bench.kind:
        assert bench.effects() == {}


@without_tx
@pytest.mark.parametrize("how", ["revoked", "lost"])
def test_a_partition_that_comes_back_to_the_worker_whose_handler_still_runs(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup, gate: Gate, how: str
) -> None:
    gate.stops = {("a", 2)}
    put(topic, 0, "a", 1, 2, 3, 4)
    put(topic, 1, "b", 1, 2)
    working, source = joined(bench, group, gate, 0, 1, drain_s=0.1)
    until("the handler runs", lambda: gate.waiting)
    if how == "lost":
        group.seize(0, heir=source)
    else:
        group.give(None, 0)
        until("the partition is free", lambda: 0 not in group.owners)
        group.give(source, 0)
    until("its records were given out again", lambda: source.given >= 10)
    gate.open()
    until("all is settled", lambda: all_settled(group))
    put(topic, 0, "a", 5)
    until("it goes on", lambda: all_settled(group))
    working.stop()
    assert gate.peak["a"] == 1, "the key never overlaps"
    assert effects_in_order(bench) == {"a": [1, 2, 3, 4, 5], "b": [1, 2]}
    assert bench.outcomes()["applied"] == 7


@without_tx
def test_nothing_more_is_started_of_a_partition_that_was_lost(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup, gate: Gate
) -> None:
    gate.stops = {("a", 1)}
    put(topic, 0, "a", *range(1, 50))
    old, source = joined(bench, group, gate, 0, poll_events=5)
    until("the handler runs", lambda: gate.waiting)
    group.seize(0, heir=None)
    polls = source.polls
    until("it was told", lambda: source.polls > polls + 1)
    bench.look.acquire([topic.partition(0)])
    gate.open()
    until("the handler has ended", lambda: not gate.active["a"])
    assert old.stop()
    assert len(bench.entered) <= 5, "the batch or the call that ran, and nothing behind it"
    assert bench.outcomes() == {}


@kinds("call", "async call")
def test_a_revocation_does_not_wait_for_the_work_of_other_partitions(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup
) -> None:
    def act(entry: Entry) -> Any:
        return asyncio.sleep(0.005) if bench.kind.startswith("async") else time.sleep(0.005)

    source = group.member()
    topic.put(0, [encoded(entry) for entry in entries("a", 1)])
    topic.put(1, [encoded(entry) for key in range(40) for entry in entries(f"b{key}", *range(1, 11))])
    bench.start(bench.declare(act), source, concurrency=2)
    group.give(source, 0, 1)
    until("it works", lambda: group.settled(0) == 1 and bench.entered)
    began = time.monotonic()
    group.give(None, 0)
    until("the partition is free", lambda: 0 not in group.owners)
    assert len(bench.entered) < 300, "there was still work to do"
    assert time.monotonic() - began < 0.5


def test_a_full_worker_pauses_its_source_polls_on_and_drops_nothing(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup, gate: Gate
) -> None:
    gate.stops = {("a", 1)}
    for version in range(1, 61):
        put(topic, 0, "a", version)
        put(topic, 1, "b", version)
    _, source = joined(bench, group, gate, 0, 1, in_flight_events=20, poll_events=5)
    until("it is paused", lambda: source.paused == {topic.partition(0), topic.partition(1)})
    assert source.given - len(bench.entered) <= 25, "it stops about where its limit is"
    polls, given = source.polls, source.given
    until("it is polled all the same", lambda: source.polls > polls + 2)
    assert source.given == given
    gate.open()
    until("all is settled", lambda: all_settled(group))
    assert source.paused == set()
    assert bench.effects() == {"a": list(range(1, 61)), "b": list(range(1, 61))}
    assert bench.outcomes() == {"applied": 120}


def test_the_limit_in_bytes_pauses_too(bench: Bench, topic: ScriptedTopic, group: ScriptedGroup, gate: Gate) -> None:
    gate.stops = {("a", 1)}
    put(topic, 0, "a", *range(1, 61))
    _, source = joined(bench, group, gate, 0, in_flight_bytes=500, poll_events=5)
    until("it is paused", lambda: source.paused)
    assert source.given < 40
    gate.open()
    until("all is settled", lambda: all_settled(group))
    assert bench.effects() == {"a": list(range(1, 61))}


@without_tx
def test_a_partition_that_comes_to_a_full_worker_is_paused_until_there_is_room(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup, gate: Gate
) -> None:
    gate.stops = {("a", 1)}
    put(topic, 0, "a", *range(1, 31))
    put(topic, 1, "b", *range(1, 31))
    _, source = joined(bench, group, gate, 0, in_flight_events=10, poll_events=5)
    until("it is paused", lambda: source.paused == {topic.partition(0)})
    group.give(source, 1)
    until("the other one came, and is paused", lambda: source.paused == {topic.partition(0), topic.partition(1)})
    gate.open()
    until("all is settled", lambda: all_settled(group))
    assert bench.effects() == {"a": list(range(1, 31)), "b": list(range(1, 31))}


def test_partitions_moved_back_and_forth_among_workers_under_load(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup, gate: Gate
) -> None:
    first, one = joined(bench, group, gate, 0, 1, poll_events=7)
    second, other = joined(bench, group, gate, poll_events=7)
    last = 120
    for version in range(1, last + 1):
        put(topic, version % 2, "a", version)
        put(topic, 0, "b", version)
        put(topic, 1, "c", version)
        if version % 10 == 0:
            moved = version // 10
            group.give((one, other)[moved % 2], moved % 3 % 2)
            time.sleep(0.002)
        if version % 35 == 0:
            group.seize(0, heir=(one, other)[version % 2])
    until("all is settled", lambda: all_settled(group))
    until("nothing waits", lambda: bench.look.held_count() == 0)
    assert first.stop()
    assert second.stop()
    assert effects_in_order(bench) == {key: list(range(1, last + 1)) for key in "abc"}
    assert bench.outcomes()["applied"] == 3 * last
