"""Puts one worker together: a source, a store, the planner and the runner that its kind of handler needs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec

from inorder.codecs.json import JsonCodec
from inorder.core.event import Event
from inorder.core.guard import Guard
from inorder.core.lanes import Lanes
from inorder.core.limits import Limits
from inorder.core.order import Outcome
from inorder.core.planner import Planner
from inorder.core.retry import ErrorClass
from inorder.core.room import Room
from inorder.declaration import Declaration, Kind
from inorder.errors import Poison, Unavailable, Unreachable, UsageError
from inorder.observe.nobody import NOBODY
from inorder.ports import Clock, Observer, Queue, Source, Store
from inorder.worker.batch import Batches, Witness
from inorder.worker.blame import code_version, explain
from inorder.worker.effects import FoldEffect, TxEffect
from inorder.worker.pool import Pool
from inorder.worker.runner import BatchRunner
from inorder.worker.settings import Settings
from inorder.worker.sharded import ShardedRunner
from inorder.worker.worker import Loop, Runner

TX_EVENTS = 2_000
"""Most events in one transaction of a handler with `tx`: what it locks stays locked until all of them are through."""
CALL_EVENTS = 1_000
"""Most events polled at once for a handler without `tx`: the first of them is handled only when
all have been decoded."""

events_log = logging.getLogger("inorder.events")


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def classify(error: BaseException) -> ErrorClass:
    """What an exception of a handler says about trying again."""
    if isinstance(error, Poison):
        return ErrorClass.POISON
    if isinstance(error, Unavailable | Unreachable):
        return ErrorClass.INFRASTRUCTURE
    return ErrorClass.TRANSIENT


def planner_for(declared: Declaration) -> Planner:
    """The planner of a declared consumer."""
    guard = Guard(declared.order, declared.baseline)
    planner = Planner(guard, declared.retry, declared.limits, declared.parks, classify)
    planner.explain, planner.code_version = explain, code_version(declared.function)
    return planner


def witness_for(worker: str) -> Witness | None:
    """Writes one structured line for each event at debug level; None when nobody would read it."""
    if not events_log.isEnabledFor(logging.DEBUG):
        return None

    def tell(event: Event, outcome: Outcome) -> None:
        events_log.debug(
            "key=%s version=%d outcome=%s lane=%s worker=%s",
            event.key,
            event.version,
            outcome.value,
            event.key,
            worker,
        )

    return tell


class Assembled:
    """The parts of one worker."""

    def __init__(
        self,
        declared: Declaration,
        settings: Settings,
        source: Source,
        open_store: Callable[[], Store],
        clock: Clock | None = None,
        witness: Witness | None = None,
        on_poll: Callable[[], None] = lambda: None,
        observer: Observer = NOBODY,
    ) -> None:
        self.clock = clock or SystemClock()
        self.control = open_store()
        try:
            self._put_together(declared, settings, source, open_store, witness, on_poll, observer)
        except BaseException:
            self.control.close()
            raise

    def _put_together(
        self,
        declared: Declaration,
        settings: Settings,
        source: Source,
        open_store: Callable[[], Store],
        witness: Witness | None,
        on_poll: Callable[[], None],
        observer: Observer,
    ) -> None:
        _check_options(declared, settings, self.control)
        self.control.register(declared.order, declared.baseline)
        self.tally = self.control.tally(settings.worker)
        codec = JsonCodec(declared)
        witness = witness or witness_for(settings.worker)
        declared = msgspec.structs.replace(declared, limits=_limits(declared, settings))
        limits = declared.limits

        # Of the worker, and not of its runner: what was read of the store stays known when a hanging one is replaced.
        room = self.room = Room(limits)

        def planner() -> Planner:
            found = planner_for(declared)
            found.room = room
            return found

        def make() -> tuple[Store, Batches]:
            store = self._registered(declared, open_store)
            effect = FoldEffect(declared) if declared.kind is Kind.FOLD else TxEffect(declared)
            queue = isinstance(source, Queue)
            # Workers of a queue change each other's entities.
            ahead = declared.kind is Kind.FOLD and store.works_elsewhere and not queue
            helper = Pool(1) if ahead else None
            return store, Batches(
                planner(), effect, codec, store, self.tally, self.clock, witness, queue, observer, helper
            )

        runner: Runner
        if declared.kind is Kind.CALL:
            from inorder.worker.keeper import Keeper
            from inorder.worker.lane_runner import LaneRunner
            from inorder.worker.lane_work import LaneWork

            runner = LaneRunner(
                lambda: LaneWork(
                    declared,
                    Lanes(settings.concurrency),
                    planner(),
                    codec,
                    Keeper(self._registered(declared, open_store), observer),
                    self.tally,
                    self.clock,
                    witness,
                    isinstance(source, Queue),
                    observer,
                )
            )
        elif settings.connections > 1:
            runner = ShardedRunner(
                settings.connections, lambda tell: BatchRunner(make, self.clock, limits.poll_events, tell)
            )
        else:
            runner = BatchRunner(make, self.clock, limits.poll_events)
        # Lanes read for themselves, see `LaneWork._read`.
        reads = codec if declared.kind is not Kind.CALL else None
        self.loop = Loop(source, self.control, runner, reads, self.clock, limits, room, on_poll, observer, self.tally)

    @staticmethod
    def _registered(declared: Declaration, open_store: Callable[[], Store]) -> Store:
        store = open_store()
        try:
            store.register(declared.order, declared.baseline)
        except BaseException:
            # It may be tried again and again, until the store is back.
            store.close()
            raise
        return store


def _limits(declared: Declaration, settings: Settings) -> Limits:
    """A consumer's limits, as they are for each of the runners of one process."""
    limits = declared.limits
    most = {Kind.TX: TX_EVENTS, Kind.CALL: CALL_EVENTS}.get(declared.kind, limits.poll_events)
    return msgspec.structs.replace(
        limits, poll_events=min(limits.poll_events, most), cache_bytes=limits.cache_bytes // settings.connections
    )


def _check_options(declared: Declaration, settings: Settings, store: Store) -> None:
    """Raises `UsageError` where nothing could run, or only one transaction at a time, or none that a handler shares."""
    for name in ("concurrency", "connections"):
        given = getattr(settings, name)
        if type(given) is not int or given < 1:
            raise UsageError(f"{name}={given!r} must be at least 1, a whole number")
    if settings.connections == 1:
        return
    if declared.kind is not Kind.TX:
        raise UsageError(f"connections are for handlers with tx, and {declared.name} is none: leave that option out")
    if not store.works_elsewhere:
        raise UsageError("SQLite writes one transaction at a time: leave connections out, or use a PostgreSQL store")
