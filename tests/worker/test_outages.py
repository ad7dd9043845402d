"""Something that is needed is down: everything pauses, nothing is given up on, and it goes on by itself."""

from __future__ import annotations

import threading
import time

import pytest

import inorder
from inorder.stores.sqlite import opening
from tests.worker.bench import Bench, encoded, entries, until
from tests.worker.conftest import kinds
from tests.worker.consumers import Entry
from tests.worker.scripted import ScriptedTopic


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is locked counts as unreachable after 50 ms rather than 10 s."""
    monkeypatch.setattr(opening, "BUSY_S", 0.05)


class Service:
    """What the handlers depend on."""

    def __init__(self) -> None:
        self.up = threading.Event()
        self.refusals = 0

    def act(self, entry: Entry) -> None:
        if not self.up.is_set():
            self.refusals += 1
            raise inorder.Unavailable("the service is down")


def test_while_what_the_handler_needs_is_down_nothing_is_given_up_on(bench: Bench) -> None:
    service = Service()
    bench.produce(*entries("a", 1, 2, 3), *entries("b", 2, 1))
    working = bench.start(bench.declare(service.act, retry=inorder.Retry(attempts=1)), until_idle_s=0.02)
    until("it was tried more than once", lambda: service.refusals > 3)
    assert bench.outcomes() == {}
    assert bench.dead() == []
    assert not working.ended, "a stream that is paused is not idle"
    service.up.set()
    assert working.wait()
    assert bench.effects() == {"a": [1, 2, 3], "b": [1, 2]}
    assert bench.outcomes() == {"applied": 5}
    assert bench.count("retries") == 0


def test_an_outage_in_the_middle_of_the_retries_of_an_event_counts_for_nothing(bench: Bench) -> None:
    service = Service()
    tried: list[int] = []

    def act(entry: Entry) -> None:
        tried.append(entry.version)
        if len(tried) == 1:
            raise ValueError
        service.act(entry)

    bench.produce(*entries("a", 1, 2))
    working = bench.start(bench.declare(act, retry=inorder.Retry(attempts=2, delay_s=0.01)), until_idle_s=0.02)
    until("it was refused", lambda: service.refusals > 2)
    service.up.set()
    assert working.wait()
    assert bench.effects() == {"a": [1, 2]}
    assert bench.dead() == []


def test_a_paused_worker_stops_when_it_is_told_to(bench: Bench) -> None:
    service = Service()
    bench.produce(*entries("a", 1))
    working = bench.start(bench.declare(service.act))
    until("it was refused", lambda: service.refusals)
    began = time.monotonic()
    assert working.stop()
    assert time.monotonic() - began < 1
    assert bench.outcomes() == {}
    service.up.set()
    bench.work(bench.declare(service.act))
    assert bench.effects() == {"a": [1]}


def test_a_paused_worker_keeps_its_membership(bench: Bench) -> None:
    service = Service()
    topic = ScriptedTopic()
    source = topic.group().member()
    topic.put(0, [encoded(entry) for entry in entries("a", 1)])
    topic.group().give(source, 0)
    bench.start(bench.declare(service.act), source)
    until("it was refused", lambda: service.refusals)
    polls = source.polls
    until("it polls on", lambda: source.polls > polls + 5)
    service.up.set()
    until("all is settled", lambda: topic.group().settled(0) == 1)


def test_when_the_store_is_away_for_a_while_everything_waits_for_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.produce(*entries("a", 1, 2, 4))
    working = bench.start(bench.declare(retry=inorder.Retry(attempts=1)))
    until("it works", bench.committed)
    with bench.store_locked():
        bench.produce(*entries("a", 3, 5), *entries("b", 1, 2), b"not JSON")
        until("it has noticed", lambda: "paused: store" in caplog.text)
        assert not bench.committed(), "nothing is settled without the store"
    until("all is settled", bench.committed)
    until("nothing waits", lambda: not bench.waiting("a"))
    assert working.stop()
    assert bench.effects() == {"a": [1, 2, 3, 4, 5], "b": [1, 2]}
    assert [row.letter.reason for row in bench.letters()] == ["malformed"]
    assert bench.outcomes() == {"applied": 7, "dead_lettered": 1}


def test_a_worker_that_gets_its_partitions_while_the_store_is_away_waits_for_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    topic = ScriptedTopic()
    source = topic.group().member()
    bench.start(bench.declare(), source)
    topic.put(0, [encoded(entry) for entry in entries("a", 1, 2)])
    with bench.store_locked():
        topic.group().give(source, 0)
        until("it takes over, and cannot", lambda: "paused: store" in caplog.text)
        assert source.given == 0, "no record before its fence is raised"
    until("all is settled", lambda: topic.group().settled(0) == 2)
    assert bench.effects() == {"a": [1, 2]}


def test_a_retry_that_comes_due_while_the_store_is_away_is_made_afterwards(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    sick = threading.Event()
    sick.set()

    def act(entry: Entry) -> None:
        if sick.is_set():
            raise ValueError

    bench.produce(*entries("a", 1))
    working = bench.start(bench.declare(act, retry=inorder.Retry(attempts=2, delay_s=0.3)))
    until("it waits for its retry", lambda: bench.waiting("a") == [1])
    sick.clear()
    with bench.store_locked():
        until("the retry was due", lambda: "paused: store" in caplog.text)
        assert bench.waiting("a") == [1]
    until("it took effect", lambda: bench.effects() == {"a": [1]})
    assert working.stop()
    assert bench.dead() == []


@kinds("tx", "async tx")
def test_a_store_that_fails_under_a_handler_is_not_the_events_fault(bench: Bench) -> None:
    failures: list[int] = []

    @inorder.handler(key="key", version="version", id="id", name="stream", retry=inorder.Retry(attempts=1))
    def post(entry: Entry, tx: inorder.Transaction) -> None:
        if len(failures) < 3:
            failures.append(entry.version)
            raise inorder.Unreachable("the disk is full")
        tx.execute("INSERT INTO ledger (key, version) VALUES (?, ?)", (entry.key, entry.version))

    bench.produce(*entries("a", 1, 2))
    bench.work(post)
    assert bench.effects() == {"a": [1, 2]}
    assert bench.dead() == []
