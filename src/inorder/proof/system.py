"""A whole system in one thread: a broker's log, workers and an operator, driven action by action.

The planner, the guard, the engine, the batches of the worker and the road of the replay are the real ones. The broker,
the clock and the faults are this module's; the store is any store. Every action tells the trace what came of it.
What is decided here is only what the world does, never what inorder does about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.engine import Engine
from inorder.core.entity import Entity
from inorder.core.event import Partition, Record, Slice
from inorder.core.planner import Planner
from inorder.core.replaying import Replaying
from inorder.core.waiting import NEVER, Wait
from inorder.deadletters.road import BatchRoad, Warrant
from inorder.declaration import Declaration, Kind
from inorder.errors import InorderError
from inorder.proof.recorder import (
    Died,
    LedgeredFold,
    LedgeredTx,
    RecordedStore,
    Recorder,
    Scripted,
    Weather,
    name_of,
    place_of,
)
from inorder.proof.trace import Op, Rules, Step, Via
from inorder.stores.letter_rows import PlanLetter
from inorder.worker.assemble import planner_for
from inorder.worker.batch import Batches
from inorder.worker.effects import Manner
from inorder.worker.job import Job

START = 1_000_000.0
"""When the clock of a system begins."""
DRAIN_AT_ONCE = 100


class SystemClock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> float:
        """The time."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.time += seconds


class Codec(JsonCodec):
    """Looks closely at each value once: the same few records are delivered again and again."""

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration)
        self._looked: set[bytes] = set()

    def _look_closer(self, value: bytes) -> None:
        if value not in self._looked:
            super()._look_closer(value)
            self._looked.add(value)


class Message(msgspec.Struct, frozen=True):
    """A record to be sent, and which event it carries, as its producer knows it."""

    key: str
    version: int
    id: str
    value: bytes


class Member:
    """One worker's memory: what it owns, how far it has read, what it has received and not decided."""

    def __init__(self, system: System, number: int) -> None:
        self.system = system
        self.number = number
        self.recorder = system.recorder("")
        self.store = RecordedStore(system.store, self.recorder)
        self.batches = Batches(
            system.planner, system.effect(self.recorder), system.codec, self.store, number + 1, system.clock
        )
        self.incarnation = -1
        self.forget(0)

    def forget(self, incarnation: int) -> None:
        """Begin with an empty memory."""
        if incarnation != self.incarnation:
            self.incarnation = incarnation
            self.name = self.recorder.worker = f"worker {self.number + 1}" + (f".{incarnation}" if incarnation else "")
        self.positions: dict[Partition, int] = {}
        self.job = Job()
        """Received, and not decided."""
        self.engine = Engine(self.system.declared.limits)
        self.recorder.ledger.clear()
        self.batches.forget()

    @property
    def fences(self) -> dict[Partition, int]:
        """What it takes for its own, and under which fence."""
        return self.engine.fences

    @property
    def due(self) -> bool:
        """Whether there is something to do without a new record."""
        return self.batches.timers.next() <= self.system.clock.now()


