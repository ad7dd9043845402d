"""Plays a course: the real poll loop, engine, planner, batches and replay, under a simulated broker, store and clock.

Everything happens in one thread, in the order of the course. Where a real worker's transaction would be under way
beside everybody else's, the rest of the world is played from inside it. First come the faults of the course (nothing
wrong may be seen); then they are over, and everything must come to rest (nothing may be stuck).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product
from typing import Any

from inorder.core.effect import Outage
from inorder.core.event import Partition, Record
from inorder.core.planner import Planner
from inorder.core.room import Room
from inorder.core.waiting import NEVER
from inorder.declaration import Declaration
from inorder.errors import InorderError
from inorder.proof.course import UNREADABLE, Act, Course, Do
from inorder.proof.group import Group, SimulatedSource
from inorder.proof.parts import Parts
from inorder.proof.recorder import LedgeredFold, RecordedStore, Recorder, found_once, place_of
from inorder.proof.rough import AtOnce, Rough, RoughStore, SteppedRunner
from inorder.proof.subjects import fact
from inorder.proof.system import Codec, System
from inorder.proof.trace import Op, Step
from inorder.worker.worker import OVERDUE_EVERY_S

REST_TURNS = 200
"""Turns, and as many again as there were acts, after which a world that has not come to rest never will."""
REPLAY_ROUNDS = 100


@cache
def codec_of(declared: Declaration) -> Codec:
    """A consumer's codec, for all simulations: what it is made of is worked out once."""
    return Codec(declared)


