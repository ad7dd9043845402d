"""One store, one log, and workers that read the log, crash, read again and get in each other's way.

A worker drives the planner as `worker/batch.py` does, or event by event as `worker/lane_work.py` does. After each
commit, `invariants.check` looks at everything that must hold at all times.
"""

from __future__ import annotations

from collections import Counter as Bag

import msgspec

from inorder.core.changes import Changes
from inorder.core.effect import Effect, Outage
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Record, Slice, fingerprint
from inorder.core.guard import Guard
from inorder.core.limits import Limits
from inorder.core.order import Outcome
from inorder.core.planner import Planner
from inorder.core.retry import ErrorClass, Retry
from inorder.core.waiting import NEVER
from inorder.errors import Mismatch
from inorder.worker.timers import Timers
from tests.core import invariants
from tests.core.case import ATTEMPTS, GAP_S, Case, Deliver, Fault, Replay, Restart, Skip, Step
from tests.core.memory_store import MemoryStore
from tests.core.operator import Operator, read_back

HOME = Partition("topic", 0)


class Failure(Exception):
    """What the handler raises."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.value)


class Crashed(Exception):
    """The worker died before its transaction was committed."""


def classify(error: BaseException) -> ErrorClass:
    """As a worker does for its own error types."""
    assert isinstance(error, Failure), repr(error)
    return {
        Fault.TRANSIENT: ErrorClass.TRANSIENT,
        Fault.POISON: ErrorClass.POISON,
        Fault.OUTAGE: ErrorClass.INFRASTRUCTURE,
    }[error.fault]


class Appending(Effect):
    """A fold that appends to its state in place, and only then fails: nothing but `undo` can save the state."""

    def __init__(self, case: Case) -> None:
        self._left = dict(case.faults)

    def stop_failing(self) -> None:
        """Whatever passes in time has passed."""
        self._left = {place: fault for place, fault in self._left.items() if fault[0] is Fault.POISON}

    def mend(self, key: str, version: int) -> None:
        """This event fails no more."""
        self._left.pop((key, version), None)

    def loaded(self, entity: Entity) -> None:
        """Decode the state of an entity that was just read."""
        entity.state = msgspec.json.decode(entity.stored_state) if entity.stored_state else []

    def encode(self, entity: Entity) -> bytes:
        """The state as the store keeps it."""
        return msgspec.json.encode(entity.state)

    def apply(self, entity: Entity, event: Event) -> None:
        """Append, then fail if this event is to fail."""
        entity.state.append((event.version, event.id))
        fault, left = self._left.get((event.key, event.version), (None, 0))
        if fault is not None and left > 0:
            if fault is not Fault.POISON:
                self._left[event.key, event.version] = fault, left - 1
            raise Failure(fault)

    def undo(self, entity: Entity) -> None:
        """Fold again from the stored state."""
        self.loaded(entity)
        entity.state += [(event.version, event.id) for event in entity.applied]


class World:
    """Everything outside of a worker's memory."""

    def __init__(
        self,
        case: Case,
        planner: type[Planner] = Planner,
        guard: type[Guard] = Guard,
        effect: type[Appending] = Appending,
        store: type[MemoryStore] = MemoryStore,
    ) -> None:
        self.case = case
        self.store = store()
        self.now = 1_000.0
        self.effect = effect(case)
        self.planner = planner(
            guard(case.order, case.baseline),
            Retry(attempts=ATTEMPTS, delay_s=1.0, factor=2.0),
            Limits(gap_s=GAP_S),
            case.parks,
            classify,
        )
        self.deliveries: list[tuple[int, Event]] = []
        """The deliveries of all transactions that were committed, each with the tally it was received in."""
        self.when_parked: dict[str, invariants.Ledger] = {}
        """What had taken effect for each key that was parked with an event given up on."""
        self.skipped: set[tuple[str, int]] = set()
        """Keys and versions that an operator skipped."""
        self.refused = 0
        """How many transactions were refused because another worker had written before."""
        self.workers = [Worker(self, tally) for tally in range(2)]
        self.operator = Operator(self, tally=2)

    def event(self, offset: int) -> Event:
        """The delivery at an offset of the log."""
        arrival = self.case.log[offset]
        record = Record(HOME, offset, arrival.key.encode(), f"{arrival.version} {arrival.id}".encode())
        key, version, name = arrival.key, arrival.version, arrival.id
        return Event(key, version, name, fingerprint(name), None, Slice.of(HOME, [record]), 0)

    def take(self, step: Step) -> None:
        """One step of the case."""
        if isinstance(step, Replay):
            self.operator.replay(step.key, step.mended, step.crash)
            return
        if isinstance(step, Skip):
            self.operator.skip(step.key)
            return
        worker = self.workers[step.worker]
        if isinstance(step, Deliver):
            worker.deliver(step.count, step.crash)
        elif isinstance(step, Restart):
            worker.restart(step.back)
        else:
            self.now += step.seconds
            worker.deliver(0)

    def run(self, heal: bool = True) -> None:
        """All steps; then nothing crashes (nor fails, with `heal`), and one worker goes on until it comes to rest."""
        for step in self.case.steps:
            self.take(step)
        if heal:
            self.effect.stop_failing()
        worker = self.workers[0]
        worker.restart(0)
        while worker.position < len(self.case.log):
            worker.deliver(4)
        self._rest(worker)
        invariants.check_at_rest(self)

    def resolve(self) -> None:
        """An operator replays letter after letter, until none is left that may take effect."""
        for _ in self.case.log:
            for offset in self.operator.open_failures():
                self.operator.put_through(offset)
        self._rest(self.workers[0])
        for letter in self.operator.open_failures().values():
            rivals = [version for version, _ in self.store.ledger(letter.key or "")]
            invariants.require(letter.version in rivals, f"{letter.event_id} stays a letter although it would pass")
        invariants.check_at_rest(self)

    def _rest(self, worker: Worker) -> None:
        for _ in range(20 + 10 * len(self.case.log)):
            if worker.timers.next() == NEVER:
                return
            self.now = max(self.now, worker.timers.next())
            worker.deliver(0)
        raise invariants.Violation("a worker never comes to rest")


