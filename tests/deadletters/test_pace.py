"""How fast a replay goes, when it stands still, and when it stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import inorder
from inorder.deadletters import pace as pacing
from inorder.deadletters.driver import Options
from inorder.deadletters.pace import Pace
from inorder.deadletters.planning import Choice, make_plan
from inorder.deadletters.replay import Controls, run_plan
from inorder.deadletters.results import Summary
from inorder.errors import Unreachable
from inorder.sources.embedded_lag import EmbeddedLag
from inorder.wiring import open_lag
from tests.deadletters.conftest import kinds
from tests.deadletters.replays import Fault, ReplayBench, check_sums, results
from tests.worker.bench import GROUP, TOPIC, entries, until
from tests.worker.consumers import Entry

KEYS = [f"k{number:03}" for number in range(60)]


def run(bench: ReplayBench, consumer: Callable[..., Any], controls: Controls | None = None, **options: Any) -> Summary:
    """Plan everything, and run the plan."""
    made = make_plan(consumer, bench.url, Choice(), handler="x:y", actor="tester", rehearse=False)
    assert made is not None
    summary = run_plan(consumer, bench.url, made.plan.id, reason="test", options=Options(**options), controls=controls)
    check_sums(summary)
    return summary


def failed(bench: ReplayBench, fault: Fault, *versions: int, **options: Any) -> Callable[..., Any]:
    """A consumer with one letter of each key; after version 1, what waits behind it."""
    bench.produce(*[entry for key in KEYS for entry in entries(key, 1, *versions)])
    consumer = bench.declare(fault, **options)
    bench.work(consumer)
    return consumer


@pytest.mark.parametrize("threads", [1, 4])
def test_turns_come_at_the_rate_within_five_per_cent(threads: int) -> None:
    """Over a minute, and with real letters: `bench/parked.py`."""
    given, turns = Pace(100.0, threading.Event()), iter(range(200))

    def take() -> None:
        for _ in turns:
            given.turn()

    working = [threading.Thread(target=take) for _ in range(threads)]
    began = time.monotonic()
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    assert 200 / 105 <= time.monotonic() - began <= 200 / 95 + 0.05


@kinds("fold", "tx", "call")
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_replay_is_never_faster_than_its_rate(bench: ReplayBench, concurrency: int) -> None:
    fault = Fault(*[(key, 1) for key in KEYS])
    consumer = failed(bench, fault, 2)
    fault.mend()
    began = time.monotonic()
    summary = run(bench, consumer, rate=100.0, concurrency=concurrency)
    assert (summary.sums.applied, summary.drained.applied) == (60, 60)
    # Those that wait behind letters are counted too. The first event needs no wait.
    assert time.monotonic() - began >= 119 / 100 * 0.95


def test_a_rate_allows_no_burst_after_standing_still() -> None:
    given = Pace(100.0, threading.Event())
    given.turn()
    time.sleep(1.0)
    began = time.monotonic()
    for _ in range(100):
        given.turn()
    assert time.monotonic() - began > 1.0 - pacing.CATCH_UP_S - 0.05


@kinds("fold")
def test_a_replay_stands_still_while_the_live_stream_lags(bench: ReplayBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "LAG_EVERY_S", 0.02)
    fault = Fault(*[(key, 1) for key in KEYS])
    consumer = failed(bench, fault)
    fault.mend()
    behind = [500]
    asked = threading.Event()

    def lag() -> int:
        asked.set()
        if behind[0] < 0:
            raise Unreachable("nobody knows")
        return behind[0]

    done: list[int] = []
    controls = Controls(lag=lag, tell=lambda letter, tried: done.append(letter.letter))
    running = threading.Thread(target=lambda: run(bench, consumer, controls, rate=200.0, max_lag=100))
    running.start()
    assert asked.wait(5)
    time.sleep(0.2)
    assert done == [], "while it lags, nothing is replayed"
    behind[0] = 100
    until("it goes on", lambda: len(done) > 5)
    behind[0] = 101
    time.sleep(0.1)
    standing = len(done)
    time.sleep(0.2)
    assert len(done) == standing < len(KEYS), "and stands still again"
    behind[0] = -1
    time.sleep(0.1)
    assert len(done) == standing, "a lag that nobody knows is a reason too"
    behind[0] = 0
    running.join(10)
    assert len(done) == len(KEYS)


@kinds("fold")
def test_the_lag_of_the_embedded_broker(bench: ReplayBench) -> None:
    bench.produce(*entries("a", 1, 2, 3))
    lag = EmbeddedLag(bench.broker, TOPIC, GROUP)
    assert lag() == 3
    bench.work(bench.declare())
    assert lag() == 0
    bench.produce(*entries("a", 4))
    assert lag() == 1
    opened = open_lag(f"embedded://{bench.path.parent}/broker.db/{TOPIC}?group={GROUP}", "other")
    assert opened() == 1
    opened.close()


@kinds("fold", "tx", "call")
def test_nothing_is_tried_after_the_canary_failed(bench: ReplayBench) -> None:
    fault = Fault(*[(key, 1) for key in KEYS])
    consumer = failed(bench, fault)
    fault.mend(*[(row.letter.key or "", 1) for row in bench.letters()[3:]])
    summary = run(bench, consumer, canary=3, concurrency=2)
    assert summary.stopped == "a letter of the canary failed"
    assert summary.sums.failed >= 1
    assert summary.sums.applied == 0
    assert summary.sums.pending >= len(KEYS) - 3


@kinds("fold", "call")
@pytest.mark.parametrize("canary", [len(KEYS), len(KEYS) + 1])
def test_a_canary_of_all_keys_is_a_canary(bench: ReplayBench, canary: int) -> None:
    fault = Fault(*[(key, 1) for key in KEYS])
    consumer = failed(bench, fault)
    summary = run(bench, consumer, canary=canary)
    assert (summary.sums.failed, summary.sums.pending) == (1, len(KEYS) - 1)
    assert summary.stopped == "a letter of the canary failed"


@kinds("fold")
def test_after_the_canary_comes_the_rest(bench: ReplayBench) -> None:
    fault = Fault(*[(key, 1) for key in KEYS])
    consumer = failed(bench, fault, 2)
    fault.mend()
    order = [row.letter.key for row in bench.letters()]
    summary = run(bench, consumer, canary=3)
    assert summary.sums.applied == len(KEYS)
    assert [key for key, _, _ in results(summary)] == order


@kinds("fold", "tx", "call")
def test_a_replay_stops_after_so_many_failures(bench: ReplayBench) -> None:
    fault = Fault(*[(key, 1) for key in KEYS])
    consumer = failed(bench, fault)
    summary = run(bench, consumer, max_failures=5)
    assert summary.stopped == "5 letters failed"
    assert (summary.sums.failed, summary.sums.pending) == (5, len(KEYS) - 5)


def test_an_interrupted_replay_goes_on_where_it_stopped(bench: ReplayBench) -> None:
    fault = Fault(*[(key, 1) for key in KEYS])
    consumer = failed(bench, fault, 2, 3)
    fault.mend()
    made = make_plan(consumer, bench.url, Choice(), handler="x:y", actor="tester", rehearse=False)
    assert made is not None
    stop = threading.Event()
    controls = Controls(stop=stop, tell=lambda letter, tried: stop.set() if letter.place >= 5 else None)
    first = run_plan(consumer, bench.url, made.plan.id, reason="test", controls=controls)
    check_sums(first)
    assert first.stopped == "interrupted"
    assert 0 < first.sums.applied < len(KEYS)
    second = run_plan(consumer, bench.url, made.plan.id, reason="test")
    check_sums(second)
    assert second.sums.applied == len(KEYS)
    bench.work(consumer)  # what the interrupted one left behind its last letter
    assert bench.effects() == {key: [1, 2, 3] for key in KEYS}


def test_an_outage_pauses_a_replay_and_blames_no_letter(bench: ReplayBench) -> None:
    down = [3]
    fault = Fault(("a", 1))

    def act(entry: Entry) -> None:
        fault(entry)
        if down[0]:
            down[0] -= 1
            raise inorder.Unavailable("the ledger is down")

    bench.produce(*entries("a", 1, 2))
    consumer = bench.declare(act)
    bench.work(consumer)
    fault.mend()
    down[0] = 3
    summary = bench.replay(consumer)
    assert results(summary) == [("a", 1, "applied")]
    assert bench.effects() == {"a": [1, 2]}
    assert bench.letters()[0].letter.attempts == 1


@kinds("fold", "call")
@pytest.mark.parametrize(("message", "says"), [("the ledger is down", "the ledger is down"), ("", "Unavailable")])
def test_an_outage_that_does_not_end_ends_the_replay_and_leaves_the_letter(
    bench: ReplayBench, message: str, says: str
) -> None:
    fault = Fault(("a", 1))

    def act(entry: Entry) -> None:
        fault(entry)
        raise inorder.Unavailable(message)

    bench.produce(*entries("a", 1))
    consumer = bench.declare(act)
    bench.work(consumer)
    fault.mend()
    with pytest.raises(Unreachable, match=says):
        run(bench, consumer, patience_s=0.2)
    assert [row.status for row in bench.letters()] == ["open"]
    assert bench.parked() == ["a"]