class System:
    """Everything there is, and the actions that the world can take on it."""

    def __init__(
        self,
        declared: Declaration,
        store: Any,
        emit: Callable[[Step], None],
        partitions: int = 1,
        workers: int = 2,
        weather: Weather | None = None,
        planner: Planner | None = None,
        text: Callable[[bytes], str] = bytes.decode,
        codec: Codec | None = None,
    ) -> None:
        self.declared = declared
        self.store = store
        self.emit = emit
        self.weather = Scripted() if weather is None else weather
        self.planner = planner_for(declared) if planner is None else planner
        self.text = text
        self.clock = SystemClock()
        self.codec = Codec(declared) if codec is None else codec
        self.partitions = [Partition("events", number) for number in range(partitions)]
        self.log: dict[Partition, list[Record]] = {partition: [] for partition in self.partitions}
        self.committed: dict[Partition, int] = dict.fromkeys(self.partitions, 0)
        self.owners: dict[Partition, Member] = {}
        self.txs = 0
        self.outcomes: dict[str, int] = {}
        """What was counted in transactions, whoever's, since somebody last looked."""
        store.register(declared.order, declared.baseline)
        for number in range(workers + 1):
            store.tally(f"worker {number + 1}" if number < workers else "operator")
        self.members = [Member(self, number) for number in range(workers)]
        self.operator = Operator(self, workers + 1)

    def effect(self, recorder: Recorder) -> LedgeredFold | LedgeredTx:
        """The consumer's function, with a ledger."""
        made = LedgeredFold(self.declared) if self.declared.kind is Kind.FOLD else LedgeredTx(self.declared)
        made.weather, made.ledger = self.weather, recorder.ledger
        return made

    def recorder(self, worker: str) -> Recorder:
        """Tells of what one worker, or the operator, commits."""
        return Recorder(self.emit, self.clock.now, worker, self.next_tx, self.text, self.outcomes)

    def next_tx(self) -> int:
        """The number of a transaction that was committed."""
        self.txs += 1
        return self.txs

    def tell(self, op: Op, worker: str = "", **fields: Any) -> None:
        """Add a step to the trace."""
        self.emit(Step(op=op, at=self.clock.time, worker=worker, **fields))

    # What the broker does.

    def accept(self, message: Message, partition: Partition | None = None) -> int:
        """A record is in the log from now on. Returns its offset."""
        partition = self.partitions[0] if partition is None else partition
        log = self.log[partition]
        offset, at, name = len(log), self.clock.time, name_of(partition)
        log.append(Record(partition, offset, message.key.encode(), message.value))
        key, version, event_id = message.key, message.version, message.id
        self.emit(Step(op=Op.ACCEPTED, at=at, key=key, version=version, id=event_id, partition=name, offset=offset))
        return offset

    def received(self, worker: str, epoch: int | None, records: Sequence[Record]) -> None:
        """A worker was given these records of one partition."""
        at, name = self.clock.time, name_of(records[0].partition)
        for record in records:
            self.emit(Step(op=Op.RECEIVED, at=at, worker=worker, epoch=epoch, partition=name, offset=record.offset))

    def assign(self, partition: Partition, number: int) -> None:
        """A worker owns a partition from now on. Whoever owned it before does not know it yet."""
        member = self.members[number]
        fences = member.store.acquire([partition])
        member.engine.assigned(fences)
        member.positions[partition] = self.committed[partition]
        member.batches.timers.note(member.store.due([partition]))
        self.owners[partition] = member
        self.tell(Op.ASSIGNED, member.name, partition=str(partition), epoch=fences[partition])

    def revoke(self, number: int, partitions: Iterable[Partition]) -> None:
        """A worker is told that these are no longer its own: what it has received of them is dropped."""
        member, gone = self.members[number], set(partitions)
        for partition in gone & member.fences.keys():
            self.tell(Op.REVOKED, member.name, partition=str(partition), epoch=member.fences[partition])
        member.engine.revoked(gone)
        member.job.without(gone)

    # What a worker does.

    def receive(self, number: int, partition: Partition, most: int = 1) -> int:
        """A worker is given the next records of a partition; how many."""
        member = self.members[number]
        at = member.positions[partition]
        records = self.log[partition][at : at + most]
        if not records:
            return 0
        piece = Slice.of(partition, records)
        unit = member.engine.received(piece, sum(len(record.value or b"") for record in records))
        member.positions[partition] = piece.next_offset
        if unit is not None:
            member.job.add(unit, piece, *self.codec.read(piece))
            self.received(member.name, unit.fence, records)
        return len(records)

    def decide(self, number: int) -> None:
        """A worker brings to their outcomes what it has received and what is due, and settles that."""
        member = self.members[number]
        job, member.job = member.job, Job()
        due = member.batches.timers.take(self.clock.now())
        lost = member.batches.run(job, due, dict(member.fences))
        for unit in job.units:
            member.engine.settled(unit)
        for partition, fence in lost.items():
            if member.fences.get(partition) == fence:
                member.engine.revoked([partition])

    def commit(self, number: int) -> None:
        """A worker commits its frontiers. The broker takes that from the owner of the partition alone."""
        member = self.members[number]
        for found in member.engine.commits():
            if self.owners.get(found.partition) is member:
                self.committed[found.partition] = found.offset
                self.tell(
                    Op.COMMITTED,
                    member.name,
                    partition=str(found.partition),
                    offset=found.offset,
                    epoch=member.fences.get(found.partition),
                )

    def die(self, number: int) -> None:
        """A worker decides, its handlers run, and it dies before the transaction is committed."""
        member = self.members[number]
        member.recorder.dies = True
        with suppress(Died):
            self.decide(number)
        member.recorder.dies = False
        self.crash(number)

    def crash(self, number: int) -> None:
        """A worker loses its memory, and with it what it owned."""
        member = self.members[number]
        self.tell(Op.CRASHED, member.name)
        for partition in [partition for partition, owner in self.owners.items() if owner is member]:
            del self.owners[partition]
        member.forget(member.incarnation + 1)

    # What becomes of it all.

    def settle(self, number: int, most: int = 1_000) -> None:
        """Without new faults, a worker goes on until nothing more would happen by itself."""
        for _ in range(most):
            member = self.members[number]
            received = sum(self.receive(number, p, 100) for p in self.partitions if self.owners.get(p) is member)
            if received or member.job.pieces or member.due:
                self.decide(number)
                self.commit(number)
                continue
            member.batches.timers.note(member.store.overdue(self.clock.now(), list(member.fences)))
            due_at = member.batches.timers.next()
            if due_at == NEVER:
                return
            self.clock.time = max(self.clock.time, due_at)
        raise InorderError("a worker never comes to rest")

    def rest(self) -> None:
        """Tell the trace what is there at rest."""
        for partition in self.partitions:
            behind = len(self.log[partition]) - self.committed[partition]
            self.tell(Op.FOUND, what="lag", partition=str(partition), offset=behind)
        keys = sorted({key for key, _, _ in self.store.states()})
        for key, entity in self.store.load(keys).items():
            if entity.waiting is not None:
                self.tell(Op.FOUND, what="waiting", key=key, version=entity.waiting.version, reason=entity.waiting.why)
            for held in self.store.held(key, DRAIN_AT_ONCE) if entity.held else ():
                self.tell(Op.FOUND, what="held", key=key, version=held.version, id=held.event_id)
            if entity.stored_state is not None:
                self.tell(Op.FOUND, what="state", key=key, state=self.text(entity.stored_state))
        if self.declared.kind is Kind.TX:
            self.tell(Op.FOUND, what="state", state=self.store.dump())
        for row in self.store.letters(status="open"):
            self.tell(Op.FOUND, what="letter", reason=str(row.letter.reason), **place_of(row.letter.record))
        self.tell(Op.REST)


