"""Keys of lanes that wait: when they are rung for, what is brought back of them, and when they are let go of.

Pure: the store answers from what it was given, and the loop's alarm is rung by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypedDict, cast

import msgspec
import pytest

import inorder
from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Record, Slice, fingerprint
from inorder.core.guard import Guard
from inorder.core.lanes import Lanes
from inorder.core.limits import Limits
from inorder.core.order import Order, Outcome
from inorder.core.planner import Planner
from inorder.core.retry import ErrorClass, Retry
from inorder.core.rows import HeldRow
from inorder.core.waiting import AT_ONCE, NEVER, Wait, Waiting
from inorder.declaration import declaration_of
from inorder.ports import Clock
from inorder.worker import waking
from inorder.worker.batch import HELD_AT_ONCE
from inorder.worker.claims import Claims
from inorder.worker.commits import Commits
from inorder.worker.group import Groups
from inorder.worker.keeper import Keeper
from inorder.worker.known import Known
from inorder.worker.reading_back import read_back
from inorder.worker.waking import Waking
from tests.worker.played import HERE, THERE

NOW = 1_000.0


class Payload(TypedDict):
    key: str
    version: int
    id: str


@inorder.handler(key="key", version="version", id="id")
def handle(payload: Payload) -> None: ...


def row(key: str, version: int) -> HeldRow:
    value = b'{"key":"%s","version":%d,"id":"%s%d"}' % (key.encode(), version, key.encode(), version)
    name = f"{key}{version}"
    return HeldRow(key, version, name, fingerprint(name), Outcome.HELD, 3, Record(HERE, version, None, value))


def held(
    key: str, version: int, why: Wait = Wait.GAP, due_at: float = AT_ONCE, home: Partition | None = HERE
) -> Entity:
    """An entity of which this version, the next one, waits in the store."""
    found = Entity(key, version - 1, 1, held={version: fingerprint(f"{key}{version}")})
    found.waiting = Waiting(why, version, 5.0, due_at, home=home)
    return found


class Shelf:
    """What is in the store. Somebody may do something while it is asked."""

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}
        self.rows: dict[str, list[HeldRow]] = {}
        self.meanwhile: Callable[[], None] = lambda: None

    async def load(self, keys: Sequence[str]) -> dict[str, Entity]:
        return {key: self.entities[key] for key in keys if key in self.entities}

    async def held(self, key: str, most: int) -> list[HeldRow]:
        assert most == HELD_AT_ONCE
        self.meanwhile()
        return self.rows.get(key, [])


class Alarm:
    """The loop's: when it would ring, and whether it was put off."""

    def __init__(self) -> None:
        self.after_s: float | None = None
        self.what: Callable[[], None] = lambda: None

    def call_later(self, after_s: float, what: Callable[[], None]) -> Alarm:
        self.after_s, self.what = after_s, what
        return self

    def cancel(self) -> None:
        self.after_s = None

    @property
    def set(self) -> bool:
        return self.after_s is not None

    def ring(self) -> None:
        assert self.after_s is not None
        self.after_s = None
        self.what()


class Turns:
    """Nobody else writes."""

    def __init__(self) -> None:
        self.taken = 0
        self.meanwhile: Callable[[], None] = lambda: None
        """What happens until it is our turn."""

    async def __aenter__(self) -> None:
        self.taken += 1
        self.meanwhile()

    async def __aexit__(self, *_: object) -> None: ...


class Scene:
    """Waking, and all around it."""

    def __init__(self, claims: Any = None, cache_bytes: int = 100_000) -> None:
        self.shelf, self.alarm, self.lanes = Shelf(), Alarm(), Lanes()
        self.clock = SimpleNamespace(now=lambda: NOW)
        keeper = cast(Keeper, self.shelf)
        self.groups = Groups(lambda: Changes(0))
        self.known = Known(keeper, self.groups, 0, cache_bytes)
        self.known.fences = {HERE: 7}
        self.turns = Turns()
        self.commits = SimpleNamespace(busy=False, turns=self.turns)
        self.tasks: list[Coroutine[Any, Any, None]] = []
        planner = Planner(Guard(Order.STRICT), Retry(), Limits(gap_s=60.0), True, lambda error: ErrorClass.POISON)
        self.waking = Waking(
            planner,
            JsonCodec(declaration_of(handle)),
            keeper,
            self.lanes,
            self.groups,
            self.known,
            cast(Commits, self.commits),
            cast(Claims, claims),
            cast(Clock, self.clock),
            self.tasks.append,
        )
        self.waking.loop, self.waking.barred = cast(asyncio.AbstractEventLoop, self.alarm), {}
        self.told: list[str] = []
        self.waking.go = lambda: self.told.append("go")
        self.waking.outrun = lambda: self.told.append("outrun")

    def put(self, *entities: Entity) -> None:
        for entity in entities:
            self.shelf.entities[entity.key] = entity
            self.shelf.rows[entity.key] = [row(entity.key, version) for version in sorted(entity.held)]

    def wake(self, *keys: str) -> None:
        """Ring for these keys, and do what comes of it."""
        self.waking.at_once(keys)
        self.alarm.ring()
        self.work()

    def work(self) -> None:
        while self.tasks:
            asyncio.run(self.tasks.pop(0))

    @property
    def queued(self) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        while events := self.lanes.start():
            found += [(event.key, event.version) for event in events]
            self.lanes.finish(events[0].key)
        return found


