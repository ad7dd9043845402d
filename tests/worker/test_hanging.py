"""A handler that hangs past its limit: tried again, then a dead letter and a parked key; all other keys go on.

And whoever was left behind in a hung call has no effect afterwards.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

import inorder
from tests.worker.bench import Bench, entries, until
from tests.worker.consumers import Entry

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
    until("the threads that hung have ended", lambda: not threads())
    outcomes = bench.outcomes()
    outcomes.pop("duplicate", None)  # what was under way on a blocked event loop is read again
    assert outcomes == {"applied": 7, "dead_lettered": 1, "held": 1}
    if not (bench.kind == "call" and way is Hang.stubborn):
        assert bench.effects() == before, "nothing of a hung call takes effect later"