class Worker:
    """A worker's memory: entities, timers, and how far it has read."""

    def __init__(self, world: World, tally: int) -> None:
        self.world = world
        self.tally = tally
        self.position = 0
        self.restart(0)

    def restart(self, back: int) -> None:
        """Lose all memory, and read again from before."""
        self.cache: dict[str, Entity] = {}
        self.timers = Timers()
        self.timers.note(self.world.store.due())
        self.position = max(0, self.position - back)

    def deliver(self, count: int, crash: bool = False) -> None:
        """Decide the next deliveries and what is due, in one transaction."""
        world = self.world
        offsets = range(self.position, min(self.position + count, len(world.case.log)))
        due = self.timers.take(world.now)
        for _ in range(20):
            try:
                self._once([world.event(offset) for offset in offsets], due, crash)
            except (Mismatch, Outage) as error:
                world.refused += isinstance(error, Mismatch)
                self.cache.clear()
            except Crashed:
                self.restart(0)
                return
            else:
                self.position += len(offsets)
                return
        raise invariants.Violation("a batch is redone for ever")

    def _once(self, events: list[Event], due: list[str], crash: bool) -> None:
        world, planner = self.world, self.world.planner
        witnessed: list[tuple[Event, Outcome]] = []
        changes = Changes(self.tally, lambda event, outcome: witnessed.append((event, outcome)))
        for key in due:
            if key in self.cache and not self.cache[key].due(world.now):
                del self.cache[key]
        entities = {key: self._entity(key) for key in {event.key for event in events}.union(due)}
        woken: list[Event] = []
        for key in due:
            if planner.wake(entities[key], changes, world.now):
                woken += map(read_back, world.store.held_of(key, world.case.held_at_once))
        if world.case.lanes:
            self._one_by_one(entities, woken + events, changes)
        else:
            planner.decide(entities, woken + events, world.effect, changes, world.now)
        rows = changes.rows(world.effect.encode, planner.guard.remembered)
        if crash:
            raise Crashed
        before = {key: world.store.ledger(key) for key in world.case.keys}
        world.store.write(rows, changes)
        world.deliveries += [(self.tally, event) for event in events]
        self.timers.note(changes.waits)
        invariants.check_witnessed(changes, witnessed)
        invariants.check(world, before)

    def _one_by_one(self, entities: dict[str, Entity], events: list[Event], changes: Changes) -> None:
        world, planner = self.world, self.world.planner
        draining = Bag(event.key for event in events if event.receiver is not None)
        for event in events:
            entity = entities[event.key]
            if planner.admit(entity, event, changes, world.now):
                try:
                    world.effect.apply(entity, event)
                except Failure as error:
                    world.effect.undo(entity)
                    planner.failed(entity, event, error, changes, world.now)
                else:
                    planner.applied(entity, event, changes)
            if event.receiver is not None:
                draining[event.key] -= 1
            if not draining[event.key]:
                planner.look_ahead(entity, changes, world.now)

    def _entity(self, key: str) -> Entity:
        entity = self.cache.get(key)
        if entity is None:
            entity = self.world.store.load(key) or Entity(key, self.world.case.baseline)
            self.world.effect.loaded(entity)
            self.cache[key] = entity
        return entity