class Node:
    """One worker: its memory is this object, so a crash is a new one."""

    def __init__(self, world: Simulation, number: int, incarnation: int) -> None:
        self.world = world
        self.number = number
        self.incarnation = incarnation
        self.name = f"worker {number + 1}" + (f".{incarnation}" if incarnation else "")
        self.recorder = world.recorder(self.name)
        self.store = RoughStore(RecordedStore(world.store, self.recorder), lambda: world.before_transaction(self))
        effect, limits = world.effect(self.recorder), world.declared.limits
        self.batches = world.parts.batches(
            world.planner, effect, world.codec, self.store, world.tallies[number], world.clock, helper=AtOnce()
        )
        self.runner = SteppedRunner(self.batches, world.clock.now, limits.poll_events)
        self.source = SimulatedSource(world.group, self.name, lambda: self.loop._engine.fences)
        self.loop = world.parts.loop(self.source, self, self.runner, world.codec, world.clock, limits, Room(limits))
        self.source.subscribe(self.loop)
        self.stalled_for = 0
        self.standing = False

    # As the store of its poll loop.

    def __getattr__(self, name: str) -> Any:
        return found_once(self, self.store, name)

    def acquire(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Raise the fences, and tell of it. One that stands still just then does so late, as any transaction."""
        self.world.before_transaction(self)
        fences = self.store.acquire(partitions)
        for partition, fence in fences.items():
            # Who is late has the number, and not the partition: its owner may commit what it has settled.
            if self.world.group.owners.get(partition) is self.source:
                self.world.tell(Op.ASSIGNED, self.name, partition=str(partition), epoch=fence)
        return dict(fences)

    def turn(self) -> None:
        """One turn of the poll loop."""
        self.loop._turn()


class Simulation(System):
    """A world that plays a course."""

    def __init__(
        self,
        declared: Declaration,
        parts: Parts,
        course: Course,
        emit: Callable[[Step], None],
        planner: Planner,
    ) -> None:
        self.rough = Rough()
        self.parts = parts
        store = parts.store("simulated")
        super().__init__(declared, store, emit, course.partitions, 0, self.rough, planner, codec=codec_of(declared))
        self.course = course
        self.tallies = [store.tally(f"worker {number + 1}") for number in range(course.workers)]
        self.operator.rules = self.operator.road.rules = parts.rules(planner, self.operator.rules.lease_s)
        self.group = Group(self.log, self.committed, self.tell, self.received)
        self.nodes = [Node(self, number, 0) for number in range(course.workers)]
        for number, partition in enumerate(self.partitions):
            self.group.give(partition, self.nodes[number % course.workers].source)
        self.seen: dict[tuple[str, str], int] = {}
        """Faults, each with an outcome that a transaction soon after it had: how often."""
        self._acts: Iterator[Act] = iter(course.acts)
        self._recent: deque[str] = deque(maxlen=2)

    def effect(self, recorder: Recorder) -> LedgeredFold:
        """The consumer's function, with a ledger."""
        made = self.parts.effect(self.declared)
        made.weather, made.ledger, made.tell = self.rough, recorder.ledger, self.tell  # type: ignore[attr-defined]
        return made

    def play(self) -> None:
        """The course, and then its healing."""
        for place, version, how, times in self.course.failing:
            if how == "poison":
                self.rough.poisoned.add((place, version))
            elif how == "transient":
                self.rough.transient[place, version] = times
            else:
                self.rough.outages[place, version] = times
        for act in self._acts:
            self._take(act)
        try:
            self._heal()
        finally:
            self.rest()

    def before_transaction(self, node: Node) -> None:
        """Play what happens while a worker stands still."""
        count, node.stalled_for = node.stalled_for, 0
        if not count:
            return
        node.standing = True
        for _ in range(count):
            act = next(self._acts, None)
            if act is not None:
                self._take(act)
        node.standing = False

    def _take(self, act: Act) -> None:
        do, number = act.do, act.n % len(self.nodes)
        if do is Do.SEND:
            self._send(act)
        elif do in _OF_WORKER:
            node = self.nodes[number]
            if not node.standing:
                self._work(do, node, act)
        elif do in {Do.MOVE, Do.SEIZE}:
            partition = self.partitions[act.version % len(self.partitions)]
            heir = self.nodes[number].source
            (self.group.give if do is Do.MOVE else self.group.seize)(partition, heir)
        elif do is Do.PASS:
            self.clock.time += act.n
        else:
            self._operate(do, act.key)
        if do is not Do.SEND and do not in _PLAIN:
            self._recent.append(do.value)
        self._cover()

    def _send(self, act: Act) -> None:
        partition = self.partitions[act.n % len(self.partitions)]
        if act.what == UNREADABLE:
            record = Record(partition, len(self.log[partition]), act.key.encode(), b"{")
            self.log[partition].append(record)
            self.tell(Op.ACCEPTED, **place_of(record))
            return
        self.accept(fact(act.key, act.version, act.what), partition)

    def _work(self, do: Do, node: Node, act: Act) -> None:
        if do is Do.TURN:
            node.turn()
        elif do is Do.STEP:
            node.runner.step()
        elif do is Do.WORK:
            node.turn()
            node.runner.step()
            self.clock.time += 0.2
            if self.nodes[node.number] is node:
                node.turn()
        elif do is Do.CRASH:
            self._crash(node)
        elif do is Do.STALL:
            node.stalled_for = act.version
        elif do is Do.DOWN:
            node.store.down += 1
        else:
            node.store.cut += 1
        self.clock.time += 0.01

    def _crash(self, node: Node) -> None:
        self.tell(Op.CRASHED, node.name)
        self.nodes[node.number] = Node(self, node.number, node.incarnation + 1)
        heir = self.nodes[(node.number + 1) % len(self.nodes)]
        self.group.remove(node.source, heir.source)

    def _operate(self, do: Do, key: str) -> None:
        operator = self.operator
        if do is Do.SKIP:
            for parked in [key] if key else [one for one, _ in self.store.parked()][:1]:
                operator.skip(parked)
            return
        for row in self.store.letters(status="open", key=key or None):
            if row.letter.key is not None:
                self._replay(row, dies=do is Do.DIE)
                return

    def _replay(self, row: Any, dies: bool = False) -> str:
        operator, key = self.operator, row.letter.key
        self.rough.mend(key, row.letter.version)
        if self.course.replay_per_s and self.parts.paced:
            self.clock.time += 1 / self.course.replay_per_s
        try:
            result = operator.put_through(row)
            self._cover()
            if not dies and key in operator.claims:
                for _ in range(REPLAY_ROUNDS):
                    if not operator.drain(key):
                        break
                    self._cover()
                operator.release(key)
        except Outage:
            result = "outage"
        operator.forget()
        return result

    # The end of all faults.

    def _heal(self) -> None:
        self._recent = deque(["healing"], maxlen=1)
        self.rough.clear()
        for node in self.nodes:
            node.stalled_for = node.store.down = node.store.cut = 0
        for partition in self.partitions:
            self.group.give(partition, self.nodes[0].source)
        for _ in range(2):
            for node in reversed(self.nodes):
                node.turn()
        self._come_to_rest()
        if not self.course.attended:
            return
        # A letter that goes through may let others of its key go through: until a round brings none.
        for _ in range(REPLAY_ROUNDS):
            results = [self._replay(row) for row in self.operator.letters() if self._is_open(row)]
            if "applied" not in results:
                return
            self._come_to_rest()
        raise InorderError("replays never come to an end")

    def _is_open(self, row: Any) -> bool:
        return row.letter.key is not None and self.store.letter(row.id).status == "open"

    def _come_to_rest(self) -> None:
        node = self.nodes[0]
        for _ in range(REST_TURNS + len(self.course.acts)):
            node.turn()
            node.runner.step()
            node.turn()
            self._cover()
            self.clock.time += 0.2
            if node.runner.busy() or not node.source.at_end():
                due_at = node.batches.timers.next()
                if node.runner.idle and due_at != NEVER:
                    self.clock.time = max(self.clock.time, due_at)
                continue
            due = [waiting.due_at for waiting in self.store.due(self.partitions).values()]
            if not due:
                return
            # What the worker does not know of itself, it finds when it looks for what is overdue.
            self.clock.time = max(self.clock.time + OVERDUE_EVERY_S, *due)
        raise InorderError("the world never comes to rest")

    def _cover(self) -> None:
        if self.outcomes:
            for at in product(self._recent, self.outcomes):
                self.seen[at] = self.seen.get(at, 0) + 1
            self.outcomes.clear()


_OF_WORKER = {Do.TURN, Do.STEP, Do.WORK, Do.CRASH, Do.STALL, Do.DOWN, Do.CUT}
_PLAIN = {Do.TURN, Do.STEP, Do.WORK}
