"""The benches run: each kind of arm once on a small topic, against real services."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from rich.console import Console

from bench import distance, peers
from bench.measure import Arm, Bench, Options
from bench.parts import latency, workers
from bench.parts import peers as contest
from bench.process import BenchError
from bench.results import Sample
from tests.services import KafkaCluster, Postgres

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def bench(kafka: KafkaCluster, postgres: Postgres, tmp_path: Path) -> Bench:
    made = Bench(kafka, postgres, tmp_path, Options(quick=True, rounds=1, seed=7))
    made.console = Console(quiet=True)
    return made


def test_a_store_that_is_away_takes_its_time_and_ends_in_the_true_state(bench: Bench) -> None:
    arm = Arm(
        label="it",
        program="inorder",
        topic=bench.topic(**SMALL),
        store="postgres",
        away_s=0.005,
        options={"consumer": "look_and_post", "connections": 2},
    )
    found = bench.once(arm, 0)
    assert (found.wrong, bench.wrong) == (0, [])
    assert found.seconds > arm.topic.truth.events * 0.01 / 2, "each event waits for an answer, two of them at once"


SMALL = {"events": 400, "keys": 20, "disorder": 0.2, "duplicates": 0.1}


@pytest.mark.parametrize(
    ("consumer", "store"),
    [("balance", "postgres"), ("balance", "sqlite"), ("post_postgres", "postgres"), ("noop", "sqlite")],
)
def test_an_arm_of_the_library_ends_in_the_true_state(bench: Bench, consumer: str, store: str) -> None:
    arm = Arm(label="it", program="inorder", topic=bench.topic(**SMALL), store=store, options={"consumer": consumer})
    found = bench.once(arm, 0)
    assert found.wrong == 0
    assert bench.wrong == []
    assert found.events == arm.topic.deliveries
    assert found.seconds > 0


@pytest.mark.parametrize(
    ("program", "store"),
    [
        ("decode", ""),
        ("bare-sqlite", "sqlite"),
        ("naive-postgres", "postgres"),
        ("naive-two-sqlite", "sqlite"),
    ],
)
def test_the_other_arms_take_all_of_an_orderly_topic(bench: Bench, program: str, store: str) -> None:
    topic = bench.topic(events=400, keys=20)
    found = bench.once(Arm(label="it", program=program, topic=topic, store=store), 0)
    assert found.events == topic.deliveries
    assert found.wrong in {None, 0}


@pytest.mark.parametrize("consumer", ["sleep_1", "sync_10"])
def test_a_handler_alone_takes_no_less_than_its_delay(bench: Bench, consumer: str) -> None:
    topic, delay_s = bench.topic(events=400, keys=20), 0.01 if consumer == "sync_10" else 0.001
    options = {"consumer": consumer, "concurrency": 20}
    found = bench.once(Arm(label="it", program="alone", topic=topic, options=options), 0)
    assert (found.events, found.wrong) == (400, None)
    assert found.seconds >= 400 * delay_s / 20 * 0.9, "loops count in milliseconds"


def test_the_bare_limit_is_wrong_about_disorder(bench: Bench) -> None:
    arm = Arm(label="it", program="bare-postgres", topic=bench.topic(**SMALL), store="postgres")
    found = bench.once(arm, 0)
    assert found.wrong
    assert bench.wrong == [], "that is what it is there to show"


def test_a_wrong_state_of_the_library_is_a_failure(bench: Bench) -> None:
    topic = bench.topic(**SMALL)
    topic.truth.totals[0] += 1
    bench.once(Arm(label="it", program="inorder", topic=topic, store="postgres"), 0)
    assert ["it: 1 wrong states" in wrong for wrong in bench.wrong] == [True]


def test_arms_take_turns_in_an_order_that_rotates(bench: Bench) -> None:
    ran: list[tuple[int, str]] = []

    def once(arm: Arm, number: int) -> Sample:
        ran.append((number, arm.label))
        return Sample(arm=arm.label, round=number, events=1, seconds=1)

    bench.rounds, bench.once = 3, once  # type: ignore[method-assign]
    topic = bench.topic(**SMALL)
    bench.compare([Arm(label=label, program="consume", topic=topic) for label in "ab"])
    assert ran == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]


def test_an_arm_that_fails_says_why(bench: Bench) -> None:
    arm = Arm(label="it", program="no such arm", topic=bench.topic(**SMALL))
    with pytest.raises(BenchError, match="KeyError: 'no such arm'"):
        bench.once(arm, 0)


def test_two_workers_start_together_and_share_the_topic(bench: Bench) -> None:
    cell = workers.Cell("fold", "balance", 800)
    found = workers._once(bench, workers._arm(bench, cell, 2), 2, 0)
    assert (found.wrong, found.events, bench.wrong) == (0, 400, [])


@pytest.mark.parametrize("cell", [*latency.QUICK, latency.CELLS[-1]], ids=lambda cell: cell.label)
def test_latency_is_measured_from_every_broker_to_every_store(bench: Bench, cell: latency.Cell) -> None:
    found = latency._once(bench, cell, 0)
    assert 0 < found.details["median_ms"] <= found.details["high_ms"] < 60_000


PEER = """#!/usr/bin/env python3
import json, os, sys
assert "-Dkafka=" in os.environ["JAVA_OPTS"] and "-Dpg=jdbc:postgresql://" in os.environ["JAVA_OPTS"]
for cell in sys.argv[2:]:
    topic, events, handler, concurrency = cell.split(":")
    if not topic.startswith("~"):
        print(json.dumps({"n": int(events), "seconds": 1.0, "handler": handler, "state_ok": True}))
