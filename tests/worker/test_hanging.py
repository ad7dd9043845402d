"""A handler that hangs past its limit: tried again, then a dead letter and a parked key; all other keys go on.

And whoever was left behind in a hung call has no effect afterwards.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest

import inorder
from inorder.core.event import Record
from inorder.stores.sqlite import opening
from tests.worker.bench import Bench, encoded, entries, until
from tests.worker.conftest import kinds
from tests.worker.consumers import Entry
from tests.worker.scripted import ScriptedTopic

LIMIT_S = 0.15
LIMITS = inorder.Limits(handler_s=LIMIT_S)
TWICE = inorder.Retry(attempts=2, delay_s=0.01)


class Hang:
    """Ways to hang, all of them for longer than the limit, and at the longest until the test is over."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.survived: list[str] = []
        """Calls that went on behind the hang."""

    def asleep(self) -> None:
        """In a call from which no exception can wake it; then it goes on to its effect."""
        time.sleep(3 * LIMIT_S)
        self.survived.append("asleep")

    def busy(self) -> None:
        while not self.over.is_set():
            pass

    def stubborn(self) -> None:
        """Catches whatever is thrown at it, and goes on to its effect in the end."""
        while not self.over.is_set():
            with suppress(BaseException):
                self.over.wait()
        self.survived.append("stubborn")

    async def waiting(self) -> None:
        await asyncio.sleep(1000)

    async def deaf(self) -> None:
        """Ignores its cancellation, and goes on to its effect in the end."""
        while not self.over.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        self.survived.append("deaf")

    async def blocking(self) -> None:
        """Blocks the event loop it runs on."""
        self.asleep()

    async def spinning(self) -> None:
        """Blocks the event loop it runs on, in Python."""
        self.busy()


@pytest.fixture
def hang() -> Iterator[Hang]:
    """At the end, no thread of a worker is left."""
    found = Hang()
    yield found
    found.over.set()


SYNC = [Hang.asleep, Hang.busy, Hang.stubborn]
ASYNC = [Hang.waiting, Hang.deaf, Hang.blocking, Hang.spinning]
KINDS_AND_WAYS = [
    pytest.param(kind, way, id=f"{kind}-{way.__name__}")
    for kinds, ways in ((("fold", "tx", "call"), SYNC), (("async fold", "async tx", "async call"), ASYNC))
    for kind in kinds
    for way in ways
]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("inorder-")]


@pytest.mark.parametrize(("bench", "way"), KINDS_AND_WAYS, indirect=["bench"])
def test_a_hanging_handler_is_given_up_on_and_other_keys_flow(
    bench: Bench, way: Callable[[Hang], Any], hang: Hang
) -> None:
    def act(entry: Entry) -> Any:
        return way(hang) if (entry.key, entry.version) == ("bad", 2) else None

    others = threads()  # of what other tests have left in this process
    bench.produce(*entries("bad", 1, 2, 3), *entries("good", 1, 2, 3), partition=0)
    working = bench.start(bench.declare(act, limits=LIMITS, retry=TWICE))
    until("the first attempt hangs", lambda: ("bad", 2) in bench.entered)
    bench.produce(*entries("good", 4, 5, 6))
    until("it is given up on", bench.parked)
    until("the others went on", lambda: bench.effects().get("good") == [1, 2, 3, 4, 5, 6])
    until("all is settled", bench.committed)
    (row,) = bench.letters()
    assert (row.letter.version, row.letter.attempts) == (2, 2)
    assert row.letter.detail.startswith("HandlerTimeout")
    assert working.stop()
    before = bench.effects()
    assert before == {"bad": [1], "good": [1, 2, 3, 4, 5, 6]}
    hang.over.set()
    until("the threads that hung have ended", lambda: set(threads()) <= set(others))
    outcomes = bench.outcomes()
    outcomes.pop("duplicate", None)  # what was under way on a blocked event loop is read again
    assert outcomes == {"applied": 7, "dead_lettered": 1, "held": 1}
    if not (bench.kind == "call" and way is Hang.stubborn):
        assert bench.effects() == before, "nothing of a hung call takes effect later"


@kinds("call", "async call")
@pytest.mark.parametrize("way", [Hang.asleep, Hang.busy], ids=lambda way: way.__name__)
def test_a_function_for_the_key_that_does_not_return_ends_the_worker(
    bench: Bench, way: Callable[[Hang], Any], hang: Hang
) -> None:
    def key(record: Record) -> str:
        found: str = msgspec.json.decode(record.value or b"")["key"]
        if found == "bad":
            way(hang)
            hang.over.wait()
        return found

    others = threads()
    bench.produce(*entries("good", 1), *entries("bad", 1), partition=3)
    limits = inorder.Limits(handler_s=LIMIT_S, drain_s=LIMIT_S)
    working = bench.start(bench.declare(key=key, limits=limits))
    with pytest.raises(inorder.InorderError, match=r"^topic/3 from offset 0: reading its events takes more than"):
        working.wait()
    hang.over.set()
    until("no thread is left", lambda: set(threads()) <= set(others))


