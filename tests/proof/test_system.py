"""The system in one thread: the real planner, engine, batches and replay, under a broker and faults that are played."""

from __future__ import annotations

import msgspec
import pytest

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.limits import Limits
from inorder.core.room import Room
from inorder.core.waiting import NEVER
from inorder.declaration import declaration_of
from inorder.proof.memory import MemoryStore, MemoryTransaction
from inorder.proof.oracle import Judgement, LedgerOracle, Verdict, judge
from inorder.proof.recorder import Scripted
from inorder.proof.system import Message, System, rules_of
from inorder.proof.trace import Op, Step, Trace, Via
from inorder.worker.job import Job
from tests.proof.consumers import Entry, listing


def message(place: str) -> Message:
    key, version = place[0], int(place[1:])
    return Message(key, version, place, msgspec.json.encode(Entry(place, key, version)))


class Played:
    """A system that is played by hand, and what its trace comes to."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.weather = Scripted()
        self.system = System(declaration_of(listing), MemoryStore("x"), self.steps.append, weather=self.weather)
        (self.partition,) = self.system.partitions
        self.system.assign(self.partition, 0)

    def deliver(self, *places: str, worker: int = 0) -> None:
        for place in places:
            self.system.accept(message(place))
            self.system.receive(worker, self.partition)
            self.system.decide(worker)
            self.system.commit(worker)

    def end(self, worker: int = 0) -> Judgement:
        self.system.settle(worker)
        self.system.rest()
        return judge(Trace(rules_of(self.system.declared), self.steps), LedgerOracle())

    def took(self, op: Op) -> list[Step]:
        return [step for step in self.steps if step.op is op]


def test_disorder_a_failure_and_a_replay_leave_no_anomaly() -> None:
    played = Played()
    played.weather.poisoned.add(("a", 2))
    played.deliver("a2", "b2", "a1", "a3", "a1", "b1")
    assert [(step.key, step.version) for step in played.took(Op.LETTER)] == [("a", 2)]
    played.weather.poisoned.clear()
    operator = played.system.operator
    for row in operator.letters():
        assert operator.put_through(row) == "applied"
        while operator.drain("a"):
            pass
        operator.release("a")
    found = played.end()
    assert found.findings == []
    assert set(found.unknown) == {"S10", "S18"}
    assert [step.via for step in played.took(Op.APPLIED) if step.key == "a"] == [Via.LIVE, Via.REPLAY, Via.DRAIN]


def test_a_worker_that_lost_its_partition_writes_nothing() -> None:
    played = Played()
    played.deliver("a1")
    played.system.accept(message("a2"))
    played.system.receive(0, played.partition)
    played.system.assign(played.partition, 1)
    played.deliver(worker=1)
    played.system.decide(0)
    played.system.commit(0)
    assert [step.version for step in played.took(Op.APPLIED)] == [1]
    found = played.end(worker=1)
    assert found.findings == []
    assert [(step.worker, step.version) for step in played.took(Op.APPLIED)] == [("worker 1", 1), ("worker 2", 2)]


def test_a_crash_before_the_commit_of_offsets_brings_the_events_again() -> None:
    played = Played()
    for place in ("a1", "a2"):
        played.system.accept(message(place))
    played.system.receive(0, played.partition, 2)
    played.system.decide(0)
    played.system.crash(0)
    played.system.assign(played.partition, 0)
    found = played.end()
    assert found.findings == []
    assert len(played.took(Op.RECEIVED)) == 4
    assert len(played.took(Op.APPLIED)) == 2


def test_without_the_fence_and_the_revision_a_zombie_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryTransaction, "check_fences", lambda self, fences: None)
    played = Played()
    played.system.accept(message("a1"))
    played.system.receive(0, played.partition)
    played.system.assign(played.partition, 1)
    played.system.decide(0)
    found = played.end(worker=1)
    assert found.verdicts["S9"] is Verdict.INVALID


def test_a_skipped_version_lets_the_key_go_on() -> None:
    played = Played()
    played.weather.poisoned.add(("a", 1))
    played.deliver("a2", "a1")
    assert played.system.operator.skip("a")
    assert not played.system.operator.skip("b")
    found = played.end()
    assert found.findings == []
    assert [step.version for step in played.took(Op.APPLIED)] == [2]


def test_what_a_batch_has_written_takes_room_at_once() -> None:
    played = Played()
    room = played.system.planner.room = Room(Limits(held=1))
    room.read(0, 0, ())
    played.deliver("a2")
    assert room.for_held(Entity("b"), Changes(0)) is not None


def test_old_news_of_a_retry_do_not_take_its_time_away() -> None:
    played = Played()
    played.weather.transient["a", 1] = 2
    played.deliver("a1")
    member = played.system.members[0]
    due_at = member.batches.timers.next()
    assert due_at < NEVER
    assert member.batches.timers.take(due_at) == ["a"], "it is said to be due"
    assert member.batches.run(Job(), ["a"], dict(member.fences)) == {}
    assert member.batches.timers.next() == due_at, "the store says when"


def test_a_retry_comes_back_by_itself() -> None:
    played = Played()
    played.weather.transient["a", 1] = 2
    played.deliver("a1", "a2")
    assert played.took(Op.APPLIED) == []
    found = played.end()
    assert found.findings == []
    assert [step.via for step in played.took(Op.APPLIED)] == [Via.HELD, Via.HELD]
