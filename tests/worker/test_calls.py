"""Handlers without `tx`: many keys at once, each key serial, in order, at least once, and told what makes that safe."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import inorder
from inorder.worker.lane_runner import LaneRunner
from inorder.worker.lane_work import LaneWork
from tests.worker.bench import QUICK, Bench, Working, entries, until
from tests.worker.conftest import kinds
from tests.worker.consumers import Entry

OPTIONS: dict[str, Any] = {"key": "key", "version": "version", "id": "id", "name": "stream", "retry": QUICK}

both = kinds("call", "async call")


def lanes(working: Working) -> LaneWork:
    """What runs the lanes of a worker."""
    runner = working.parts.loop._runner
    assert isinstance(runner, LaneRunner)
    return runner._work


class Lanes:
    """Counts the handlers that run at the same time, of all keys and of each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: Counter[str] = Counter()
        self.peak = 0
        self.peak_of_a_key = 0

    @contextmanager
    def running(self, key: str) -> Iterator[None]:
        with self._lock:
            self._now[key] += 1
            self.peak = max(self.peak, self._now.total())
            self.peak_of_a_key = max(self.peak_of_a_key, self._now[key])
        try:
            yield
        finally:
            with self._lock:
                self._now[key] -= 1

    def act(self, entry: Entry) -> None:
        with self.running(entry.key):
            time.sleep(0.003)

    async def act_async(self, entry: Entry) -> None:
        with self.running(entry.key):
            await asyncio.sleep(0.003)


@both
def test_many_keys_are_handled_at_once_and_each_key_one_by_one(bench: Bench) -> None:
    lanes = Lanes()
    keys = [f"key-{number}" for number in range(20)]
    for version in range(1, 11):
        bench.produce(*[entry for key in keys for entry in entries(key, version)])
    bench.work(bench.declare(lanes.act if bench.kind == "call" else lanes.act_async), concurrency=8)
    assert bench.effects() == {key: list(range(1, 11)) for key in keys}
    assert lanes.peak == 8
    assert lanes.peak_of_a_key == 1


@both
def test_with_a_concurrency_of_one_there_is_one_at_a_time(bench: Bench) -> None:
    lanes = Lanes()
    bench.produce(*[entry for key in "abcdef" for entry in entries(key, 1, 2)])
    bench.work(bench.declare(lanes.act if bench.kind == "call" else lanes.act_async), concurrency=1)
    assert lanes.peak == 1
    assert bench.effects() == {key: [1, 2] for key in "abcdef"}


@both
def test_a_slow_key_does_not_hold_up_the_others(bench: Bench) -> None:
    gate = threading.Event()

    def act(entry: Entry) -> None:
        if entry.key == "slow":
            assert gate.wait(10)

    async def act_async(entry: Entry) -> None:
        while entry.key == "slow" and not gate.is_set():
            await asyncio.sleep(0.002)

    bench.produce(*entries("slow", 1, 2), *[entry for key in "abc" for entry in entries(key, 1, 2, 3)], partition=0)
    working = bench.start(bench.declare(act if bench.kind == "call" else act_async), concurrency=2)
    until("the others are through", lambda: bench.effects() == {key: [1, 2, 3] for key in "abc"})
    gate.set()
    until("all is settled", bench.committed)
    assert working.stop()
    assert bench.effects()["slow"] == [1, 2]


def batched(bench: Bench, size: int, act: Callable[[list[Entry]], None]) -> Callable[..., Any]:
    """A handler that takes lists."""
    if bench.kind == "call":

        @inorder.handler(**OPTIONS, batch=size)
        def handle(batch: list[Entry]) -> None:
            act(batch)

        return handle

    @inorder.handler(**OPTIONS, batch=size)
    async def handle_async(batch: list[Entry]) -> None:
        await asyncio.sleep(0)
        act(batch)

    return handle_async


@both
def test_a_batch_is_consecutive_events_of_one_key(bench: Bench) -> None:
    batches: list[list[tuple[str, int]]] = []

    def act(batch: list[Entry]) -> None:
        batches.append([(entry.key, entry.version) for entry in batch])
        for entry in batch:
            bench.calls.note(entry)

    for version in (1, 2, 3, 4, 5, 6, 7, 2, 8, 10, 9):
        bench.produce(*[entry for key in "abc" for entry in entries(key, version)])
    bench.work(batched(bench, 4, act))
    assert bench.effects() == {key: list(range(1, 11)) for key in "abc"}
    assert max(map(len, batches)) == 4
    for batch in batches:
        (key, first) = batch[0]
        assert batch == [(key, first + place) for place in range(len(batch))]
    assert bench.outcomes() == {"applied": 30, "duplicate": 3}