def received(key: str, version: int) -> Event:
    return Event(key, version, f"{key}{version}", 1, None, Slice.of(HERE, [Record(HERE, 0, b"k", b"")]), 0)


def test_the_alarm_rings_for_the_first_key_that_is_due_and_now_and_then_all_the_same() -> None:
    scene = Scene()
    scene.waking.note({"a": Waiting(Wait.GAP, 1, 0.0, NOW + 9.0), "b": Waiting(Wait.RETRY, 1, 0.0, NOW + 5.0)})
    assert (scene.alarm.after_s, scene.waking.busy) == (5.0, True), "a retry is something to wait for"
    scene.waking.note({"b": None})
    assert (scene.alarm.after_s, scene.waking.busy) == (9.0, False)
    scene.waking.note({"a": Waiting(Wait.GAP, 1, 0.0, NOW + 3_600.0)})
    assert scene.alarm.after_s == waking.LONGEST_S
    scene.alarm.ring()
    assert (scene.alarm.after_s, scene.tasks) == (waking.LONGEST_S, [])
    scene.waking.note({"a": Waiting(Wait.PARKED, 1, 0.0, NEVER)})
    assert not scene.alarm.set
    scene.waking.at_once(["c"])
    assert scene.alarm.after_s == 0.0


def test_what_is_due_is_brought_back_and_let_go_of_with_the_last_of_its_events() -> None:
    scene = Scene()
    one = held("a", 2)
    one.held[3] = fingerprint("a3")
    scene.put(one, held("b", 5))
    scene.shelf.rows["a"].append(row("a", 4))
    scene.shelf.meanwhile = lambda: scene.told.append("".join(sorted(scene.waking.draining())))
    scene.wake("a", "b")
    assert scene.queued == [("a", 2), ("b", 5), ("a", 3)], "a4 is not known to wait"
    assert scene.told == ["a", "ab", "go"], "each drains while its events are read, too"
    assert (sorted(scene.waking.draining()), scene.waking.drains("a")) == (["a", "b"], True)
    assert scene.known.pinned == scene.shelf.entities
    assert scene.waking.home("a") == (HERE, 7)
    assert scene.waking.busy
    scene.groups.take()
    scene.waking.decided("a")
    assert (scene.waking.drains("a"), scene.groups.now.homes) == (True, {HERE: 7})
    scene.waking.decided("a")
    assert (scene.waking.drains("a"), scene.waking.home("a"), list(scene.known.pinned)) == (False, None, ["b"])
    scene.waking.decided("b")
    assert (scene.waking.busy, scene.known.pinned) == (False, {})
    scene.waking.decided("nobody")
    assert list(scene.waking.draining()) == []


def test_a_worker_is_busy_from_when_a_key_is_rung_for() -> None:
    scene = Scene()
    scene.put(held("a", 2))
    scene.waking.at_once(["a"])
    busy: list[bool] = []

    def now() -> float:
        busy.append(scene.waking.busy)
        return NOW

    scene.clock.now = now
    scene.alarm.ring()
    assert len(busy) > 1
    assert all(busy)
    scene.work()
    assert scene.queued == [("a", 2)]


def test_of_each_key_that_is_woken_there_is_one_object_however_small_the_cache() -> None:
    scene = Scene(cache_bytes=0)
    scene.put(held("a", 2), held("b", 2), held("c", 2))
    scene.shelf.meanwhile = lambda: scene.told.append(str([scene.known.find(key) is not None for key in "abc"]))
    scene.wake("a", "b", "c")
    assert scene.told == [*[str([True] * 3)] * 3, "go"]


def test_a_parked_key_whose_claim_is_over_is_an_operators_business() -> None:
    scene = Scene()
    scene.put(held("a", 2, Wait.PARKED, NOW - 1.0))
    scene.wake("a")
    assert (scene.queued, scene.alarm.set, scene.waking.busy) == ([], False, False)


