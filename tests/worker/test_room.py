"""What has no room in the store stays with the broker: its partition is paused, others go on, and nothing is lost."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import inorder
from inorder.core import planner
from inorder.core.changes import Changes
from inorder.deadletters import operating
from inorder.deadletters.operating import Operator
from inorder.worker import worker as loop
from tests.worker.bench import Bench, entries, until
from tests.worker.conftest import kinds
from tests.worker.consumers import Act, Entry

BY = Operator("tester", "because", 1.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "ROOM_EVERY_S", 0.02)
    monkeypatch.setattr(loop, "NO_ROOM_S", 0.2)
    monkeypatch.setattr(planner, "NO_ROOM_S", 0.05)


def bad(*keys: str, error: type[Exception] = inorder.Poison) -> Act:
    def act(entry: Entry) -> None:
        if entry.key in keys and entry.version == 1:
            raise error("always")

    return act


def skip_a_letter(bench: Bench) -> None:
    number = next(row.id for row in bench.letters() if row.status == "open")
    operating.skip_letter(bench.look, number, BY)


@kinds("fold", "tx", "call")
def test_one_letter_too_many_pauses_its_partition_alone_until_there_is_room(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    limits = inorder.Limits(letters=1, in_flight_events=4)
    bench.produce(*entries("a", 1), partition=0)
    working = bench.start(bench.declare(bad("a", "b", "c"), limits=limits))
    until("a letter", bench.dead)
    bench.produce(*entries("b", 1), *entries("d", 1, 2, 3, 4, 5, 6, 7, 8), partition=1)
    bench.produce(*entries("e", *range(1, 21)), partition=2)
    until("other partitions go on", lambda: bench.effects().get("e") == list(range(1, 21)))
    until("an alarm", lambda: "topic/1 is paused: 1 dead letters are open" in caplog.text)
    bench.produce(*entries("e", *range(21, 31)), partition=2)
    until("and on", lambda: bench.effects().get("e") == list(range(1, 31)))
    assert bench.dead() == [("a", 1, "failed")]
    assert not bench.committed()
    assert not working.ended
    skip_a_letter(bench)
    until("its turn", lambda: bench.effects().get("d") == list(range(1, 9)))
    until("its letter", lambda: bench.dead() == [("a", 1, "failed"), ("b", 1, "failed")])
    until("settled", bench.committed)
    working.stop()


@kinds("fold", "tx", "async call")
def test_what_cannot_be_read_needs_room_too(bench: Bench) -> None:
    bench.produce(b"not JSON", partition=0)
    working = bench.start(bench.declare(limits=inorder.Limits(letters=1)))
    until("a letter", bench.dead)
    bench.produce(b"nor this", *entries("a", 1), partition=1)
    bench.produce(*entries("b", 1), partition=2)
    until("other partitions go on", lambda: bench.effects().get("b") == [1])
    skip_a_letter(bench)
    until("its turn", lambda: len(bench.dead()) == 2)
    until("and what follows it", lambda: bench.effects().get("a") == [1])
    working.stop()


@kinds("fold", "tx", "async call")
@pytest.mark.parametrize("limit", ["held_per_key", "held"])
def test_one_waiting_event_too_many_pauses_its_partition_until_there_is_room(
    bench: Bench, limit: str, caplog: pytest.LogCaptureFixture
) -> None:
    limits: Any = {limit: 2}
    bench.produce(*entries("a", 2, 3), partition=0)
    working = bench.start(bench.declare(limits=inorder.Limits(**limits)))
    until("they wait", lambda: bench.waiting("a") == [2, 3])
    bench.produce(*entries("a", 4, 5), *entries("b", 1), partition=0)
    until("an alarm", lambda: "topic/0 is paused: 2 events wait" in caplog.text)
    bench.produce(*entries("c", 1), partition=1)
    until("other partitions go on", lambda: bench.effects().get("c") == [1])
    assert bench.waiting("a") == [2, 3]
    bench.produce(*entries("a", 1), partition=1)
    until("all of it", lambda: bench.effects() == {"a": [1, 2, 3, 4, 5], "b": [1], "c": [1]})
    until("settled", bench.committed)
    working.stop()


@kinds("fold", "tx", "async call")
def test_a_worker_does_not_end_while_something_has_no_room(bench: Bench) -> None:
    bench.produce(*entries("a", 1), *entries("b", 1), partition=0)
    working = bench.start(bench.declare(bad("a", "b"), limits=inorder.Limits(letters=1)), until_idle_s=0.02)
    until("a letter", bench.dead)
    assert not working.ended
    skip_a_letter(bench)
    until("the other one", lambda: len(bench.dead()) == 2)
    assert working.wait()


@kinds("fold", "tx", "async call")
def test_a_retried_event_without_room_waits_and_says_why(bench: Bench) -> None:
    bench.produce(*entries("a", 1), partition=0)
    consumer = bench.declare(bad("a", "b", error=ValueError), limits=inorder.Limits(letters=1))
    working = bench.start(consumer)
    until("a letter", bench.dead)
    bench.produce(*entries("b", 1, 2), *entries("c", 1), partition=1)
    until("its partition goes on", lambda: bench.effects().get("c") == [1])

    def waits_for_room() -> bool:
        found = bench.look.load(["b"]).get("b")
        return found is not None and found.waiting is not None and "1 dead letters are open" in found.waiting.reason

    until("it says why", waits_for_room)
    assert bench.waiting("b") == [1, 2]
    skip_a_letter(bench)
    until("its letter", lambda: ("b", 1, "failed") in bench.dead())
    assert bench.waiting("b") == [2]
    working.stop()


@kinds("fold", "tx", "async call")
def test_a_key_has_so_many_letters_and_no_more(bench: Bench) -> None:
    def fails(entry: Entry) -> None:
        if entry.key == "a":
            raise inorder.Poison("always")

    limits = inorder.Limits(letters_per_key=2)
    bench.produce(*entries("a", 1, 2), partition=0)
    working = bench.start(bench.declare(fails, order="latest", park=False, limits=limits))
    until("two letters", lambda: len(bench.dead()) == 2)
    # Letters of the same moment are not counted against the key; what was read from the store is.
    until("known", lambda: working.parts.room.for_letter("a", Changes(0)) is not None)
    bench.produce(*entries("a", 3), *entries("b", 1), partition=0)
    bench.produce(*entries("c", 1), partition=1)
    until("other partitions go on", lambda: bench.effects().get("c") == [1])
    assert len(bench.dead()) == 2
    skip_a_letter(bench)
    until("its turn", lambda: len(bench.dead()) == 3)
    until("and what follows it", lambda: bench.effects().get("b") == [1])
    working.stop()


@kinds("fold", "tx", "async call")
def test_two_events_of_a_batch_without_room_are_both_kept_for_later(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    healed = threading.Event()

    def fails(entry: Entry) -> None:
        if entry.key == "b" and not healed.is_set():
            raise ValueError("not yet")

    bench.produce(*entries("z", 2), partition=0)
    working = bench.start(bench.declare(fails, limits=inorder.Limits(held=1)))
    until("it waits", lambda: bench.waiting("z") == [2])
    bench.produce(*entries("a", 2), *entries("b", 1), *entries("c", 1), partition=1)
    until("an alarm", lambda: "topic/1 is paused: 1 events wait" in caplog.text)
    healed.set()
    bench.produce(*entries("z", 1), partition=2)
    until("the first has room", lambda: bench.waiting("a") == [2])
    bench.produce(*entries("a", 1), partition=2)
    until("all of it", lambda: bench.effects() == {"a": [1, 2], "b": [1], "c": [1], "z": [1, 2]})
    until("settled", bench.committed)
    working.stop()