class Operator:
    """Replays letters and skips versions, as `inorder dlq` does: a letter, then what waits behind it, then release."""

    name = "operator"

    def __init__(self, system: System, tally: int) -> None:
        self.system = system
        self.recorder = system.recorder(self.name)
        self.store = RecordedStore(system.store, self.recorder)
        self.claims: dict[str, float] = {}
        warrant = Warrant(1, self.name, "simulated", self.claims)
        self.road = BatchRoad(system.declared, system.planner, self.store, tally, system.clock, warrant)
        self.road.codec = system.codec
        effect = system.effect(self.recorder)
        if isinstance(effect, LedgeredTx):
            effect.manner = Manner.CAREFULLY
        self.road.effect = effect
        self.rules: Replaying = self.road.rules

    def letters(self) -> list[Any]:
        """The letters that are open, lowest versions first."""
        found = self.store.letters(status="open")
        return sorted(found, key=lambda row: (row.letter.key or "", row.letter.version or 0, row.id))

    def put_through(self, row: Any) -> str:
        """Put one letter through the guard. Returns what became of it."""
        self.recorder.via = Via.REPLAY
        tried = self.road.letter(PlanLetter(place=0, letter=row.id, key=row.letter.key, version=row.letter.version))
        return str(tried.result)

    def drain(self, key: str) -> bool:
        """Decide what waits behind. Returns whether there is more to do at once."""
        self.recorder.via = Via.DRAIN
        behind = self.road.drain(key, DRAIN_AT_ONCE)
        return behind.due_at is not None and behind.due_at <= self.system.clock.now()

    def release(self, key: str) -> None:
        """Leave what still waits to the workers."""
        self.road.release(key)

    def forget(self) -> None:
        """A replay dies: what it has claimed stays claimed until its time is over."""
        self.claims.clear()

    def skip(self, key: str) -> bool:
        """Declare that the version a key is parked for will never come. False: it is not parked."""
        system = self.system
        skipped: list[int] = []

        def go(tx: Any, changes: Changes) -> None:
            entity: Entity = self.road.load(key)
            waiting = entity.waiting
            if waiting is None or waiting.why is not Wait.PARKED:
                return
            skipped.append(waiting.version)
            self.rules.skipped(entity, waiting.version, changes, system.clock.now())
            self.road.write(tx, changes)
            for row in self.store.letters(status="open", key=key):
                if row.letter.version == waiting.version:
                    tx.close_letter(row.id, "skipped", "skipped", "simulated", system.clock.now())

        self.road.transact(go)
        for version in skipped:
            system.tell(Op.SKIPPED, self.name, key=key, version=version)
        return bool(skipped)


def rules_of(declared: Declaration, more: Iterable[Op] = ()) -> Rules:
    """The rules of a consumer's traces, as systems write them; `more` is recorded beside."""
    unrecorded = {Op.STARTED, Op.ENDED, Op.CALLED, Op.DECIDED, Op.DELETED}
    return Rules(
        order=declared.order,
        baseline=declared.baseline,
        parks=declared.parks,
        gap_s=declared.limits.gap_s,
        records=frozenset((set(Op) - unrecorded) | set(more)),
    )