@both
def test_of_a_batch_that_fails_its_first_event_is_blamed_and_the_rest_follows_it(bench: Bench) -> None:
    def act(batch: list[Entry]) -> None:
        if any(entry.version == 3 for entry in batch):
            raise ValueError
        for entry in batch:
            bench.calls.note(entry)

    bench.produce(*entries("a", 1, 2, 3, 4), *entries("b", 1, 2))
    bench.work(batched(bench, 10, act))
    assert bench.effects()["b"] == [1, 2]
    assert bench.effects().get("a", []) in ([], [1], [1, 2]), "never the third, and nothing past it"
    assert bench.parked() == ["a"]


def contexts(bench: Bench, act: Callable[[Entry, inorder.Context], None], **options: Any) -> Callable[..., Any]:
    """A handler that is told its context."""
    if bench.kind == "call":

        @inorder.handler(**{**OPTIONS, **options})
        def handle(entry: Entry, context: inorder.Context) -> None:
            act(entry, context)

        return handle

    @inorder.handler(**{**OPTIONS, **options})
    async def handle_async(entry: Entry, context: inorder.Context) -> None:
        await asyncio.sleep(0)
        act(entry, context)

    return handle_async


@both
def test_a_handler_is_told_which_attempt_it_is_and_a_key_that_names_the_effect(bench: Bench) -> None:
    found: list[inorder.Context] = []

    def act(entry: Entry, context: inorder.Context) -> None:
        found.append(context)
        if entry.version == 2 and context.attempt < 3:
            raise ValueError

    bench.produce(*entries("a", 1, 2, 3))
    bench.work(contexts(bench, act))
    assert [(context.version, context.attempt) for context in found] == [(1, 1), (2, 1), (2, 2), (2, 3), (3, 1)]
    assert {(context.stream, context.key) for context in found} == {("stream", "a")}
    assert [context.idempotency_key for context in found[1:4]] == ["stream:a:2:a-2"] * 3
    assert len({context.idempotency_key for context in found}) == 3
    assert {context.partition for context in found} <= {f"topic/{number}" for number in range(4)}


@both
def test_the_fence_a_handler_is_told_grows_with_each_owner_of_the_partition(bench: Bench) -> None:
    fences: list[tuple[str, int]] = []

    def act(entry: Entry, context: inorder.Context) -> None:
        fences.append((context.partition, context.fence))

    for version in (1, 2, 3):
        bench.produce(*entries("a", version))
        bench.work(contexts(bench, act))
    assert len({partition for partition, _ in fences}) == 1
    numbers = [fence for _, fence in fences]
    assert numbers == sorted(set(numbers))
    assert numbers[0] > 0


@both
def test_attempts_go_on_from_where_the_last_worker_was(bench: Bench) -> None:
    attempts: list[int] = []

    def act(entry: Entry, context: inorder.Context) -> None:
        attempts.append(context.attempt)
        raise ValueError

    retry = inorder.Retry(attempts=3, delay_s=0.2, factor=1)
    bench.produce(*entries("a", 1))
    first = bench.start(contexts(bench, act, retry=retry))
    until("it failed once", lambda: bench.count("retries") == 1)
    assert first.stop()
    bench.work(contexts(bench, act, retry=retry))
    assert attempts == [1, 2, 3]
    assert bench.dead() == [("a", 1, "failed")]


@pytest.mark.parametrize("bench", ["call", "async call"], indirect=True)
def test_what_was_called_and_not_recorded_is_called_again_in_order(bench: Bench) -> None:
    """The group of completions is refused once, as when a replay was beside it: nothing is lost, order is kept."""
    meddled = threading.Event()

    def act(entry: Entry) -> None:
        if entry.version == 3 and not meddled.is_set():
            meddled.set()
            connection = bench.look._connection
            connection.execute("UPDATE inorder_entities SET revision = revision + 100 WHERE key = 'a'")

    bench.produce(*entries("a", 1, 2))
    bench.work(bench.declare(act))
    bench.produce(*entries("a", 3, 4, 5))
    bench.work(bench.declare(act))
    assert meddled.is_set()
    assert list(dict.fromkeys(bench.effects()["a"])) == [1, 2, 3, 4, 5]
    assert bench.outcomes()["applied"] == 5