"""


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "java/bench.sh"
    program.parent.mkdir()
    program.write_text(PEER)
    program.chmod(0o755)
    (tmp_path / "java/java").touch(0o755)
    (tmp_path / "lib-a").mkdir()
    monkeypatch.setenv("INORDER_BENCH_PEERS", str(tmp_path))
    monkeypatch.setenv("BUILD", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'java'}:{os.environ['PATH']}")


@pytest.mark.usefixtures("engines")
def test_engines_that_are_at_hand_run_on_the_same_topics(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert peers.at_hand() == {"A": "parallel-consumer"}
    cells = [cell._replace(events=200, keys=20) for cell in contest.CELLS if cell.handler in {"sleep1", "pg"}]
    monkeypatch.setattr(contest, "CELLS", cells)
    part = contest.run(bench)
    assert part.wrong == []
    assert [row[0] for row in part.tables[0].rows] == [
        "1 ms, 100 at once, inorder",
        "1 ms, 100 at once, parallel-consumer",
        "a balance in PostgreSQL, 16 at once, inorder, handler with tx",
        "a balance in PostgreSQL, 16 at once, inorder, fold",
        "a balance in PostgreSQL, 16 at once, parallel-consumer",
    ]
    assert len(part.figures) == 2
    assert msgspec.json.decode(msgspec.json.encode(part), type=type(part)) == part


def test_engines_that_are_not_at_hand_are_said_to_be(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INORDER_BENCH_PEERS", raising=False)
    part = contest.run(bench)
    assert {row[1] for row in part.tables[0].rows} == {"not measured here"}
    assert part.figures == []


class Reset:
    """A reader whose connection is reset."""

    def __init__(self) -> None:
        self.reads = 0

    async def read(self, most: int) -> bytes:
        self.reads += 1
        if self.reads == 1:
            return b"insert"
        if self.reads > 50:
            return b""  # it would never end
        raise ConnectionResetError


class Writer:
    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, piece: bytes) -> None:
        self.written += piece

    async def drain(self) -> None: ...

    def close(self) -> None:
        self.closed = True


def test_a_connection_that_is_reset_ends() -> None:
    source, target = Reset(), Writer()
    asyncio.run(distance._pump(cast(Any, source), cast(Any, target), 0.0))
    assert (target.written, target.closed) == (b"insert", True)
