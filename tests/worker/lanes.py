"""Lanes whose store, handler and time are played: no thread runs, nothing waits, and a test ends in milliseconds.

The store is the one in memory, so fences and revisions refuse as they do. It answers when it is told to.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec
import pytest

import inorder
from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.engine import Unit
from inorder.core.entity import Entity
from inorder.core.event import Lease, Partition, Record, Slice
from inorder.core.lanes import Lanes
from inorder.core.room import Room
from inorder.core.rows import EntityRow, HeldRow
from inorder.core.waiting import Waiting
from inorder.declaration import Declaration, declaration_of
from inorder.observe.nobody import NOBODY, Nobody
from inorder.ports import Clock
from inorder.proof.memory import MemoryStore
from inorder.worker import threads
from inorder.worker.assemble import planner_for
from inorder.worker.job import Job
from inorder.worker.keeper import Keeper
from inorder.worker.lane_work import LaneWork
from tests.worker.consumers import Entry
from tests.worker.played import HERE, THERE
from tests.worker.pools import Pool

BEGAN = 1_000.0
MOST_TURNS = 50_000
"""Of a loop, in one test."""
SOON = inorder.Retry(attempts=3, delay_s=1.0, factor=1)
"""What fails is tried again after a second and up to a quarter more."""


class Timeless(asyncio.SelectorEventLoop):
    """A loop whose time goes on only when nothing else is to be done, and then at once."""

    def __init__(self) -> None:
        self.now = BEGAN
        self.turns = 0
        loop = self

        class Skipping(selectors.SelectSelector):
            def select(self, timeout: float | None = None) -> Any:
                assert timeout is not None, "nothing would ever happen"
                loop.now += timeout
                loop.turns += 1
                assert loop.turns < MOST_TURNS, "this never comes to an end"
                return super().select(0)

        super().__init__(Skipping())

    def time(self) -> float:
        return self.now


def played(course: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Makes a test of a coroutine, in a time of its own."""

    @functools.wraps(course)
    def test(**fixtures: Any) -> None:
        loop = Timeless()
        with pytest.MonkeyPatch.context() as patched, asyncio.Runner(loop_factory=lambda: loop) as runner:
            patched.setattr(time, "monotonic", loop.time)
            runner.run(course(**fixtures))

    return test


class Gate:
    """Whoever comes here waits until it is open."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.waiting = 0

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        self.waiting += 1
        await self._open.wait()
        self.waiting -= 1


class Desk(Keeper):
    """Asks a store in memory, without a thread, and notes what it was asked."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.loads, self.reads, self.writes = Gate(), Gate(), Gate()
        self.loaded: list[list[str]] = []
        self.written: list[tuple[list[str], dict[Partition, int]]] = []
        self.ends: list[str] = []

    async def load(self, keys: Sequence[str]) -> dict[str, Entity]:
        self.loaded.append(sorted(keys))
        await self.loads.passed()
        return self.store.load(keys)

    async def held(self, key: str, most: int) -> list[HeldRow]:
        await self.reads.passed()
        return self.store.held(key, most)

    async def write(self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int]) -> None:
        self.written.append(([row.key for row in rows], dict(fences)))
        await self.writes.passed()
        with self.store.transaction() as tx:
            tx.write(rows, changes, fences)

    def abandon(self) -> None:
        self.ends.append("abandoned")

    def close(self) -> None:
        self.ends.append("closed")


class Held:
    """A lease that holds until it is told otherwise."""

    def __init__(self) -> None:
        self.over = False

    def holds(self) -> bool:
        return not self.over


class Seen(Nobody):
    """An observer that notes what is told of handlers."""

    watches = True

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def called(self, piece: Slice, began: float, ended: float, failed: bool) -> None:
        self.told.append(("called", piece.partition.number, began, ended, failed))

    def paused(self, cause: str, why: str | None, who: int = 0) -> None:
        self.told.append((cause, why))