def test_a_key_is_not_rung_for_twice_nor_by_a_worker_that_stops() -> None:
    scene = Scene()
    scene.put(held("a", 2))
    scene.waking.at_once(["a"])
    scene.alarm.ring()
    scene.waking.at_once(["a"])
    scene.alarm.ring()
    assert len(scene.tasks) == 1
    scene.work()
    assert scene.queued == [("a", 2)]
    scene.waking.stopping = True
    scene.waking.at_once(["b"])
    scene.alarm.ring()
    assert scene.tasks == []


def test_what_turns_out_not_to_be_due_is_let_go_of_and_its_time_noted() -> None:
    scene = Scene()
    scene.put(held("later", 2, Wait.RETRY, NOW + 8.0), Entity("flows", 3, 1))
    scene.wake("later", "flows", "unknown")
    assert (scene.queued, list(scene.waking.draining()), scene.known.pinned) == ([], [], {})
    assert scene.alarm.after_s == 8.0
    assert scene.waking.home("later") is None


def test_a_time_that_was_noted_meanwhile_is_newer_than_what_the_store_said() -> None:
    scene = Scene()
    scene.put(held("a", 2, Wait.RETRY, NOW + 8.0))
    asked = scene.shelf.load

    async def load(keys: Sequence[str]) -> dict[str, Entity]:
        scene.waking.note({"a": Waiting(Wait.RETRY, 2, 0.0, NOW + 3.0)})
        return await asked(keys)

    scene.shelf.load = load  # type: ignore[method-assign]
    scene.wake("a")
    assert scene.alarm.after_s == 3.0


def test_a_key_of_which_nothing_waits_any_more_is_let_go_of() -> None:
    scene = Scene()
    scene.put(held("a", 2))
    scene.shelf.rows.clear()
    scene.wake("a")
    assert (scene.queued, list(scene.waking.draining()), scene.known.pinned) == ([], [], {})


def test_what_is_due_later_in_a_queue_is_rung_for_then_and_read_anew() -> None:
    scene = Scene(Taking())
    scene.put(held("a", 2, Wait.RETRY, NOW + 8.0))
    scene.wake("a")
    assert (scene.queued, scene.alarm.after_s) == ([], 8.0)
    scene.clock.now = lambda: NOW + 8.0
    scene.put(held("a", 2, Wait.RETRY, NOW + 50.0))  # claimed by another worker meanwhile
    scene.alarm.ring()
    scene.work()
    assert (scene.queued, scene.alarm.after_s) == ([], 42.0)


def test_what_is_due_and_is_nobodys_home_here_is_left_to_its_owner() -> None:
    scene = Scene()
    scene.put(held("theirs", 2, home=THERE), held("homeless", 2, home=None))
    scene.wake("theirs", "homeless")
    assert scene.queued == [("homeless", 2)]
    assert scene.waking.home("homeless") is None
    assert list(scene.waking.draining()) == ["homeless"]
    assert scene.waking.may_begin("homeless")


def test_a_gap_that_outlasted_its_limit_parks_under_the_fence_of_its_home() -> None:
    scene = Scene()
    one = held("a", 5, due_at=NOW)
    one.version = 2
    scene.put(one)
    scene.wake("a")
    assert (scene.queued, list(scene.waking.draining()), scene.waking.home("a")) == ([], [], None)
    parked = scene.groups.now.changes.waits["a"]
    assert parked is not None
    assert (parked.why, scene.groups.now.homes) == (Wait.PARKED, {HERE: 7})
    assert not scene.alarm.set, "nothing is due any more"


def test_a_gap_of_a_key_without_a_home_parks_under_no_fence() -> None:
    scene, one = Scene(), held("a", 5, due_at=NOW, home=None)
    one.version = 2
    scene.put(one)
    scene.wake("a")
    assert (list(scene.groups.now.changes.waits), scene.groups.now.homes) == (["a"], {})


def test_a_held_event_begins_only_under_the_fence_that_it_was_brought_back_under() -> None:
    scene = Scene()
    scene.put(held("a", 2), held("b", 2))
    scene.wake("a", "b")
    scene.lanes.add(received("a", 9))
    assert scene.waking.may_begin("a")
    scene.known.fences = {HERE: 8}
    assert not scene.waking.may_begin("a")
    assert scene.queued == [("a", 9), ("b", 2)], "what waits for it is read anew, and that alone"
    assert (scene.waking.drains("a"), scene.waking.drains("b"), list(scene.known.pinned)) == (False, True, ["b"])
    assert scene.alarm.after_s == 0.0
    assert scene.waking.may_begin("unknown")


