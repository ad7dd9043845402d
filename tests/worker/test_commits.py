"""Group commits of lanes: one at a time, settled when they are through and never before, and what a refusal means.

Pure: the store answers when it is told to.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from inorder.core.changes import Changes
from inorder.core.engine import Unit
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Record, Slice
from inorder.core.guard import Guard
from inorder.core.limits import Limits
from inorder.core.order import Order, Outcome
from inorder.core.planner import Planner
from inorder.core.retry import ErrorClass, Retry
from inorder.core.room import Room
from inorder.core.rows import EntityRow
from inorder.core.waiting import AT_ONCE, Wait, Waiting
from inorder.errors import Fenced, Mismatch
from inorder.observe.nobody import Nobody
from inorder.ports import Clock
from inorder.worker import commits as committing
from inorder.worker.claims import Claims
from inorder.worker.commits import Commits
from inorder.worker.group import Group, Groups
from inorder.worker.keeper import Keeper
from inorder.worker.known import Known
from tests.worker.played import HERE, THERE


class Desk:
    """A store's writes: how many there are at a time, what of, and when and how they end."""

    def __init__(self) -> None:
        self.writes: list[tuple[list[str], dict[Partition, int]]] = []
        self.under_way = 0
        self.answer = asyncio.Event()
        self.answer.set()
        self.refuses: Exception | None = None

    async def write(self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int]) -> None:
        self.writes.append(([row.key for row in rows], dict(fences)))
        self.under_way += 1
        assert self.under_way == 1, "two commits at once"
        await self.answer.wait()
        self.under_way -= 1
        if self.refuses is not None:
            raise self.refuses


class Watching(Nobody):
    """Notes what the commits tell an observer."""

    def __init__(self, told: list[Any]) -> None:
        self.told = told
        self.began = time.monotonic()

    def committed(self, changes: Changes, deciding_s: float | None = None, storing_s: float = 0.0) -> None:
        assert deciding_s is None
        assert 0.0 <= storing_s <= time.monotonic() - self.began
        self.told.append(("committed", sorted(changes.entities)))

    def outdated(self) -> None:
        self.told.append("outdated, observed")

    def fenced(self, partitions: int) -> None:
        self.told.append(("fenced", partitions))


class Course:
    """Commits of some groups, and all that they say."""

    def __init__(self, claims: Claims | None = None) -> None:
        self.told: list[Any] = []
        self.desk = Desk()
        keeper = cast(Keeper, self.desk)
        self.groups = Groups(lambda: Changes(0))
        self.known = Known(keeper, self.groups, 0, 0)
        self.planner = Planner(Guard(Order.STRICT), Retry(), Limits(), True, lambda error: ErrorClass.POISON)
        self.tasks: list[asyncio.Task[None]] = []
        self.commits = Commits(self.planner, keeper, self.groups, self.known, claims, Watching(self.told), self._spawn)
        self.commits.loop = asyncio.get_running_loop()
        self.commits.through = lambda waits, settled: self.told.append(("through", dict(waits), settled))
        self.commits.refused = self._refused
        self.commits.outdated = lambda: self.told.append("outdated")
        self.commits.go = lambda: self.told.append("go")
        self.commits.more, self.commits.waking = lambda: False, tuple
        self.offset = 0

    def decide(self, key: str, home: Partition = HERE, waits: Waiting | None = None) -> Unit:
        """One event of a key, the only one of its unit, was decided."""
        piece = Slice.of(home, [Record(home, self.offset, b"k", b"")])
        self.offset += 1
        unit = Unit(home, 7, piece.next_offset, 1, 0)
        self.groups.opened(unit, piece)
        now = self.groups.now
        now.changes.entities[key] = Entity(key)
        if waits is not None:
            now.changes.waits[key] = waits
        now.events.append(Event(key, 1, f"{key}1", 1, None, piece, 0))
        return unit

    async def end(self) -> None:
        """Until nothing is under way."""
        while self.tasks:
            await self.tasks.pop()

    def _spawn(self, what: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(what))

    def _refused(self, group: Group, lost: Mapping[Partition, int]) -> None:
        assert self.groups.writing == {}, "it may be decided again"
        self.told.append(("refused", sorted(group.changes.entities), dict(lost)))


