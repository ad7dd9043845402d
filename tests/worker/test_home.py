"""A key that waits has a home: the partition of the event that made it wait. Only who owns that wakes the key.

The revision of its row refuses what a former owner writes, but not what its handler does elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

import inorder
from tests.worker.bench import Bench, Working, until
from tests.worker.conftest import kinds
from tests.worker.consumers import Entry
from tests.worker.scripted import ScriptedGroup, ScriptedSource, ScriptedTopic, put

PATIENT = inorder.Retry(attempts=3, delay_s=0.3, factor=1)


class Failing:
    """Key "a" fails until it is mended."""

    def __init__(self, bench: Bench, group: ScriptedGroup) -> None:
        self.mended = False
        self._bench = bench
        self._group = group

    def worker(self, *numbers: int) -> tuple[Working, ScriptedSource]:
        source = self._group.member()
        working = self._bench.start(self._bench.declare(self._act, retry=PATIENT), source, concurrency=4)
        self._group.give(source, *numbers)
        return working, source

    def _act(self, entry: Entry) -> None:
        if entry.key == "a" and not self.mended:
            raise ValueError


def revoke(group: ScriptedGroup) -> None:
    group.give(None, 0)
    until("it let go", lambda: 0 not in group.owners)


def seize(group: ScriptedGroup) -> None:
    group.seize(0)


@pytest.mark.parametrize("how", [revoke, seize])
def test_a_retry_that_is_due_is_left_to_who_owns_its_home(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup, how: Callable[[ScriptedGroup], None]
) -> None:
    failing = Failing(bench, group)
    put(topic, 0, "a", 1)
    working, _ = failing.worker(0, 1)
    until("it failed once, durably", lambda: bench.count("retries") == 1)
    calls = bench.entered.count(("a", 1))
    how(group)
    ((_, waiting),) = bench.look.due([topic.partition(0)]).items()
    put(topic, 1, "b", 1)
    until("the retry is long due", lambda: working.parts.clock.now() > waiting.due_at + 0.1)
    put(topic, 1, "b", 2)
    until("it works on", lambda: group.settled(1) == 2)
    assert bench.entered.count(("a", 1)) == calls, "not by a worker that does not own it any more"
    failing.mended = True
    heir, _ = failing.worker(0, 1)
    until("the owner did it", lambda: bench.count("applied") == 3)
    assert bench.effects() == {"a": [1], "b": [1, 2]}
    heir.stop()


@kinds("fold", "tx", "call")
def test_the_fence_refuses_a_retry_before_the_source_says_a_word(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup
) -> None:
    """A new owner has raised the fence of a home, and this worker is not told: what it does about the key is undone."""
    failing = Failing(bench, group)
    put(topic, 0, "a", 1)
    working, _ = failing.worker(0, 1)
    until("it failed once, durably", lambda: bench.count("retries") == 1)
    calls = bench.entered.count(("a", 1))
    bench.look.acquire([topic.partition(0)])
    failing.mended = True
    ((_, waiting),) = bench.look.due([topic.partition(0)]).items()
    until("the retry is long due", lambda: working.parts.clock.now() > waiting.due_at + 0.2)
    put(topic, 1, "b", 1)
    until("it works on", lambda: group.settled(1) == 1)
    assert bench.count("applied") == 1, "nothing is written under an old fence"
    assert bench.entered.count(("a", 1)) <= calls + 1, "refused once, and not tried again"
    working.stop()


def test_who_sets_a_key_of_another_home_going_does_what_waits(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup
) -> None:
    """The missing version comes in another partition, to another worker than the one that held the next."""
    failing = Failing(bench, group)
    failing.mended = True
    put(topic, 0, "a", 2)
    first, _ = failing.worker(0)
    until("it waits", lambda: bench.outcomes() == {"held": 1})
    put(topic, 1, "a", 1)
    second, _ = failing.worker(1)
    until("both took effect", lambda: bench.effects() == {"a": [1, 2]})
    until("the count is right", lambda: bench.outcomes() == {"applied": 2})
    released = [bench.look.counts([working.tally]).get("released", 0) for working in (first, second)]
    assert released == [0, 1], "by the one that had the missing version, at once"
