"""Lanes in one thread: many events under way at once, whose handlers begin and end in the order of a course.

Each event's handler begins with what the store has, and ends with one compare-and-set. The lanes are the core's own, or
others: without seriality of keys, two events of one key run beside each other, and only the guard is left.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Record, Slice
from inorder.core.lanes import Lanes
from inorder.core.order import Order
from inorder.core.planner import Planner
from inorder.core.waiting import AT_ONCE
from inorder.declaration import Declaration
from inorder.errors import Mismatch
from inorder.proof.course import Act, Course, Do
from inorder.proof.oracle import Judge
from inorder.proof.parts import INTACT, Parts
from inorder.proof.recorder import RecordedStore, Recorder, place_of
from inorder.proof.subjects import SubjectOracle, fact, subject
from inorder.proof.swarm import Played, planner_of
from inorder.proof.system import rules_of
from inorder.proof.trace import Op, Step, name_of_trace
from inorder.worker.reading_back import read_back

HOME = Partition("events", 0)
WORKER = "worker 1"
HELD_AT_ONCE = 100


class ShuffledLanes(Lanes):
    """Lanes that let events of one key run beside each other, whichever chance says first."""

    def __init__(self) -> None:
        super().__init__()
        self._random = Random(0)

    def start(self, most: int = 1) -> list[Event]:
        """Any event that is queued."""
        if not self._queues:
            return []
        key = self._random.choice(list(self._queues))
        queue = self._queues[key]
        at = self._random.randrange(len(queue))
        event = queue[at]
        del queue[at]
        if not queue:
            del self._queues[key]
        self.queued -= 1
        return [event]


def drawn(seed: int, events: int = 20) -> Course:
    """The course of a seed: events of a few keys, one in three twice, in any order; calls begin and end in between."""
    random = Random(seed)
    keys = max(1, events // random.choice([5, 10]))
    places = [(f"k{place % keys}", 1 + place // keys) for place in range(events)]
    places += random.sample(places, len(places) // 3)
    random.shuffle(places)
    acts: list[Act] = []
    for key, version in places:
        acts.append(Act(Do.SEND, 0, key, version))
        for _ in range(random.randrange(3)):
            do = random.choices([Do.CALL, Do.RETURN], [3, 2])[0]
            acts.append(Act(do, random.randrange(3) if do is Do.RETURN else 0))
    order = random.choice([Order.STRICT, Order.STRICT, Order.LATEST, Order.COMMUTATIVE])
    return Course(order=order, workers=1, acts=tuple(acts))


def play(course: Course, parts: Parts = INTACT, keep: bool = False) -> Played:
    """Play a course on lanes and judge it."""
    declared = subject(course.order, course.parks)
    judge = Judge(rules_of(declared, (Op.STARTED, Op.ENDED)), SubjectOracle(course.order))
    steps: list[Step] = []

    def emit(step: Step) -> None:
        judge.see(step)
        steps.append(step)

    LaneWorld(declared, planner_of(parts, course.order, course.parks), parts, emit).play(course)
    return Played(course, judge.judgement().findings, judge.seen, name_of_trace(steps), {}, steps if keep else [])


class LaneWorld:
    """One worker with lanes."""

    def __init__(self, declared: Declaration, planner: Planner, parts: Parts, emit: Callable[[Step], None]) -> None:
        self._planner = planner
        self._codec = JsonCodec(declared)
        self._emit = emit
        self._lanes = parts.lanes()
        self._txs = self._offset = 0
        store = parts.store("lanes")
        store.register(declared.order, declared.baseline)
        self._tally = store.tally(WORKER)
        recorder = Recorder(emit, lambda: 0.0, WORKER, self._next_tx)
        self._store = RecordedStore(store, recorder)
        self._effect = parts.effect(declared)
        self._effect.ledger = recorder.ledger
        self._running: list[tuple[Event, Entity]] = []

    def play(self, course: Course) -> None:
        """The acts of a course, and then whatever is left to do: all that may begin, before the first one ends."""
        for act in course.acts:
            if act.do is Do.SEND:
                self._receive(act)
            elif act.do is Do.CALL:
                self._call()
            elif act.do is Do.RETURN:
                self._return(act.n)
        while self._call() or self._running:
            while self._call():
                pass
            self._return(0)
        if self._lanes.queued:
            raise AssertionError("a lane is busy with nothing")
        self._rest()

    def _receive(self, act: Act) -> None:
        message = fact(act.key, act.version, act.what)
        record = Record(HOME, self._offset, None, message.value)
        self._offset += 1
        (event,), _ = self._codec.read(Slice.of(HOME, [record]))
        self._tell(Op.ACCEPTED, event)
        self._lanes.add(event)

    def _call(self) -> bool:
        """The next event's handler begins. False: there is none."""
        events = self._lanes.start()
        for event in events:
            self._running.append((event, self._entity(event.key)))
            self._tell(Op.STARTED, event)
        return bool(events)

    def _return(self, n: int) -> None:
        """One of the handlers that run returns, and what it did is committed."""
        if not self._running:
            return
        event, entity = self._running.pop(n % len(self._running))
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
            self._decide(entity, read_back(self._codec, held, {}))

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
