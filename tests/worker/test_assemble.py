"""What a worker is put together of, and which limits and names its parts have.

Pure: the source and the stores are played, and the loop and the runners are only noted.
"""

from __future__ import annotations

import logging
import time
from types import SimpleNamespace
from typing import Any

import pytest

import inorder
from inorder.core.event import Event, Record, Slice
from inorder.core.order import Order, Outcome
from inorder.core.retry import ErrorClass
from inorder.declaration import declaration_of
from inorder.errors import Poison, Unavailable, Unreachable
from inorder.proof.memory import MemoryStore, Tables
from inorder.stores.postgres.store import PostgresStore
from inorder.stores.sqlite.store import SqliteStore
from inorder.worker import assemble, lane_runner, lane_work
from inorder.worker.assemble import (
    CALL_EVENTS,
    TX_EVENTS,
    Assembled,
    SystemClock,
    classify,
    planner_for,
    witness_for,
)
from inorder.worker.batch import Batches
from inorder.worker.effects import FoldEffect, TxEffect
from inorder.worker.keeper import Keeper
from inorder.worker.settings import Settings
from tests.worker.consumers import CALL, FOLD, TX, declare, nothing
from tests.worker.played import HERE, Alone, Messages, Seen, Still


class Stores:
    """Opens stores over the same rows."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.opened: list[MemoryStore] = []
        self.closed: list[MemoryStore] = []

    def __call__(self) -> Any:
        store = MemoryStore("stream", self.tables)
        store.close = lambda: self.closed.append(store)  # type: ignore[method-assign]
        self.opened.append(store)
        return store


class Scene:
    """The parts of a worker, and what each of them was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stores, self.clock, self.seen = Stores(), Still(), Seen()
        self.given: dict[str, tuple[Any, ...]] = {}
        for module, name in (
            (assemble, "Loop"),
            (assemble, "BatchRunner"),
            (lane_runner, "LaneRunner"),
            (lane_work, "LaneWork"),
        ):
            monkeypatch.setattr(module, name, self._noting(name))

    def _noting(self, name: str) -> Any:
        def note(*given: Any) -> Any:
            self.given[name] = given
            return SimpleNamespace(name=name)

        return note

    def put_together(
        self, kind: str, source: Any = None, witness: Any = None, settings: Any = None, **options: Any
    ) -> Assembled:
        declared = declaration_of(declare(kind, nothing, lambda entry: None, **options))
        settings = Settings(**{"source": "", "worker": "w7", "concurrency": 5, **(settings or {})})
        return Assembled(declared, settings, source or Alone(), self.stores, self.clock, witness, print, self.seen)

    @property
    def limits(self) -> inorder.Limits:
        """Those of the loop."""
        found: inorder.Limits = self.given["Loop"][5]
        return found


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Poison("bad"), ErrorClass.POISON),
        (Unavailable("down"), ErrorClass.INFRASTRUCTURE),
        (Unreachable("away"), ErrorClass.INFRASTRUCTURE),
        (ValueError("no"), ErrorClass.TRANSIENT),
    ],
    ids=str,
)
def test_what_an_exception_says_about_trying_again(error: Exception, kind: ErrorClass) -> None:
    assert classify(error) is kind


@pytest.mark.parametrize("parks", [True, False])
def test_a_planner_decides_as_was_declared(parks: bool) -> None:
    retry = inorder.Retry(attempts=9)
    limits = inorder.Limits(gap_s=7.0)
    declared = declaration_of(
        declare(FOLD, nothing, lambda entry: None, order="latest", retry=retry, limits=limits, park=parks)
    )
    planner = planner_for(declared)
    assert planner.guard.order is Order.LATEST
    assert planner.guard.baseline == declared.baseline
    assert (planner.retry, planner.limits, planner.parks) == (retry, limits, parks)
    assert planner.classify(Poison("bad")) is ErrorClass.POISON
    assert "ValueError: no" in (planner.explain(ValueError("no")) or "")
    assert planner.code_version is not None
    assert planner.code_version.startswith("consumers.py ")