def test_what_was_decided_on_old_knowledge_is_to_be_rung_for_again() -> None:
    scene = Scene()
    scene.put(held("a", 2))
    scene.wake("a")
    scene.lanes.add(received("b", 1))
    assert scene.waking.begin_anew() == {"a"}
    assert (scene.queued, list(scene.waking.draining()), scene.waking.home("a")) == ([("b", 1)], [], None)


def test_what_was_found_in_an_epoch_that_is_over_is_left() -> None:
    scene = Scene()
    scene.put(held("a", 2), held("b", 2))
    scene.waking.at_once(["a", "b"])
    scene.alarm.ring()
    asked = scene.shelf.load

    async def load(keys: Sequence[str]) -> dict[str, Entity]:
        scene.known.begin_anew()
        return await asked(keys)

    scene.shelf.load = load  # type: ignore[method-assign]
    scene.work()
    assert (scene.queued, scene.known.pinned, scene.told) == ([], {}, ["go"])


def test_a_key_that_is_rung_for_again_before_it_is_looked_at_is_woken_once() -> None:
    scene = Scene()
    scene.put(held("a", 2))
    scene.waking.at_once(["a"])
    scene.alarm.ring()
    scene.known.begin_anew()
    scene.waking.at_once(scene.waking.begin_anew())
    scene.alarm.ring()
    scene.work()
    assert (scene.queued, dict(scene.waking._draining)) == ([("a", 2)], {"a": 1})


def test_what_is_found_for_an_old_ring_is_not_kept() -> None:
    scene = Scene()
    scene.put(held("a", 2))
    scene.waking.at_once(["a"])
    scene.alarm.ring()
    scene.known.begin_anew()
    scene.work()
    assert (scene.queued, scene.known.pinned) == ([], {})


@pytest.mark.parametrize("what", ["epoch", "home"])
def test_what_was_read_of_a_key_that_went_meanwhile_is_left(what: str) -> None:
    scene = Scene()
    scene.put(held("a", 2))
    if what == "epoch":
        scene.shelf.meanwhile = scene.known.begin_anew
    else:
        scene.shelf.meanwhile = lambda: scene.told.extend(scene.waking.moved({HERE}, lambda key: 0))
    scene.wake("a")
    assert scene.queued == []


def test_of_partitions_that_went_only_what_is_being_handled_is_still_minded() -> None:
    scene = Scene()
    scene.known.fences = {HERE: 7, THERE: 8}
    two = held("a", 2)
    two.held[3] = fingerprint("a3")
    scene.put(two, held("b", 2), held("c", 2, home=THERE))
    scene.wake("a", "b", "c")
    assert scene.waking.moved({HERE}, {"a": 1, "b": 0}.__getitem__) == {"a", "b"}
    assert sorted(scene.waking.draining()) == ["a", "c"]
    assert (scene.waking.home("a"), scene.waking.home("b")) == ((HERE, 7), None)
    scene.waking.decided("a")
    assert list(scene.waking.draining()) == ["c"]


def test_nothing_is_known_better_than_by_the_store_of_keys_at_which_nobody_is_at_work() -> None:
    scene = Scene()
    scene.put(held("drains", 2))
    scene.wake("drains")
    assert scene.queued
    scene.lanes.add(received("runs", 1))
    scene.lanes.start()
    scene.groups.now.changes.entities["decided"] = Entity("decided")
    assert scene.waking.idle(["drains", "runs", "decided", "idle"]) == ["idle"]
    scene.waking.at_once(["rings"])
    scene.alarm.ring()
    assert scene.waking.idle(["rings", "idle"]) == ["idle"]
    scene.commits.busy = True
    assert scene.waking.idle(["idle"]) == []


def test_what_others_set_going_is_read_anew_unless_we_are_at_work_on_it() -> None:
    scene = Scene()
    old = {key: Entity(key, 1, 1) for key in ("idle", "runs")}
    scene.shelf.entities.update(old)
    asyncio.run(scene.known.load(list(old)))
    scene.put(held("idle", 2), held("runs", 2))
    scene.lanes.add(received("runs", 1))
    scene.lanes.start()
    scene.waking.at_once(old)
    scene.alarm.ring()
    assert (scene.known.find("idle"), scene.known.find("runs")) == (None, old["runs"])
    assert scene.alarm.after_s == waking.LOOK_AGAIN_S, "and looked at again"
    scene.work()
    assert ("idle", 2) in scene.queued


