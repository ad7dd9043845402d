"""Group membership of the embedded broker, under any sequence of joins, deaths, silences, growth and time."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inorder.sources.embedded_broker import EmbeddedBroker, Message, find_topic
from inorder.sources.embedded_file import EmbeddedFile
from inorder.sources.embedded_group import Member

SESSION_S = 10.0


class Seat:
    """A member, and what it believes to own."""

    def __init__(self, path: Path, machine: GroupMachine) -> None:
        self.machine = machine
        self.file = EmbeddedFile(path)
        self.member = Member(self.file, find_topic(self.file, "topic"), "group", SESSION_S, now=lambda: machine.now_s)
        self.member.join()
        self.held: dict[int, int] = {}
        self.last_heard_s = machine.now_s

    def sync(self) -> None:
        standing = self.member.sync(self.held.keys())
        if standing.lost:
            assert self.machine.now_s > self.last_heard_s + SESSION_S, "lost although the session was not over"
            self.held.clear()
            self.member.join()
        self.last_heard_s = self.machine.now_s
        for log in standing.release:
            del self.held[log]
        if standing.release:
            self.member.release(standing.release)
        for claim in standing.claims:
            assert claim.log not in self.held
            assert claim.committed == self.machine.committed[claim.log], "begins at the committed offset"
            self.held[claim.log] = claim.committed

    def silent(self) -> bool:
        return self.machine.now_s > self.last_heard_s + SESSION_S


class GroupMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "broker.db"
        self.broker = EmbeddedBroker(self.path)
        self.broker.create_topic("topic", 2)
        self.now_s = 1000.0
        self.seats: list[Seat] = []
        self.committed: Counter[int] = Counter()
        self.partitions = 2

    @precondition(lambda self: len(self.seats) < 5)
    @rule()
    def join(self) -> None:
        self.seats.append(Seat(self.path, self))

    @precondition(lambda self: self.seats)
    @rule(data=st.data(), times=st.integers(1, 3))
    def sync(self, data: st.DataObject, times: int) -> None:
        seat = data.draw(st.sampled_from(self.seats))
        for _ in range(times):
            seat.sync()

    @precondition(lambda self: self.seats)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        seat = data.draw(st.sampled_from(self.seats))
        self.seats.remove(seat)
        seat.file.close()

    @precondition(lambda self: self.seats)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        seat = data.draw(st.sampled_from(self.seats))
        self.seats.remove(seat)
        seat.member.leave()
        seat.file.close()

    @rule(seconds=st.floats(0.1, 15))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

    @precondition(lambda self: self.partitions < 6)
    @rule()
    def grow(self) -> None:
        self.partitions += 1
        self.broker.grow("topic", self.partitions)

    @precondition(lambda self: any(seat.held for seat in self.seats))
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        seat = data.draw(st.sampled_from([seat for seat in self.seats if seat.held]))
        offsets = {log: at + 1 for log, at in seat.held.items()}
        ours = self._owned_by(seat)
        seat.member.commit(offsets)
        if seat.member.alive():
            seat.last_heard_s = self.now_s
        for log, offset in offsets.items():
            seat.held[log] = offset
            if log in ours:
                self.committed[log] = max(self.committed[log], offset)

    def _owned_by(self, seat: Seat) -> set[int]:
        shares = seat.file.rows("shares", seat.member.group)
        return {log for log, _, owner, _, _ in shares if owner == seat.member._id}

    @invariant()
    def nobody_owns_what_another_living_member_holds(self) -> None:
        held = Counter(log for seat in self.seats if not seat.silent() for log in seat.held)
        assert all(count == 1 for count in held.values())

    @invariant()
    def only_owners_move_the_committed_offset(self) -> None:
        found = self.broker.committed("topic", "group")
        assert list(found.values()) == [self.committed[number + 1] for number in range(self.partitions)]

    def teardown(self) -> None:
        if self.seats:
            for _ in range(4):  # evict the dead, let go, claim
                self.now_s += SESSION_S * 0.6
                for seat in self.seats:
                    seat.sync()
            held = [len(seat.held) for seat in self.seats]
            assert sum(held) == self.partitions, "in the end every partition is held"
            assert max(held) - min(held) <= 1, "and evenly so"
        for seat in self.seats:
            seat.file.close()
        self.broker.close()
        self.folder.cleanup()


GroupMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestGroup = GroupMachine.TestCase


def test_a_member_that_was_given_up_cannot_pass_for_its_successor(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "broker.db")
    broker.create_topic("topic", 1)
    broker.append_many("topic", [Message(None, b"x")] * 10)
    clock = {"now": 0.0}

    def member() -> Member:
        file = EmbeddedFile(tmp_path / "broker.db")
        made = Member(file, find_topic(file, "topic"), "group", SESSION_S, now=lambda: clock["now"])
        made.join()
        return made

    old = member()
    (claim,) = old.sync(()).claims
    clock["now"] = SESSION_S + 1
    new = member()
    assert [c.log for c in new.sync(()).claims] == [claim.log]
    old.commit({claim.log: 10})
    assert not old.alive()
    assert list(broker.committed("topic", "group").values()) == [0]
