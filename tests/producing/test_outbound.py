"""Whatever fails in whatever order: the first appearance of a key's records in the log is the order of sending."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inorder.errors import UsageError
from inorder.producing.channel import Fault, Problem
from inorder.producing.outbound import MOST_BEHIND, Outbound

KEYS = [b"a", b"b", b"c"]
PROBLEM = Problem(Fault.RECORD, "NO", "no")


class Item:
    """A record of a model."""

    def __init__(self, key: bytes, version: int | None) -> None:
        self.key = key
        self.version = version
        self.size = 10
        self.number = 0
        self.since = 0.0


class Sending(RuleBasedStateMachine):
    """A broker that keeps what it likes of what is under way, a prefix at a time, and says so or does not."""

    @initialize(one=st.booleans())
    def begin(self, one: bool) -> None:
        self.outbound: Outbound[Item] = Outbound(one_at_a_time=one)
        self.sent: dict[bytes, int] = dict.fromkeys(KEYS, 0)
        self.given_up: dict[bytes, set[int]] = {key: set() for key in KEYS}
        self.under_way: deque[Item] = deque()
        self.log: list[tuple[bytes, int]] = []
        self.acknowledged: set[tuple[bytes, int]] = set()

    @rule(key=st.sampled_from(KEYS), count=st.integers(1, 4))
    def send(self, key: bytes, count: int) -> None:
        for _ in range(count):
            self.sent[key] += 1
            self.outbound.add(Item(key, self.sent[key]))

    @rule(count=st.integers(1, 5))
    def hand_over(self, count: int) -> None:
        for _ in range(count):
            if record := self.outbound.take():
                self.under_way.append(record)

    @rule(count=st.integers(1, 5))
    def acknowledge(self, count: int) -> None:
        for _ in range(min(count, len(self.under_way))):
            record = self.under_way.popleft()
            self._keep(record)
            self.outbound.delivered(record)
            self.acknowledged.add((record.key, record.version or 0))

    @rule(kept=st.integers(0, 3), stop=st.sets(st.sampled_from(KEYS)))
    def lose_the_connection(self, kept: int, stop: set[bytes]) -> None:
        """The broker keeps some of what was under way; nobody hears of it. Some keys may be stopped for it."""
        for record in list(self.under_way)[:kept]:
            self._keep(record)
        self.under_way.clear()
        self.outbound.stop(stop, PROBLEM)
        self.outbound.reset()

    @precondition(lambda self: not self.outbound.idle)
    @rule()
    def refuse_one(self) -> None:
        if record := self.outbound.take():
            self.outbound.refused(record, PROBLEM)

    @precondition(lambda self: bool(self.under_way))
    @rule(at=st.integers(0, 5))
    def refuse_one_that_was_handed_over(self, at: int) -> None:
        """What was handed over behind it, of its key, goes back."""
        record = list(self.under_way)[min(at, len(self.under_way) - 1)]
        behind = [r for r in self.under_way if r.key == record.key and r.number >= record.number]
        self.under_way = deque(r for r in self.under_way if r not in behind)
        self.outbound.refused(record, PROBLEM)

    @rule(key=st.sampled_from(KEYS))
    def resend(self, key: bytes) -> None:
        self.outbound.resume(key, 1.0)

    def _keep(self, record: Item) -> None:
        self.log.append((record.key, record.version or 0))

    @invariant()
    def first_appearances_are_in_order(self) -> None:
        for key in KEYS:
            versions = list(dict.fromkeys(version for at, version in self.log if at == key))
            assert versions == list(range(1, len(versions) + 1))

    @invariant()
    def what_is_counted_is_what_is_there(self) -> None:
        left = self.outbound.left()
        stopped = sum(len(records) for _, records in self.outbound.stuck())
        assert (self.outbound.active, self.outbound.stopped) == (len(left) - stopped, stopped)
        assert self.outbound.active_bytes == 10 * self.outbound.active

    def teardown(self) -> None:
        for _ in range(200):
            for key in KEYS:
                self.resend(key)
            self.hand_over(5)
            self.acknowledge(5)
        assert self.acknowledged == {(key, v) for key, last in self.sent.items() for v in range(1, last + 1)}
        assert self.outbound.left() == []
        assert (self.outbound.active, self.outbound.active_bytes, self.outbound.stopped) == (0, 0, 0)


TestSending = Sending.TestCase
TestSending.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@given(before=st.integers(1, 5), after=st.integers(1, 5))
def test_versions_of_a_key_that_are_on_their_way_ascend(before: int, after: int) -> None:
    outbound: Outbound[Item] = Outbound()
    outbound.add(Item(b"a", before))
    if after > before:
        outbound.add(Item(b"a", after))
    else:
        with pytest.raises(UsageError, match="ascending"):
            outbound.add(Item(b"a", after))


def test_no_more_than_a_limit_waits_behind_a_stopped_record() -> None:
    outbound: Outbound[Item] = Outbound()
    outbound.add(Item(b"a", None))
    outbound.stop([b"a"], PROBLEM)
    for _ in range(MOST_BEHIND - 1):
        assert not outbound.full_behind(b"a")
        outbound.add(Item(b"a", None))
    assert outbound.full_behind(b"a")
    assert not outbound.full_behind(b"b")


def test_the_records_before_a_suspect_are_tried_before_it() -> None:
    outbound: Outbound[Item] = Outbound()
    items = [Item(key, None) for key in (b"a", b"b", b"a", b"b", b"a")]
    for item in items:
        outbound.add(item)
    assert outbound.up_to([items[2]]) == [items[0], items[2]]
    assert outbound.up_to([items[3], items[4]]) == items