async def turns() -> None:
    """Let all that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_there_is_one_at_a_time_and_what_it_decided_is_settled_when_it_is_through() -> None:
    async def course() -> None:
        it, waits = Course(), Waiting(Wait.GAP, 1, 0.0)
        it.commits.soon()
        assert (it.tasks, it.commits.busy) == ([], False), "there is nothing to commit"
        first = it.decide("a", waits=waits)
        it.desk.answer.clear()
        it.commits.soon()
        assert it.commits.busy
        second = it.decide("b", THERE)
        it.commits.soon()
        await turns()
        assert (it.desk.writes, it.told) == ([(["a", "b"], {HERE: 7, THERE: 7})], [])
        third = it.decide("c")
        it.commits.soon()
        await turns()
        assert (len(it.desk.writes), it.commits.count) == (1, 0)
        assert it.groups.entity("a") is not None, "while it is being written"
        it.desk.answer.set()
        await it.end()
        assert it.told == [("committed", ["a", "b"]), ("through", {"a": waits}, [first, second]), "go"]
        assert (it.commits.busy, it.commits.count, it.groups.entity("a")) == (False, 1, None)
        it.commits.soon()
        await it.end()
        assert it.told[3:] == [("committed", ["c"]), ("through", {}, [third]), "go"]

    asyncio.run(course())


def test_what_was_changed_by_others_is_decided_again_and_settles_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "inorder.worker")

    async def course() -> None:
        it = Course()
        it.decide("a")
        it.desk.refuses = Mismatch(["a"])
        it.commits.soon()
        await it.end()
        assert it.told == ["outdated", "outdated, observed", ("refused", ["a"], {}), "go"]
        [line] = [one for one in caplog.records if "decided again" in one.message]
        assert line.levelno == logging.INFO
        assert (it.commits.busy, it.commits.count) == (False, 1)

    asyncio.run(course())


def test_what_is_fenced_is_left_to_the_new_owner_of_that_partition(caplog: pytest.LogCaptureFixture) -> None:
    async def course() -> None:
        it = Course()
        it.decide("a")
        it.decide("b", THERE)
        it.desk.refuses = Fenced([THERE])
        it.commits.soon()
        await it.end()
        assert it.told == [("fenced", 1), ("refused", ["a", "b"], {THERE: 7}), "go"]
        assert "its events are left to the new owner" in caplog.text

    asyncio.run(course())


def test_a_worker_that_has_not_heard_of_the_store_asks_whether_its_partitions_are_its_own() -> None:
    async def course() -> None:
        it = Course()
        now = it.commits._confirmed_at
        assert it.commits.confirmed(now + committing.CONFIRM_EVERY_S)
        it.known.fences = {HERE: 7, THERE: 8}
        late = now + committing.CONFIRM_EVERY_S + 0.1
        assert not it.commits.confirmed(late)
        it.desk.answer.clear()
        it.commits._confirmed_at = now - committing.CONFIRM_EVERY_S - 0.1
        await turns()
        assert not it.commits.confirmed(now), "not before it has answered"
        it.desk.answer.set()
        await it.end()
        assert (it.desk.writes, it.told) == ([([], {HERE: 7, THERE: 8})], ["go"]), "asked once"
        assert it.commits._confirmed_at >= now
        it.decide("a")
        it.desk.refuses = Fenced([HERE])
        assert not it.commits.confirmed(it.commits._confirmed_at + 2.0)
        await it.end()
        assert it.told[1:] == [("fenced", 1), ("refused", ["a"], {HERE: 7}), "go"]
        it.desk.refuses, before = None, it.commits._confirmed_at
        it.decide("b")
        it.commits.soon()
        await it.end()
        assert it.commits._confirmed_at > before, "a commit is an answer too"

    asyncio.run(course())


class Later:
    """Notes what is to be called later, and whether that was taken back."""

    def __init__(self) -> None:
        self.after_s: list[float] = []
        self.cancelled = 0
        self.due: Callable[[], None] = lambda: None

    def call_later(self, after_s: float, what: Callable[[], None]) -> Later:
        self.after_s.append(after_s)
        self.due = what
        return self

    def cancel(self) -> None:
        self.cancelled += 1


def test_the_next_one_waits_for_more_that_is_about_to_be_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1_000.0)

    async def course() -> None:
        it, later = Course(), Later()
        it.commits.loop, it.commits.more = cast(asyncio.AbstractEventLoop, later), lambda: True
        it.decide("a")
        it.commits.soon()
        await it.end()
        assert (len(it.desk.writes), later.after_s) == (1, []), "the first one after a while begins at once"
        it.decide("b")
        it.commits.soon()
        it.commits.soon()
        assert (it.tasks, it.commits.busy, later.cancelled) == ([], False, 0)
        assert later.after_s == pytest.approx([committing.COMMIT_EVERY_S], abs=1e-6)
        it.commits.more = lambda: False
        it.commits.soon()
        await it.end()
        assert (len(it.desk.writes), later.cancelled) == (2, 1), "nothing runs any more"
        it.commits.more = lambda: True
        it.decide("c")
        it.commits.soon()
        later.due()
        await it.end()
        assert [keys for keys, _ in it.desk.writes] == [["a"], ["b"], ["c"]], "it was time"
        it.decide("d")
        it.commits.soon()
        assert len(later.after_s) == 3
        async with it.commits.turns:
            assert it.commits.busy
            later.due()
            later.due()
            await turns()
            assert (len(it.desk.writes), len(it.tasks)) == (3, 1), "something else is being written"
        await it.end()
        assert [keys for keys, _ in it.desk.writes[3:]] == [["d"]], "its turn has come"
        later.due()
        assert it.tasks == [], "there is nothing to commit"

    asyncio.run(course())


def test_where_much_is_decided_there_are_fewer_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: at)
    monkeypatch.setattr(committing, "BUSY", 1_000.0)

    async def course() -> None:
        nonlocal at
        it, later = Course(), Later()
        it.commits.loop, it.commits.more = cast(asyncio.AbstractEventLoop, later), lambda: True
        for events in (1, 9, 11, 39, 11):
            for _ in range(events):
                it.decide("a")
            it.commits.soon()
            if later.after_s:
                at += later.after_s[-1]
                later.due()
            await it.end()
        it.decide("a")
        it.commits.soon()
        seldom, often = committing.BUSY_EVERY_S, committing.COMMIT_EVERY_S
        assert later.after_s == pytest.approx([often, often, seldom, often, seldom], abs=1e-6)

    asyncio.run(course())


def test_of_a_queue_each_is_committed_at_once_and_claims_begin_anew(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "inorder.worker")

    async def course() -> None:
        clock = SimpleNamespace(now=lambda: 0.0)
        claims = Claims(cast(Keeper, None), 0, cast(Clock, clock), handler_s=30.0)
        claims.confirm({"a": Waiting(Wait.GAP, 1, 0.0, due_at=1.0)})
        it = Course(claims)
        it.commits.more, it.commits.waking = lambda: True, lambda: ["a"]
        for key in "ab":
            assert claims.holds("a") == (key == "b"), "for long enough, since something of it was committed"
            it.decide(key)
            it.commits.soon()
            assert it.commits.busy
            await it.end()
        clock.now = lambda: 100.0
        it.desk.refuses = Mismatch(["a"])
        it.decide("a")
        it.commits.soon()
        await it.end()
        assert not claims.holds("a"), "nothing was written"
        assert "decided again" not in caplog.text, "that is how workers of a queue share their keys"

    asyncio.run(course())


def test_a_claim_that_begins_anew_is_not_taken_for_how_its_key_waits() -> None:
    """Others are kept from the key for so long; whoever has the claim looks after it at its own time."""

    async def course() -> None:
        clock, at_once = SimpleNamespace(now=lambda: 0.0), Waiting(Wait.GAP, 2, 0.0, due_at=AT_ONCE)
        claims = Claims(cast(Keeper, None), 0, cast(Clock, clock), handler_s=30.0)
        claims.confirm({"a": Waiting(Wait.GAP, 1, 0.0, due_at=1.0)})
        it = Course(claims)
        it.commits.waking = lambda: ["a"]
        unit = it.decide("a", waits=at_once)
        changes = it.groups.now.changes
        it.commits.soon()
        await it.end()
        written = changes.waits["a"]
        assert written is not None
        assert written.due_at > 30.0
        assert ("through", {"a": at_once}, [unit]) in it.told

    asyncio.run(course())


def test_the_room_is_told_of_what_was_written() -> None:
    async def course() -> None:
        it = Course()
        it.planner.room = room = Room(Limits(held=1))
        room.read(0, 0, ())
        unit = it.decide("a")
        changes = it.groups.now.changes
        piece = Slice.of(HERE, [Record(HERE, 9, b"k", b"")])
        changes.hold(Event("a", 5, "a5", 5, None, piece, 0), Outcome.HELD)
        it.commits.soon()
        await it.end()
        assert it.told[1] == ("through", {}, [unit])
        assert room.for_held(Entity("z"), Changes(0)) is not None

    asyncio.run(course())