def test_each_event_has_a_line_where_somebody_reads_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "inorder.events")
    assert witness_for("w7") is None, "it would cost each event something"
    caplog.set_level(logging.DEBUG, "inorder.events")
    witness = witness_for("w7")
    assert witness is not None
    piece = Slice.of(HERE, [Record(HERE, 0, b"a", b"")])
    witness(Event("a", 3, "a3", 1, None, piece, 0), Outcome.APPLIED)
    assert caplog.messages == ["key=a version=3 outcome=applied lane=a worker=w7"]


@pytest.mark.parametrize(
    ("kind", "asked", "polled"),
    [
        (FOLD, 10_000, 10_000),
        (TX, 10_000, TX_EVENTS),
        (TX, 100, 100),
        (CALL, 10_000, CALL_EVENTS),
        (CALL, 100, 100),
    ],
    ids=["fold", "tx", "tx, few", "call", "call, few"],
)
def test_how_many_events_are_polled_at_once(scene: Scene, kind: str, asked: int, polled: int) -> None:
    scene.put_together(kind, limits=inorder.Limits(poll_events=asked, drain_s=3.0))
    assert (scene.limits.poll_events, scene.limits.drain_s) == (polled, 3.0)
    if kind != CALL:
        assert scene.given["BatchRunner"][2] == polled, "no transaction has more"


def test_the_loop_gets_what_it_works_with(scene: Scene) -> None:
    source = Alone()
    parts = scene.put_together(FOLD, source)
    given, control, runner, codec, clock, _, room, on_poll, observer, tally = scene.given["Loop"]
    assert (given, control, runner.name) == (source, parts.control, "BatchRunner")
    assert (clock, room, on_poll, observer) == (scene.clock, parts.room, print, scene.seen)
    assert codec.read(Slice.of(HERE, [Record(HERE, 0, b"a", b'{"key":"a","version":1,"id":"a1"}')]))[0][0].key == "a"
    assert (tally, scene.stores.tables.tallies) == (parts.tally, {parts.tally: "w7"})
    assert parts.loop.name == "Loop"  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [FOLD, TX, CALL])
@pytest.mark.parametrize("name", ["concurrency", "connections"])
@pytest.mark.parametrize("given", [0, -1, 1.5, "4", True, None])
def test_what_would_run_nothing_is_refused_and_leaves_no_store_open(
    scene: Scene, kind: str, name: str, given: Any
) -> None:
    with pytest.raises(inorder.UsageError, match=f"{name}={given!r} must be at least 1"):
        scene.put_together(kind, settings={name: given})
    assert scene.stores.closed == scene.stores.opened


