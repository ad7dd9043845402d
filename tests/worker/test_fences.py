"""A fence that is raised by somebody who does not have the partition: late, after a start that was frozen, or in error.

The worker that has the partition is refused then. It joins its group anew, and goes on. Two groups are told apart by
this: they take the partition from each other again and again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from inorder.core.event import Partition
from inorder.errors import InorderError
from inorder.stores.sqlite import SqliteStore
from inorder.worker import worker as loop
from tests.worker.bench import PATIENCE_S, Bench, entries, until
from tests.worker.conftest import kinds
from tests.worker.scripted import ScriptedGroup, ScriptedTopic, put
from tests.worker.test_rebalance import all_settled, effects_in_order

each_kind = kinds("fold", "tx", "call", "async call")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "FENCED_FOR_S", 0.05)


@each_kind
def test_a_worker_whose_fence_was_raised_late_by_an_earlier_owner_takes_it_anew(
    bench: Bench, topic: ScriptedTopic, group: ScriptedGroup
) -> None:
    source = group.member()
    working = bench.start(bench.declare(), source)
    group.give(source, 0, 1)
    put(topic, 0, "a", 1, 2)
    put(topic, 1, "b", 1, 2)
    until("it works", lambda: all_settled(group))
    for version in (3, 5):
        bench.look.acquire([topic.partition(0)])
        put(topic, 0, "a", version + 1, version)
        put(topic, 1, "b", version, version + 1)
        until("it goes on", lambda: all_settled(group))
    assert working.stop()
    assert effects_in_order(bench) == {"a": [1, 2, 3, 4, 5, 6], "b": [1, 2, 3, 4, 5, 6]}


@kinds("fold")
def test_an_owner_that_waits_for_the_store_past_its_session_and_takes_its_fences_then(bench: Bench) -> None:
    waits, goes_on = threading.Event(), threading.Event()

    class Frozen(SqliteStore):
        def acquire(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
            waits.set()
            assert goes_on.wait(PATIENCE_S)
            return super().acquire(partitions)

    for number in range(4):
        bench.produce(*entries(f"k{number}", 1, 2), partition=number)
    late = bench.start(bench.declare(), open_store=lambda: Frozen(str(bench.path), "stream"), worker="late")
    until("it is about to take its fences", waits.is_set)
    heir = bench.start(bench.declare(), worker="heir")
    until("its session is over, and another did its work", bench.committed)
    goes_on.set()
    until("it has noticed", lambda: late.parts.loop._engine.fences)
    for number in range(4):
        bench.produce(*entries(f"k{number}", 4, 3), partition=number)
    until("all is settled", bench.committed)
    assert late.stop()
    assert heir.stop()
    assert bench.effects() == {f"k{number}": [1, 2, 3, 4] for number in range(4)}


@kinds("fold", "call")
def test_two_groups_that_write_one_stream_are_told_so(bench: Bench, topic: ScriptedTopic) -> None:
    groups = [topic.group(name) for name in ("one", "two")]
    workers = []
    for group in groups:
        source = group.member()
        workers.append(bench.start(bench.declare(), source))
        group.give(source, 0, 1)
    version = 0

    def one_has_ended() -> bool:
        nonlocal version
        version += 1
        put(topic, 0, "a", version)
        return any(working.ended for working in workers)

    until("one of the two gives up", one_has_ended)
    (loser,) = [working for working in workers if working.ended]
    with pytest.raises(InorderError, match=r"topic/0 is also consumed by another group into this stream: stop one"):
        loser.wait()
    (winner,) = [number for number, working in enumerate(workers) if working is not loser]
    until("the other does the rest", lambda: all_settled(groups[winner]))
    assert workers[winner].stop()
    assert effects_in_order(bench) == {"a": list(range(1, version + 1))}
