"""How a worker ends: what runs is finished, what is queued is left to the next one, and nothing due is missed."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

import inorder
from inorder.declaration import declaration_of
from tests.worker.bench import GROUP, TOPIC, Bench, Working, entries, until
from tests.worker.conftest import kinds
from tests.worker.consumers import Entry


def test_a_worker_that_is_stopped_finishes_what_runs_and_leaves_the_rest(bench: Bench) -> None:
    gate = threading.Event()

    def act(entry: Entry) -> Any:
        if entry.version == 1:
            if bench.kind.startswith("async"):
                return wait()
            assert gate.wait(10)
        return None

    async def wait() -> None:
        while not gate.is_set():
            await asyncio.sleep(0.002)

    bench.produce(*[entry for key in "abcd" for entry in entries(key, 1)])
    working = bench.start(bench.declare(act), concurrency=4)
    until("a handler runs", lambda: bench.entered)
    working.ask_to_stop()
    threading.Timer(0.05, gate.set).start()
    assert working.wait(), "what ran was finished"
    ran = bench.effects()
    assert ran, "what ran took effect"
    assert bench.count("received") == sum(map(len, ran.values()))
    bench.produce(*[entry for key in "abcd" for entry in entries(key, 2)])
    bench.work(bench.declare())
    assert bench.effects() == {key: [1, 2] for key in "abcd"}
    assert bench.outcomes() == {"applied": 8}, "what was finished before is not delivered again"


def test_a_worker_that_is_stopped_commits_what_is_settled(bench: Bench) -> None:
    bench.produce(*entries("a", *range(1, 101)))
    working = bench.start(bench.declare())
    until("all took effect", lambda: bench.effects().get("a") == list(range(1, 101)))
    until("all is recorded", lambda: bench.count("received") == 100)
    assert working.stop()
    assert bench.committed()


def test_a_worker_that_is_stopped_before_it_has_begun_ends_at_once(bench: Bench) -> None:
    bench.produce(*entries("a", 1))
    working = bench.start(bench.declare())
    assert working.stop()


def test_a_stream_is_not_idle_before_the_last_retry(bench: Bench) -> None:
    tried: list[float] = []

    def act(entry: Entry) -> None:
        if entry.version == 2:
            tried.append(time.monotonic())
            raise ValueError

    bench.produce(*entries("a", 1, 2, 3))
    bench.work(bench.declare(act, retry=inorder.Retry(attempts=3, delay_s=0.15, factor=1)))
    assert bench.effects() == {"a": [1]}
    assert bench.dead() == [("a", 2, "failed")]
    assert tried[-1] - tried[0] > 0.3
    assert bench.committed()


def test_a_retry_that_is_due_after_the_worker_has_ended_is_made_by_the_next_one(bench: Bench) -> None:
    sick = threading.Event()
    sick.set()

    def act(entry: Entry) -> None:
        if sick.is_set():
            raise ValueError

    function = bench.declare(act, retry=inorder.Retry(attempts=2, delay_s=0.3))
    bench.produce(*entries("a", 1, 2))
    working = bench.start(function)
    until("it waits for its retry", lambda: bench.count("retries") == 1)
    assert working.stop()
    sick.clear()
    bench.work(function)
    assert bench.effects() == {"a": [1, 2]}
    assert bench.outcomes() == {"applied": 2}


def test_a_stream_is_not_idle_while_something_runs(bench: Bench) -> None:
    def act(entry: Entry) -> Any:
        return asyncio.sleep(0.2) if bench.kind.startswith("async") else time.sleep(0.2)

    bench.produce(*entries("a", 1))
    bench.work(bench.declare(act))
    assert bench.effects() == {"a": [1]}
    assert bench.committed()


def test_a_stream_that_goes_on_is_not_idle(bench: Bench) -> None:
    working = bench.start(bench.declare(), until_idle_s=1.0)
    for version in range(1, 6):
        bench.produce(*entries("a", version))
        until("it came", bench.committed)
        time.sleep(0.25)
    assert working.wait()
    assert bench.effects() == {"a": [1, 2, 3, 4, 5]}


def test_two_workers_share_a_stream(bench: Bench) -> None:
    first = bench.start(bench.declare(), worker="1")
    second = bench.start(bench.declare(), worker="2")
    keys = [f"key-{number}" for number in range(12)]
    versions = itertools.count(1)

    def both_had_some() -> bool:
        version = next(versions)
        bench.produce(*[entry for key in keys for entry in entries(key, version)])
        return all(bench.look.counts([working.tally]).get("received") for working in (first, second))

    until("both had some", both_had_some)
    until("all is settled", bench.committed)
    until("nothing waits", lambda: not bench.look.held_count())
    assert first.stop()
    assert second.stop()
    last = next(versions)
    assert bench.effects() == {key: list(range(1, last)) for key in keys}
    assert bench.outcomes()["applied"] == bench.produced


@kinds("async call")
def test_a_call_that_is_cut_short_at_the_end_is_told_and_cleans_up_before_its_loop_is_closed(bench: Bench) -> None:
    cleaned: list[str] = []

    async def act(entry: Entry) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(entry.key)

    bench.produce(*entries("a", 1), *entries("b", 1))
    working = bench.start(bench.declare(act, limits=inorder.Limits(drain_s=0.05)))
    until("both run", lambda: len(bench.entered) == 2)
    loop = loop_of(working)
    assert not working.stop()
    assert sorted(cleaned) == ["a", "b"]
    assert not asyncio.all_tasks(loop)
    assert loop.is_closed()
    assert bench.outcomes() == {}


@kinds("async call")
def test_calls_beside_one_that_blocks_their_loop_are_told_and_clean_up(bench: Bench) -> None:
    cleaned: list[str] = []

    async def act(entry: Entry) -> None:
        if entry.key == "blocks":
            time.sleep(0.5)
        elif bench.entered.count(("a", 1)) == 1:
            try:
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(0.01)
                cleaned.append(entry.key)

    bench.produce(*entries("a", 1), *entries("blocks", 1), partition=0)
    limits, retry = inorder.Limits(handler_s=0.15), inorder.Retry(attempts=1)
    working = bench.start(bench.declare(act, limits=limits, retry=retry))
    loop = loop_of(working)
    until("it is told", lambda: cleaned)
    until("the loop is closed", loop.is_closed)
    until("all is settled", bench.committed)
    assert ("blocks", 1, "failed") in bench.dead()
    assert not asyncio.all_tasks(loop)
    assert working.stop()


@kinds("call")
def test_a_thread_that_goes_on_when_its_worker_has_ended_troubles_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", troubles.append)
    gate = threading.Event()

    def act(entry: Entry) -> None:
        with suppress(BaseException):
            gate.wait()
        gate.wait()

    others = set(threading.enumerate())
    bench.produce(*entries("a", 1))
    working = bench.start(bench.declare(act, limits=inorder.Limits(drain_s=0.05)))
    until("it runs", lambda: bench.entered)
    assert not working.stop()
    gate.set()
    until("its thread has ended", lambda: set(threading.enumerate()) <= others)
    assert troubles == []


def loop_of(working: Working) -> asyncio.AbstractEventLoop:
    """The event loop that a worker's handlers run on."""
    runner: Any = working.parts.loop._runner
    found: asyncio.AbstractEventLoop = runner._loop
    return found


@pytest.mark.parametrize("bench", ["fold"], indirect=True)
def test_run_reports_what_became_of_what_it_received(bench: Bench, tmp_path: Any) -> None:
    function = bench.declare()
    bench.produce(*entries("a", 1, 2, 2), *entries("b", 2), b"not JSON")
    report = inorder.run(
        function,
        source=f"embedded://{tmp_path}/broker.db/{TOPIC}?group={GROUP}",
        store=f"sqlite:///{tmp_path}/store.db",
        until_idle_s=0.02,
    )
    assert report.stream == declaration_of(function).name
    assert report.received == 5
    assert {name: n for name, n in report.outcomes.items() if n} == {
        "applied": 2,
        "duplicate": 1,
        "held": 1,
        "dead_lettered": 1,
    }
    assert (report.held_now, report.parked_keys, report.released, report.retries) == (1, 0, 0, 0)