@pytest.mark.parametrize("what", ["a store known otherwise", "a runner that cannot be made"])
def test_a_worker_that_cannot_be_put_together_leaves_no_store_open(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def no_runner(*given: Any) -> Any:
        raise Unreachable("away")

    scene.put_together(CALL)
    before = len(scene.stores.opened)
    if what == "a runner that cannot be made":
        monkeypatch.setattr(lane_runner, "LaneRunner", no_runner)
    with pytest.raises(inorder.InorderError):
        scene.put_together(CALL, order="latest" if what == "a store known otherwise" else "strict")
    assert scene.stores.closed == scene.stores.opened[before:]


def test_a_declaration_that_the_store_knows_otherwise_is_refused(scene: Scene) -> None:
    scene.put_together(FOLD)
    with pytest.raises(inorder.UsageError, match="is now declared with order=latest"):
        scene.put_together(FOLD, order="latest")


def test_a_thread_that_begins_when_the_declaration_has_changed_is_refused(scene: Scene) -> None:
    scene.put_together(FOLD)
    scene.stores.tables.declared["stream"] = (Order.LATEST, 0)
    with pytest.raises(inorder.UsageError, match="was written with order=latest"):
        scene.given["BatchRunner"][0]()
    assert scene.stores.closed == scene.stores.opened[1:], "nobody else would close it"


@pytest.mark.parametrize("queue", [True, False])
@pytest.mark.parametrize(("kind", "effect"), [(FOLD, FoldEffect), (TX, TxEffect)])
def test_batches_have_a_store_of_their_own_each_time_and_share_what_room_there_is(
    scene: Scene, kind: str, effect: type, queue: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "inorder.events")
    witness: Any = object()
    parts = scene.put_together(kind, Messages() if queue else Alone(), witness)
    make, clock, _ = scene.given["BatchRunner"]
    assert clock is scene.clock
    (store, batches), (other, others) = make(), make()
    assert isinstance(batches, Batches)
    assert [store, other] == scene.stores.opened[1:], "one for the loop, and one for each thread"
    assert type(batches.effect) is effect
    assert batches.effect is not others.effect
    assert batches.observer is scene.seen
    assert batches._planner.room is others._planner.room is parts.room
    assert (batches._store, batches._tally, batches._clock) == (store, parts.tally, scene.clock)
    assert (batches._witness, batches._queue) == (witness, queue)


@pytest.mark.parametrize(
    ("kind", "elsewhere", "queue", "ahead"),
    [(FOLD, True, False, True), (FOLD, False, False, False), (FOLD, True, True, False), (TX, True, False, False)],
)
def test_folds_are_decided_ahead_while_another_process_writes(
    scene: Scene, kind: str, elsewhere: bool, queue: bool, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryStore, "works_elsewhere", elsewhere)
    scene.put_together(kind, Messages() if queue else Alone())
    batches = scene.given["BatchRunner"][0]()[1]
    assert (batches._helper is not None) == ahead


def test_a_store_that_writes_in_the_workers_process_says_so() -> None:
    assert PostgresStore.works_elsewhere
    assert not SqliteStore.works_elsewhere, "a worker that is frozen in a handler must not keep the file from others"


@pytest.mark.parametrize("queue", [True, False])
def test_lanes_have_a_store_of_their_own_each_time_and_share_what_room_there_is(scene: Scene, queue: bool) -> None:
    witness: Any = object()
    parts = scene.put_together(CALL, Messages() if queue else Alone(), witness)
    (make,) = scene.given["LaneRunner"]
    make()
    _, lanes, planner, codec, keeper, tally, clock, noted, is_queue, observer = scene.given["LaneWork"]
    assert (planner.room, tally, clock) == (parts.room, parts.tally, scene.clock)
    assert (noted, is_queue, observer) == (witness, queue, scene.seen)
    assert isinstance(keeper, Keeper)
    assert (keeper._store, keeper._observer) == (scene.stores.opened[1], scene.seen)
    make()
    assert scene.given["LaneWork"][4]._store is scene.stores.opened[2]
    assert lanes.at_once == 5, "as many handlers run at once as was asked for"
    assert codec.read(Slice.of(HERE, [Record(HERE, 0, b"a", b"{")]))[1]
    assert scene.given["Loop"][3] is None, "lanes read for themselves"


def test_the_witness_of_each_event_is_named_after_the_worker(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "inorder.events")
    scene.put_together(FOLD)
    _, batches = scene.given["BatchRunner"][0]()
    piece = Slice.of(HERE, [Record(HERE, 0, b"a", b"")])
    batches._witness(Event("a", 3, "a3", 1, None, piece, 0), Outcome.APPLIED)
    assert caplog.messages == ["key=a version=3 outcome=applied lane=a worker=w7"]


def test_the_machines_clock(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
    slept: list[float] = []
    monkeypatch.setattr(assemble, "time", SimpleNamespace(time=time.time, sleep=slept.append))
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 60
    clock.sleep(2.5)
    assert slept == [2.5]
    declared = declaration_of(declare(FOLD, nothing, lambda entry: None))
    assert isinstance(Assembled(declared, Settings(source=""), Alone(), scene.stores).clock, SystemClock)