class Scene:
    """The lanes of a worker that has two partitions, or a queue, and the handler that they call.

    Events are written as `a1`: the first version of key a. The handler of those in `stops` ends when it is told to,
    that of those in `fails` raises the next of these errors; all others return at once. With `pool`, the handler is a
    sync one that these threads call.
    """

    def __init__(
        self,
        at_once: int = 16,
        *,
        batch: int = 1,
        queue: bool = False,
        observer: Nobody = NOBODY,
        store: MemoryStore | None = None,
        pool: Pool | None = None,
        **options: Any,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.pool = pool
        self.called: list[str] = []
        self.amounts: list[int] = []
        """What the handlers found in their payloads, from which each takes something away."""
        self.contexts: list[inorder.Context] = []
        self.cut: list[str] = []
        """Whose handlers were cancelled."""
        self.on_call: Callable[[], None] = lambda: None
        self.stops: dict[str, asyncio.Future[None]] = {}
        self.fails: dict[str, list[BaseException]] = {}
        self.settled: list[tuple[int, int]] = []
        self.lapsed: list[int] = []
        self.lost: list[dict[Partition, int]] = []
        self.failures: list[BaseException] = []
        self.offset = 0
        self.ahead_s = 0.0
        """How far the clock was set forward."""
        self.declared = self._declare(batch, {"retry": SOON, **options})
        self.codec = JsonCodec(self.declared)
        self.store = store or MemoryStore("stream")
        self.store.register(self.declared.order, self.declared.baseline)
        self.desk = Desk(self.store)
        self.planner = planner_for(self.declared)
        self.room = self.planner.room = Room(self.declared.limits)
        self.lanes = Lanes(at_once)
        clock = cast(Clock, self)
        tally = self.store.tally("1")
        self.work = LaneWork(
            self.declared, self.lanes, self.planner, self.codec, self.desk, tally, clock, None, queue, observer
        )
        with pytest.MonkeyPatch.context() as patched:
            if pool is not None:
                patched.setattr(threads, "Pool", lambda most: pool)
            self.work.begin(self.loop)
        self.work.on_settled = lambda units: self.settled.extend(
            (one.partition.number, one.next_offset) for one in units
        )
        self.work.on_lapsed = lambda units: self.lapsed.extend(one.next_offset for one in units)
        self.work.on_lost = lambda lost: self.lost.append(dict(lost))
        self.work.on_failure = self.failures.append
        self.fences = self.store.share([HERE, THERE]) if queue else self.store.acquire([HERE, THERE])
        self.work.own(self.fences, {})

    def now(self) -> float:
        """As a clock."""
        return self.loop.time() + self.ahead_s

    def _declare(self, batch: int, options: dict[str, Any]) -> Declaration:
        named: dict[str, Any] = {"key": "key", "version": "version", "id": "id", "name": "stream", **options}

        async def call(entries: list[Entry], context: inorder.Context) -> None:
            name = "+".join(f"{entry.key}{entry.version}" for entry in entries)
            self.called.append(name)
            self._spend(*entries)
            self.contexts.append(context)
            self.on_call()
            if self.fails.get(name):
                raise self.fails[name].pop(0)
            if name in self.stops:
                try:
                    await self.stops[name]
                except asyncio.CancelledError:
                    self.cut.append(name)
                    raise

        if batch > 1:

            @inorder.handler(**named, batch=batch)
            async def several(entries: list[Entry], context: inorder.Context) -> None:
                await call(entries, context)

            return declaration_of(several)

        if self.pool is not None:

            @inorder.handler(**named)
            def in_thread(entry: Entry) -> None:
                name = f"{entry.key}{entry.version}"
                self.called.append(name)
                self._spend(entry)
                if self.fails.get(name):
                    raise self.fails[name].pop(0)

            return declaration_of(in_thread)

        @inorder.handler(**named)
        async def one(entry: Entry, context: inorder.Context) -> None:
            await call([entry], context)

        return declaration_of(one)

    def _spend(self, *entries: Entry) -> None:
        for entry in entries:
            self.amounts.append(entry.amount)
            entry.amount -= 1

    # What comes, and what is done with it.

    def piece(self, names: str, partition: Partition = HERE, lease: Held | None = None) -> Slice:
        """A slice of these events. Of `?`, none can be read."""
        records = []
        for name in names.split():
            entry = Entry(name[0], int(name[1:]), name) if name != "?" else None
            value = b"{" if entry is None else msgspec.json.encode(entry)
            records.append(Record(partition, self.offset, name[:1].encode(), value))
            self.offset += 1
        values = [record.value for record in records]
        return Slice(partition, records, values, self.offset, lease=cast(Lease, lease))

    def give(self, names: str, partition: Partition = HERE, lease: Held | None = None) -> Slice:
        """These events are polled, in one slice."""
        piece = self.piece(names, partition, lease)
        self.take_in([piece])
        return piece

    def take_in(self, pieces: Iterable[Slice]) -> None:
        """These are handed over in one job."""
        job = Job()
        for piece in pieces:
            job.add(self.unit(piece), piece)
        self.work.take_in([job])

    def unit(self, piece: Slice) -> Unit:
        """To be settled when all of the slice is."""
        return Unit(piece.partition, self.fences[piece.partition], piece.next_offset, len(piece), 0)

    def stop_at(self, *names: str) -> None:
        """The handlers of these wait."""
        for name in names:
            self.stops[name] = self.loop.create_future()

    def let(self, name: str, error: BaseException | None = None) -> None:
        """A handler that waits returns, or raises."""
        waits = self.stops.pop(name)
        waits.set_result(None) if error is None else waits.set_exception(error)

    async def rest(self, seconds: float = 0.5) -> None:
        """So much time goes by, in which all happens that can."""
        await asyncio.sleep(seconds)

    async def turns(self) -> None:
        """All happens that can without any time going by."""
        for _ in range(20):
            await asyncio.sleep(0)

    # What others do.

    def meddle(self, key: str, version: int | None = None) -> None:
        """Somebody else changes an entity in the store."""
        rows = self.store.tables.entities
        row = rows[key]
        version = row.version if version is None else version
        rows[key] = msgspec.structs.replace(row, expected=row.expected + 1, version=version)

    # What there is.

    def applied(self) -> dict[str, int]:
        """The versions that are in the store."""
        return {key: version for key, version, _ in self.store.states()}

    def outcomes(self) -> dict[str, int]:
        """What became of deliveries, as the store counts them."""
        return {name: n for name, n in self.store.counts().items() if n}

    def waits(self, key: str) -> Waiting:
        """How a key waits in the store, as it does."""
        return self.store.tables.waits[key]

    def flows(self, key: str) -> bool:
        """Whether a key waits for nothing."""
        return key not in self.store.tables.waits

    def busy(self) -> bool:
        """Whether the worker says that there is something to do."""
        return self.work.busy


async def paused() -> Scene:
    """One lane at a time: `a1` is written, `b1` waits for a commit, and `c1` for what its handler needs."""
    it = Scene(at_once=1)
    it.stop_at("b1")
    it.fails["c1"] = [inorder.Unavailable("away")]
    it.give("a1 b1 c1")
    await it.turns()
    it.let("b1")
    await it.turns()
    return it


async def refused() -> Scene:
    """The commit of `a2` and `b2` was refused, for somebody else has changed a, and both were decided again."""
    it = Scene()
    it.give("a1 b1")
    await it.rest()
    it.meddle("a")
    it.give("a2 b2")
    await it.rest()
    return it


async def refused_beside_a_call() -> Scene:
    """The handler of `a2` runs while the commit of `b2` is refused, and b is decided again."""
    it = Scene()
    it.give("a1 b1")
    await it.rest()
    it.meddle("b")
    it.stop_at("a2")
    it.give("a2 b2")
    await it.rest()
    return it