@both
def test_what_comes_back_from_the_store_and_runs_while_a_commit_is_refused_is_counted_once(bench: Bench) -> None:
    """Its key is read again after a refusal, so the event that runs must not be decided beside its second copy."""
    runs, again = threading.Event(), threading.Event()
    calls = Counter[tuple[str, int]]()

    def seen(entry: Entry) -> Callable[[], bool]:
        """What is to come before this call may end."""
        calls[entry.key, entry.version] += 1
        if (entry.key, entry.version) == ("a", 3):
            runs.set()
            return again.is_set
        if (entry.key, entry.version) == ("b", 2):
            if calls["b", 2] == 2:
                again.set()
            return runs.is_set
        return lambda: True

    def meddle(entry: Entry) -> None:
        if (entry.key, entry.version) == ("b", 2) and not again.is_set():
            with sqlite3.connect(bench.path) as connection:
                connection.execute("UPDATE inorder_entities SET revision = revision + 100 WHERE key = 'b'")
            connection.close()

    def act(entry: Entry) -> None:
        until("it may go on", seen(entry))
        meddle(entry)

    async def act_async(entry: Entry) -> None:
        may_go_on = seen(entry)
        while not may_go_on():
            await asyncio.sleep(0.002)
        meddle(entry)

    function = bench.declare(act if bench.kind == "call" else act_async)
    bench.produce(*entries("a", 1, 3), *entries("b", 1))
    working = bench.start(function)
    until("the third waits", lambda: bench.outcomes() == {"applied": 2, "held": 1})
    bench.produce(*entries("a", 2), *entries("b", 2))
    until("all is settled", lambda: bench.committed() and not bench.waiting("a"))
    assert working.stop()
    assert bench.outcomes() == {"applied": 5}
    assert {key: list(dict.fromkeys(versions)) for key, versions in bench.effects().items()} == {
        "a": [1, 2, 3],
        "b": [1, 2],
    }


@both
def test_an_entity_that_the_cache_has_let_go_of_is_not_read_while_its_handler_runs(bench: Bench) -> None:
    """Of two copies of one entity, that of the second event would be written over what the first one did."""
    gate = threading.Event()

    def act(entry: Entry) -> None:
        if (entry.key, entry.version) == ("slow", 1):
            assert gate.wait(30)

    async def act_async(entry: Entry) -> None:
        while (entry.key, entry.version) == ("slow", 1) and not gate.is_set():
            await asyncio.sleep(0.002)

    function = bench.declare(act if bench.kind == "call" else act_async, limits=inorder.Limits(cache_bytes=0))
    bench.produce(*entries("slow", 1))
    working = bench.start(function)
    until("it runs", lambda: ("slow", 1) in bench.entered)
    bench.produce(*entries("other", 1))
    until("the other is through", lambda: bench.outcomes() == {"applied": 1})
    bench.produce(*entries("slow", 2))
    until("the second is queued", lambda: lanes(working)._lanes.queued)
    gate.set()
    until("all is settled", bench.committed)
    assert working.stop()
    assert bench.outcomes() == {"applied": 3}
    assert bench.effects() == {"slow": [1, 2], "other": [1]}


@both
def test_completions_are_committed_together_and_the_last_one_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far apart commits are to be, nothing waits for the next one when nothing runs."""
    monkeypatch.setattr("inorder.worker.commits.COMMIT_EVERY_S", 600.0)

    def act(entry: Entry) -> Any:
        return time.sleep(0.01) if bench.kind == "call" else asyncio.sleep(0.01)

    bench.produce(*entries("a", *range(1, 21)))
    working = bench.start(bench.declare(act), concurrency=1)
    until("all is settled", bench.committed)
    few = lanes(working)._commits.count
    assert few < 5
    bench.produce(*entries("a", 21))
    until("the lone one is settled too", lambda: bench.committed() and bench.outcomes() == {"applied": 21})
    assert lanes(working)._commits.count == few + 1
    assert working.stop()
