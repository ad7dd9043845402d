"""Lanes in one thread: many events under way at once, their handlers ending in any order that a seed says.

Each event's handler begins with what the store has, and ends with one compare-and-set. The lanes are the core's own, or
others: without seriality of keys, two events of one key run beside each other, and only the guard is left.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.entity import AT_ONCE, Entity
from inorder.core.event import Event, Partition, Record, Slice
from inorder.core.lanes import Lanes
from inorder.core.planner import Planner
from inorder.declaration import Declaration
from inorder.errors import Mismatch
from inorder.proof.recorder import LedgeredFold, RecordedStore, Recorder, place_of
from inorder.proof.trace import Op, Step
from inorder.worker.batch import read_back

HOME = Partition("events", 0)
WORKER = "worker 1"
HELD_AT_ONCE = 100


class ShuffledLanes(Lanes):
    """Lanes that let events of one key run beside each other, whichever a seed says first."""

    random = Random(0)

    def start(self, most: int = 1) -> list[Event]:
        """Any event that is queued."""
        if not self._queues:
            return []
        key = self.random.choice(list(self._queues))
        queue = self._queues[key]
        at = self.random.randrange(len(queue))
        event = queue[at]
        del queue[at]
        if not queue:
            del self._queues[key]
        self.queued -= 1
        return [event]


class LaneWorld:
    """One worker with lanes, over any store."""

    def __init__(
        self,
        declared: Declaration,
        planner: Planner,
        store: Any,
        emit: Callable[[Step], None],
        lanes: Lanes,
        seed: int,
    ) -> None:
        self._random = Random(seed)
        self._planner = planner
        self._codec = JsonCodec(declared)
        self._emit = emit
        self._lanes = lanes
        self._txs = 0
        store.register(declared.order, declared.baseline)
        self._tally = store.tally(WORKER)
        recorder = Recorder(emit, lambda: 0.0, WORKER, self._next_tx)
        self._store = RecordedStore(store, recorder)
        self._effect = LedgeredFold(declared)
        self._effect.ledger = recorder.ledger
        self._running: list[tuple[Event, Entity]] = []

    def play(self, values: list[bytes], at_once: int = 4) -> None:
        """All of these arrive; `at_once` handlers run at most; until nothing is left to do."""
        for offset, value in enumerate(values):
            record = Record(HOME, offset, None, value)
            (event,), _ = self._codec.read(Slice.of(HOME, [record]))
            self._tell(Op.ACCEPTED, event)
            self._lanes.add(event)
        while self._running or self._lanes.queued:
            if len(self._running) < at_once and self._lanes.queued and self._random.randrange(2):
                for event in self._lanes.start():
                    self._running.append((event, self._entity(event.key)))
                    self._tell(Op.STARTED, event)
            elif self._running:
                self._end(*self._running.pop(self._random.randrange(len(self._running))))
            elif not any(not self._lanes.busy(key) for key in self._lanes._queues):
                raise AssertionError("a lane is busy with nothing")
        self._rest()

    def _end(self, event: Event, entity: Entity) -> None:
        self._emit(Step(op=Op.ENDED, worker=WORKER, key=event.key, version=event.version, id=event.id))
        try:
            self._decide(entity, [event])
        except Mismatch:
            self._lanes.put_back(event.key, [event])
            return
        self._lanes.finish(event.key)
        self._wake(event.key)

    def _decide(self, entity: Entity, events: list[Event]) -> None:
        changes = Changes(self._tally)
        self._planner.decide({entity.key: entity}, events, self._effect, changes, 0.0)
        rows = changes.rows(self._effect.encode, self._planner.guard.remembered)
        with self._store.transaction() as tx:
            tx.write(rows, changes, {})

    def _wake(self, key: str) -> None:
        while (entity := self._entity(key)).waiting is not None and entity.waiting.due_at == AT_ONCE:
            held = self._store.held(key, HELD_AT_ONCE)
            self._decide(entity, [read_back(self._codec, row, {}) for row in held])

    def _entity(self, key: str) -> Entity:
        entity: Entity = self._store.load([key]).get(key) or Entity(key, self._planner.guard.baseline)
        self._effect.loaded(entity)
        return entity

    def _rest(self) -> None:
        for key, _, state in self._store.states():
            if state is not None:
                self._emit(Step(op=Op.FOUND, what="state", key=key, state=state.decode()))
            for held in self._store.held(key, HELD_AT_ONCE):
                self._emit(Step(op=Op.FOUND, what="held", key=key, version=held.version, id=held.event_id))
        self._emit(Step(op=Op.REST))

    def _tell(self, op: Op, event: Event) -> None:
        self._emit(
            Step(op=op, worker=WORKER, key=event.key, version=event.version, id=event.id, **place_of(event.record))
        )

    def _next_tx(self) -> int:
        self._txs += 1
        return self._txs