@kinds("fold", "tx", "async fold", "async tx")
def test_a_retry_that_was_due_beside_one_that_hangs_is_not_forgotten(bench: Bench, hang: Hang) -> None:
    tried: Counter[str] = Counter()

    def act(entry: Entry) -> None:
        tried[entry.key] += 1
        if tried[entry.key] == 1:
            raise ValueError
        if entry.key == "bad" and tried["bad"] == 2:
            hang.asleep()

    bench.produce(*entries("bad", 1), *entries("other", 1), partition=0)
    retry = inorder.Retry(attempts=5, delay_s=0.1, factor=1)
    bench.work(bench.declare(act, limits=LIMITS, retry=retry))
    assert bench.effects() == {"bad": [1], "other": [1]}


@kinds("tx", "async tx")
def test_a_handler_that_is_called_again_at_once_has_its_whole_time_again(bench: Bench) -> None:
    """It fails, and is called once more to see whether it was this one."""

    def slow(entry: Entry) -> None:
        time.sleep(0.7)
        raise ValueError("in time")

    bench.produce(*entries("a", 1))
    bench.work(bench.declare(slow, limits=inorder.Limits(handler_s=1.0), retry=inorder.Retry(attempts=1)))
    assert [row.letter.detail for row in bench.letters()] == ["ValueError: in time"]
    assert bench.entered == [("a", 1)] * 2


def test_a_store_that_is_slow_is_not_taken_for_a_handler_that_hangs(bench: Bench) -> None:
    bench.produce(*entries("a", 1))
    working = bench.start(bench.declare(limits=LIMITS, retry=inorder.Retry(attempts=1)))
    until("it works", lambda: bench.effects() == {"a": [1]})
    with bench.store_locked():
        bench.produce(*entries("a", 2))
        over = time.monotonic() + 3 * LIMIT_S
        until("more than the limit is over", lambda: time.monotonic() > over)
    until("it goes on", lambda: bench.effects() == {"a": [1, 2]})
    until("all is settled", bench.committed)
    assert working.stop()
    assert bench.dead() == []
    assert bench.outcomes() == {"applied": 2}


@kinds("async call")
def test_a_commit_at_hand_ends_before_a_blocked_event_loop_is_left(
    bench: Bench, hang: Hang, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No handler would begin beside a commit that takes longer.
    monkeypatch.setattr("inorder.worker.commits.CONFIRM_EVERY_S", 600.0)

    def act(entry: Entry) -> Any:
        return hang.spinning() if (entry.key, entry.version) == ("bad", 2) else None

    bench.produce(*entries("bad", 1))
    working = bench.start(bench.declare(act, limits=LIMITS, retry=inorder.Retry(attempts=1)))
    until("the first is settled", bench.committed)
    with bench.store_locked():
        bench.produce(*entries("good", 1))
        until("its completion is about to be written", lambda: ("good", 1) in bench.entered)
        bench.produce(*entries("bad", 2))
        until("the loop is given up on", lambda: "blocks its event loop" in caplog.text)
        time.sleep(LIMIT_S)
    until("the others went on", bench.parked)
    until("all is settled", bench.committed)
    assert working.stop()
    assert bench.effects() == {"bad": [1], "good": [1]}, "nobody's handler is called again"


@kinds("tx", "async tx")
def test_a_hung_transaction_does_not_keep_its_own_worker_from_a_new_partition(
    bench: Bench, hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "BUSY_S", 0.05)

    def act(entry: Entry) -> None:
        if entry.key == "bad":
            hang.stubborn()

    topic = ScriptedTopic()
    group = topic.group()
    source = group.member()
    bench.start(bench.declare(act, limits=LIMITS, retry=inorder.Retry(attempts=1)), source)
    topic.put(0, [encoded(entry) for entry in entries("bad", 1)])
    topic.put(1, [encoded(entry) for entry in entries("good", 1)])
    group.give(source, 0)
    until("the handler hangs", lambda: bench.entered)
    group.give(source, 1)
    until("the other partition is worked on", lambda: bench.effects() == {"good": [1]})


@pytest.mark.parametrize(
    ("bench", "way"),
    [("fold", Hang.asleep), ("tx", Hang.stubborn), ("call", Hang.asleep), ("call", Hang.busy)]
    + [(kind, way) for kind in ("async fold", "async tx", "async call") for way in (Hang.waiting, Hang.blocking)],
    indirect=["bench"],
)
def test_a_worker_stops_within_its_limit_though_a_handler_hangs(
    bench: Bench, way: Callable[[Hang], Any], hang: Hang
) -> None:
    others = threads()

    def act(entry: Entry) -> Any:
        return way(hang) if entry.key == "bad" else None

    bench.produce(*entries("good", 1))
    working = bench.start(bench.declare(act, limits=inorder.Limits(drain_s=0.2)))
    until("it works", lambda: bench.effects() == {"good": [1]})
    bench.produce(*entries("bad", 1))
    until("the handler hangs", lambda: ("bad", 1) in bench.entered)
    began = time.monotonic()
    assert not working.stop(), "it says that something did not finish"
    assert time.monotonic() - began < 20, "the handler would hang for longer"
    bench.look.acquire([])  # the store is free at once
    hang.over.set()
    if way is not Hang.asleep:
        until("the thread that hung has ended", lambda: set(threads()) <= set(others))
    assert bench.effects() == {"good": [1]}
    assert bench.outcomes() == {"applied": 1}
