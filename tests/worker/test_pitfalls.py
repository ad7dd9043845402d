"""What consumers that handle many keys at once get wrong most often, each as a test."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from importlib.resources import files
from typing import Any

import pytest

import inorder
from tests.worker.bench import Bench, encoded, entries, until
from tests.worker.conftest import kinds
from tests.worker.consumers import Entry
from tests.worker.scripted import ScriptedTopic

both = kinds("call", "async call")


@both
def test_a_hot_key_is_handled_one_by_one_and_does_not_starve_the_others(bench: Bench) -> None:
    """Keys as often as Zipf's law has them: the first has a third of all events."""
    rng = random.Random(7)
    weights = [1 / rank for rank in range(1, 16)]
    arrivals = Counter[str]()
    stream = []
    for number in rng.choices(range(15), weights, k=600):
        key = f"key-{number}"
        arrivals[key] += 1
        stream += entries(key, arrivals[key])
    running, peak = Counter[str](), Counter[str]()
    lock = threading.Lock()

    def enter(entry: Entry, by: int) -> None:
        with lock:
            running[entry.key] += by
            peak[entry.key] = max(peak[entry.key], running[entry.key])

    def act(entry: Entry) -> None:
        enter(entry, 1)
        time.sleep(0.001)
        enter(entry, -1)

    async def act_async(entry: Entry) -> None:
        enter(entry, 1)
        await asyncio.sleep(0.001)
        enter(entry, -1)

    bench.produce(*stream, partition=0)
    bench.work(bench.declare(act if bench.kind == "call" else act_async), concurrency=4)
    assert bench.effects() == {key: list(range(1, count + 1)) for key, count in arrivals.items()}
    assert set(peak.values()) == {1}
    places = [at for at, (key, _) in enumerate(bench.calls.made) if key != "key-0"]
    hot = [at for at, (key, _) in enumerate(bench.calls.made) if key == "key-0"]
    assert max(places) < max(hot), "the others are through while the hot key still has some to do"


def test_more_keys_than_there_is_room_for(bench: Bench) -> None:
    """Neither the room for entities nor that for events under way bounds how many keys there may be."""
    keys = [f"key-{number}" for number in range(150)]
    for version in (1, 2, 3):
        bench.produce(*[entry for key in keys for entry in entries(key, version)])
    limits = inorder.Limits(cache_bytes=0, in_flight_events=20, poll_events=10)
    bench.work(bench.declare(limits=limits), concurrency=4)
    assert bench.effects() == {key: [1, 2, 3] for key in keys}


def test_the_events_of_a_key_may_come_from_two_topics(bench: Bench) -> None:
    """One entity, whatever brought its events; each topic has fences of its own, so neither worker stops the other."""
    topics = [ScriptedTopic(1, "one"), ScriptedTopic(1, "other")]
    for version in range(1, 21):
        topics[version % 2].put(0, [encoded(entry) for entry in entries("a", version)])
    workings = []
    for number, topic in enumerate(topics):
        source = topic.group().member()
        workings.append(bench.start(bench.declare(), source, worker=str(number)))
        topic.group().give(source, 0)
    until("all took effect", lambda: bench.effects().get("a", [])[-1:] == [20])
    until("all is settled", lambda: [topic.group().settled(0) for topic in topics] == [10, 10])
    for working in workings:
        working.stop()
    assert list(dict.fromkeys(bench.effects()["a"])) == list(range(1, 21))
    assert bench.outcomes() == {"applied": 20}


@both
def test_an_event_that_comes_again_while_it_runs_is_a_duplicate(bench: Bench) -> None:
    gate = threading.Event()

    def act(entry: Entry) -> None:
        assert gate.wait(10)

    async def act_async(entry: Entry) -> None:
        while not gate.is_set():
            await asyncio.sleep(0.002)

    bench.produce(*entries("a", 1))
    working = bench.start(bench.declare(act if bench.kind == "call" else act_async))
    until("it runs", lambda: bench.entered)
    bench.produce(*entries("a", 1, 1, 2))
    until("they were polled", lambda: working.parts.loop._engine.events == 4)
    gate.set()
    until("all is settled", bench.committed)
    assert bench.effects() == {"a": [1, 2]}
    assert bench.outcomes() == {"applied": 2, "duplicate": 2}


def test_a_dead_letter_that_cannot_be_written_holds_the_frontier_until_it_can(bench: Bench) -> None:
    """Dead letters are rows of the store: while it is away nothing is given up on, and nothing is settled."""

    def act(entry: Entry) -> Any:
        if entry.key == "a":
            raise inorder.Poison("never")

    bench.produce(*entries("b", 1), partition=0)
    working = bench.start(bench.declare(act))
    until("it works", bench.committed)
    with bench.store_locked():
        bench.produce(*entries("a", 1), partition=0)
        time.sleep(0.1)
        assert not bench.committed()
    until("the letter is written", bench.committed)
    assert bench.dead() == [("a", 1, "failed")]
    working.stop()


@pytest.mark.parametrize(("store", "table"), [("sqlite", "inorder_entities"), ("postgres", "{schema}.entities")])
def test_no_statement_forgets_the_version_of_an_entity(store: str, table: str) -> None:
    """An event that comes long after must still be known as a duplicate: rows of entities never expire."""
    statements = (files("inorder.stores") / store / "statements.sql").read_text().lower()
    assert table in statements
    for verb in ("delete from", "truncate", "drop table"):
        assert f"{verb} {table}" not in statements