class Taking:
    """Claims of a queue's worker: taken or not, held or not."""

    def __init__(self) -> None:
        self.takes = self.has = True
        self.meanwhile: Callable[[], None] = lambda: None
        self.asked: list[tuple[str, Waiting | None]] = []

    def recognise(self, entity: Entity) -> None:
        self.asked.append((f"recognise {entity.key}", None))

    async def take(self, entity: Entity, waits: Waiting | None, fences: Mapping[Partition, int]) -> bool:
        assert fences == {HERE: 7}
        self.asked.append((f"take {entity.key}", waits))
        self.meanwhile()
        return self.takes

    def holds(self, key: str) -> bool:
        return self.has


def test_a_key_of_a_queue_is_claimed_before_its_events_are_read() -> None:
    claims = Taking()
    scene = Scene(claims)
    one = held("a", 2, Wait.RETRY, NOW)
    scene.put(one)
    waits = one.waiting
    scene.wake("a")
    assert claims.asked == [("recognise a", None), ("take a", waits)]
    assert (scene.queued, scene.turns.taken, scene.told) == ([("a", 2)], 1, ["go"])
    assert scene.waking.may_begin("a")
    claims.has = False
    assert not scene.waking.may_begin("a")


@pytest.mark.parametrize("what", ["taken by another", "old"])
def test_a_key_that_is_claimed_by_another_is_left_to_it(what: str) -> None:
    claims = Taking()
    scene = Scene(claims)
    scene.put(held("a", 2, Wait.RETRY, NOW))
    claims.takes = what == "old"
    if what == "old":
        claims.meanwhile = scene.known.begin_anew
    scene.wake("a")
    assert (scene.queued, scene.told) == ([], ["go"] if what == "old" else ["outrun", "go"])


@pytest.mark.parametrize("what", ["is handled", "is decided"])
def test_a_key_is_claimed_again_when_nothing_of_it_is_about_to_be_written(what: str) -> None:
    claims = Taking()
    scene = Scene(claims)
    scene.put(held("a", 2))
    if what == "is handled":
        scene.lanes.add(received("a", 1))
        scene.lanes.start()
    else:
        scene.groups.now.changes.entities["a"] = scene.shelf.entities["a"]
    scene.wake("a")
    assert (claims.asked, scene.queued, scene.known.pinned) == ([], [], {})
    assert scene.alarm.after_s == pytest.approx(waking.CLAIM_AGAIN_S)
    scene.lanes.finish("a")
    scene.groups.take()
    scene.clock.now = lambda: NOW + waking.CLAIM_AGAIN_S
    scene.alarm.ring()
    scene.work()
    assert scene.queued == [("a", 2)]


def test_what_turns_out_to_be_old_before_a_key_is_claimed_is_left() -> None:
    claims = Taking()
    scene = Scene(claims)
    scene.put(held("a", 2))
    scene.turns.meanwhile = scene.known.begin_anew
    scene.wake("a")
    assert (claims.asked, scene.queued) == ([], [])


def test_what_a_dead_replay_left_is_written_before_it_is_claimed() -> None:
    claims = Taking()
    scene = Scene(claims)
    scene.put(held("a", 2, Wait.REPLAY, NOW))
    scene.wake("a")
    assert claims.asked == [("recognise a", None)]
    assert (scene.queued, list(scene.waking.draining()), list(scene.groups.now.changes.entities)) == ([], [], ["a"])


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"no JSON", "JSON"),
        (b'{"key":"b","version":2,"id":"a2"}', "key: 'b' now, but the event was received with 'a'"),
        (b'{"key":"a","version":3,"id":"a2"}', "version: 3 now, but the event was received with 2"),
    ],
)
def test_what_is_read_as_another_event_than_was_received_is_barred(value: bytes, why: str) -> None:
    codec, barred = JsonCodec(declaration_of(handle)), dict[tuple[str, int], Exception]()
    changed = msgspec.structs.replace(row("a", 2), record=Record(HERE, 2, None, value))
    elsewhere = msgspec.structs.replace(row("b", 7), record=Record(THERE, 0, None, row("b", 7).record.value))
    rows = [row("a", 1), elsewhere, changed, row("a", 3)]
    found = read_back(codec, rows, barred)
    assert [(one.key, one.version, one.id, one.record) for one in found] == [
        (one.key, one.version, one.event_id, one.record) for one in rows
    ]
    assert [one.slice.partition for one in found] == [HERE, THERE, HERE, HERE]
    assert [one.fingerprint for one in found] == [fingerprint(name) for name in ("a1", "b7", "a2", "a3")]
    assert [one.payload and one.payload["version"] for one in found] == [1, 7, None, 3]
    assert {one.receiver for one in found} == {(3, "held")}
    [(place, error)] = barred.items()
    assert place == ("a", 2)
    assert why in str(error)
