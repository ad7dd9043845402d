"""Replay: the same guard and handler, in order, exactly once, and a report that says what was done."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest

import inorder
from inorder.deadletters.driver import Options
from tests.deadletters.conftest import kinds
from tests.deadletters.replays import Fault, ReplayBench, check_sums, results
from tests.worker.bench import entries, until
from tests.worker.consumers import Entry

RUN = list(range(1, 9))


@dataclass
class PlainGuard:
    """The guard that most consumers have: whatever is not newer counts as a duplicate, and as done."""

    versions: list[int] = field(default_factory=list)
    last: int = 0

    def consume(self, entry: Entry) -> str:
        if entry.version > self.last:
            self.versions.append(entry.version)
            self.last = entry.version
        return "ok"


@kinds("fold")
def test_the_classic_corruption(bench: ReplayBench) -> None:
    """Version 5 fails, 6 arrives, 5 is replayed: through a plain `version > last`, and through inorder.

    The third arm, without any guard, is the next test.
    """
    fault = Fault(("a", 5))
    bench.produce(*entries("a", *RUN))

    guarded = bench.declare(fault)
    plain = PlainGuard()
    for entry in entries("a", 1, 2, 3, 4, 6, 7, 8):
        plain.consume(entry)

    bench.work(guarded)
    assert bench.effects() == {"a": [1, 2, 3, 4]}
    fault.mend()

    assert plain.consume(entries("a", 5)[0]) == "ok", "success is reported"
    assert 5 not in plain.versions, "and the event is lost"

    summary = bench.replay(guarded)
    assert bench.effects() == {"a": RUN}
    assert results(summary) == [("a", 5, "applied")]
    assert (summary.sums.selected, summary.sums.applied, summary.drained.applied) == (1, 1, 3)
    assert bench.outcomes() == {"applied": 7, "replayed": 1}


@kinds("fold")
def test_the_naive_consumer_gets_the_classic_corruption_wrong(bench: ReplayBench) -> None:
    fault = Fault(("a", 5))
    bench.produce(*entries("a", *RUN))
    naive = bench.declare(fault, order="unguarded")
    bench.work(naive)
    fault.mend()
    summary = bench.replay(naive)
    assert summary.sums.applied == 1
    assert bench.effects() == {"a": [1, 2, 3, 4, 6, 7, 8, 5]}


def test_what_waits_behind_a_letter_follows_in_order(bench: ReplayBench) -> None:
    fault = Fault(("a", 2), ("b", 1))
    bench.produce(*entries("a", *RUN), *entries("b", *RUN), *entries("c", *RUN))
    consumer = bench.declare(fault)
    bench.work(consumer)
    assert bench.parked() == ["a", "b"]
    fault.mend()
    summary = bench.replay(consumer)
    assert bench.effects() == {"a": RUN, "b": RUN, "c": RUN}
    assert bench.parked() == []
    assert sorted(results(summary)) == [("a", 2, "applied"), ("b", 1, "applied")]
    assert summary.drained.applied == 13
    assert bench.outcomes() == {"applied": 22, "replayed": 2}


def test_a_letter_that_fails_again_stays_and_its_key_stays_parked(bench: ReplayBench) -> None:
    fault = Fault(("a", 2), ("b", 2))
    bench.produce(*entries("a", 1, 2, 3), *entries("b", 1, 2, 3))
    consumer = bench.declare(fault)
    bench.work(consumer)
    fault.mend(("b", 2))
    summary = bench.replay(consumer)
    assert sorted(results(summary)) == [("a", 2, "failed"), ("b", 2, "applied")]
    assert (summary.sums.selected, summary.sums.applied, summary.sums.failed) == (2, 1, 1)
    assert bench.parked() == ["a"]
    assert bench.waiting("a") == [3]
    letter = next(row for row in bench.letters() if row.letter.key == "a")
    assert (letter.status, letter.letter.attempts) == ("open", 2)
    assert letter.letter.detail == "Poison: a 2 is bad"
    assert letter.letter.error is not None
    assert "replays.py" in letter.letter.error, "the traceback is kept"
    assert bench.outcomes() == {"applied": 3, "dead_lettered": 1, "parked": 1, "replayed": 1}

    fault.mend()
    assert results(bench.replay(consumer)) == [("a", 2, "applied")]
    assert bench.effects() == {"a": [1, 2, 3], "b": [1, 2, 3]}


def test_poison_among_what_waits_becomes_the_next_letter_and_strands_nothing(bench: ReplayBench) -> None:
    fault = Fault(("a", 2), ("a", 4))
    bench.produce(*entries("a", *RUN))
    consumer = bench.declare(fault)
    bench.work(consumer)
    fault.mend(("a", 2))
    first = bench.replay(consumer)
    assert (first.sums.applied, first.drained.applied, first.drained.dead_lettered) == (1, 1, 1)
    assert bench.dead() == [("a", 2, "failed"), ("a", 4, "failed")]
    assert bench.parked() == ["a"]
    assert bench.waiting("a") == [5, 6, 7, 8]
    fault.mend()
    second = bench.replay(consumer)
    assert (second.sums.selected, second.sums.applied, second.drained.applied) == (1, 1, 4)
    assert bench.effects() == {"a": RUN}


def test_what_fails_now_and_then_while_it_is_drained_is_tried_again(bench: ReplayBench) -> None:
    fault = Fault(("a", 2))
    left = [2]

    def act(entry: Entry) -> None:
        fault(entry)
        if entry.version == 4 and left[0]:
            left[0] -= 1
            raise ValueError("not now")

    bench.produce(*entries("a", *RUN))
    consumer = bench.declare(act, retry=inorder.Retry(attempts=4, delay_s=0.02))
    bench.work(consumer)
    fault.mend()
    summary = bench.replay(consumer)
    assert (summary.sums.applied, summary.drained.applied) == (1, 6)
    assert bench.effects() == {"a": RUN}
    assert bench.parked() == []


def test_a_second_replay_finds_nothing_to_do(bench: ReplayBench) -> None:
    fault = Fault(("a", 2))
    bench.produce(*entries("a", *RUN))
    consumer = bench.declare(fault)
    bench.work(consumer)
    fault.mend()
    assert bench.replay(consumer).sums.applied == 1
    assert bench.replay(consumer).sums.selected == 0
    assert bench.effects() == {"a": RUN}


def test_only_the_chosen_letters_are_replayed(bench: ReplayBench) -> None:
    fault = Fault(("a", 1), ("b", 1), ("c", 1))
    bench.produce(*entries("a", 1, 2), *entries("b", 1, 2), *entries("c", 1, 2))
    consumer = bench.declare(fault)
    bench.work(consumer)
    fault.mend()
    assert results(bench.replay(consumer, keys=["b"])) == [("b", 1, "applied")]
    third = next(row.id for row in bench.letters() if row.letter.key == "c")
    assert results(bench.replay(consumer, ids=[third])) == [("c", 1, "applied")]
    assert bench.effects() == {"b": [1, 2], "c": [1, 2]}
    assert bench.parked() == ["a"]


def test_an_event_that_could_not_be_read_is_replayed_with_code_that_can(bench: ReplayBench) -> None:
    odd = b'{"key": "a", "version": 2, "id": "a-2", "amount": 2.0}'
    bench.produce(*entries("a", 1))
    bench.produce(odd.replace(b"2.0", b'"two"'), partition=0)
    bench.produce(*entries("a", 3, 4))
    consumer = bench.declare()
    bench.work(consumer)
    assert bench.dead() == [("a", None, "malformed")]
    assert results(bench.replay(consumer)) == [("a", None, "unreadable")]
    assert bench.letters()[0].status == "open"

    number = bench.letters()[0].id
    with bench.look.transaction() as tx:
        tx.add_edit(number, odd.replace(b"2.0", b"2"), "tester", "amount as a number", 1.0)
    summary = bench.replay(consumer)
    assert results(summary) == [("a", 2, "applied")]
    assert bench.effects() == {"a": [1, 2, 3, 4]}
    assert bench.outcomes() == {"applied": 3, "replayed": 1}


def test_live_events_of_a_key_queue_up_behind_its_replay(bench: ReplayBench) -> None:
    fault = Fault(*[(f"k{n}", 3) for n in range(4)])
    keys = [f"k{n}" for n in range(4)]
    bench.produce(*[entry for key in keys for entry in entries(key, *range(1, 40))])
    consumer = bench.declare(fault)
    bench.work(consumer)
    fault.mend()
    live = bench.start(consumer)
    stop = threading.Event()

    def produce() -> None:
        for version in range(40, 200):
            bench.produce(*[entry for key in keys for entry in entries(key, version)])
        stop.set()

    producing = threading.Thread(target=produce)
    producing.start()
    summary = bench.replay(consumer, Options(concurrency=2))
    producing.join()
    assert summary.sums.applied == 4
    until("all took effect", lambda: all(len(bench.effects()[key]) >= 199 for key in keys))
    live.stop()
    bench.work(consumer)
    if "call" not in bench.kind:
        assert bench.effects() == {key: list(range(1, 200)) for key in keys}
    else:
        for key, versions in bench.effects().items():
            assert sorted(set(versions)) == list(range(1, 200)), key
            assert_in_order(versions)
    assert bench.look.held_count() == 0


def assert_in_order(versions: list[int]) -> None:
    """At least once, in order: an effect may be repeated, but never comes before one that it should follow."""
    done = 0
    for version in versions:
        assert version <= done + 1, f"{version} before {done + 1}"
        done = max(done, version)


@pytest.mark.parametrize("ways", [2])
def test_two_operators_at_once_apply_nothing_twice(bench: ReplayBench, ways: int) -> None:
    keys = [f"k{n}" for n in range(6)]
    fault = Fault(*[(key, 2) for key in keys])
    bench.produce(*[entry for key in keys for entry in entries(key, *RUN)])
    consumer = bench.declare(fault)
    bench.work(consumer)
    fault.mend()
    summaries = []
    threads = [
        threading.Thread(target=lambda: summaries.append(bench.replay(consumer, Options(concurrency=2))))
        for _ in range(ways)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(summaries) == ways
    assert sum(summary.sums.applied for summary in summaries) == len(keys)
    until_drained(bench)
    assert bench.effects() == dict.fromkeys(keys, RUN)
    assert bench.outcomes() == {"applied": 7 * len(keys), "replayed": len(keys)}


def until_drained(bench: ReplayBench) -> None:
    """What one operator's replay left to another's claim is drained by that one, or by a worker."""
    until("nothing waits", lambda: bench.look.held_count() == 0)


def test_the_store_says_who_did_what(bench: ReplayBench) -> None:
    fault = Fault(("a", 1), ("b", 1))
    bench.produce(*entries("a", 1, 2), *entries("b", 1))
    consumer = bench.declare(fault)
    bench.work(consumer)
    fault.mend(("a", 1))
    summary = bench.replay(consumer)
    rows = list(bench.look.audit())
    assert [(row.action, row.key, row.version, row.outcome) for row in rows[:1]] == [("plan", None, None, None)]
    assert sorted((row.action, row.key, row.version, row.outcome) for row in rows[1:]) == [
        ("replay", "a", 1, "applied"),
        ("replay", "b", 1, "failed"),
    ]
    assert {(row.actor, row.reason, row.plan) for row in rows} == {("tester", "test", summary.plan)}
    check_sums(summary)
