"""A system that schedules are played on: takes actions, says which are possible, and can come back to where it was."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from inorder.core.event import Event
from inorder.core.planner import Planner
from inorder.core.waiting import Waiting
from inorder.declaration import Declaration
from inorder.proof.anomalies import Anomaly, Oracle
from inorder.proof.oracle import Finding, Judge
from inorder.proof.recorder import Scripted
from inorder.proof.saving import Saved, digest, memory_of, remember, worth_saving
from inorder.proof.scope import COSTS, Act, Fate, Kind, Place, Scope, costs_of
from inorder.proof.system import Member, Message, System, rules_of
from inorder.proof.trace import Op, Step
from inorder.worker.assemble import planner_for

_SAME_TIME_S = 0.01


class Beside(StrEnum):
    """What an action that is about other keys means for a key."""

    __hash__ = str.__hash__

    TURN = "turn"
    """What is due is decided."""
    PASS = "pass"
    """Time passes; then the same."""
    DIE = "die"
    """The owner dies, in a transaction in which this was decided too, if it was due."""
    CRASH = "crash"
    """What is due is decided; then the owner dies."""
    MOVE = "move"
    """The partition goes to the other worker."""
    WAKE = "wake"
    """The worker that stood still goes on."""


_FAULTS: dict[Kind | Beside, str] = {
    Kind.DRAIN: "replays",
    Kind.WAKE: "zombies",
    Kind.AGAIN: "redelivery",
    Beside.DIE: "crashes",
    Beside.CRASH: "crashes",
    Beside.WAKE: "zombies",
}
"""Under which fault the outcomes of an action are counted that is none of a scope's by itself."""


class Offers(NamedTuple):
    """What a world could do next."""

    acts: tuple[Act, ...]
    again: bool
    due: bool
    urgent: bool
    due_in: float
    claimed: bool
    quiet: bool
    accepted: frozenset[Place]


class World:
    """One system with one partition and two workers, within a scope."""

    def __init__(
        self,
        declared: Declaration,
        messages: Mapping[Place, Message],
        scope: Scope,
        store: Any,
        oracle: Oracle | None,
        planner: Planner | None = None,
        anomalies: Iterable[Anomaly] | None = None,
        watched: bool = False,
        text: Callable[[bytes], str] = bytes.decode,
    ) -> None:
        self.scope = scope
        self.messages = messages
        self.weather = Scripted()
        self._baseline = declared.baseline
        self.trace: Callable[[Step], None] | None = None
        self.findings: list[Finding] = []
        self.at_rest: Callable[[World], Finding | None] | None = None
        """Looks further, once the checkers have found nothing."""
        records = {Op.CALLED} if watched else set()
        self.judge = Judge(rules_of(declared, records), oracle, anomalies)
        self.stalled = False
        """Whether a worker stands still with an event in its hands."""
        self._muted = True
        if planner is None:
            planner = planner_for(declared)
            planner.explain = lambda error: None  # nobody reads the letters of a search, and there are thousands
        self.system = System(declared, store, self._see, weather=self.weather, planner=planner, text=text)
        (self.partition,) = self.system.partitions
        self.left = {name: getattr(scope, name) for name in Scope.__struct_fields__[2:-1]}
        self.covered: set[tuple[str, str]] = set()
        """Faults, each with an outcome that came of an action with it."""
        self._muted = False
        self.system.assign(self.partition, 0)

    def _see(self, step: Step) -> None:
        if self._muted:
            return
        self.findings += self.judge.see(step)
        if self.trace is not None:
            self.trace(step)

    # What may happen next.

    def acts(self) -> Iterator[Act]:
        """Every action that is possible now."""
        owner, now = self._owner, self.system.clock.now()
        again = owner.positions[self.partition] < len(self.system.log[self.partition])
        if again:
            yield from self._fates(Kind.AGAIN, None)
        else:
            for place in self._deliverable():
                yield from self._fates(Kind.DELIVER, place)
        due_at = owner.batches.timers.next()
        if due_at <= now:
            yield Act(Kind.LOOK)
        elif any(waiting.urgent for waiting in self._due().values()):
            yield Act(Kind.WAIT)
        if any(member.job.pieces for member in self.system.members):
            yield Act(Kind.WAKE)
        operator = self.system.operator
        for key in operator.claims:
            yield Act(Kind.DRAIN, (key, 0))
            if self.left["crashes"]:
                yield Act(Kind.ABANDON, (key, 0))
        if self.left["replays"] and not operator.claims:
            for row in operator.letters():
                if row.letter.key is not None:
                    yield Act(Kind.REPLAY, (row.letter.key, row.letter.version or 0))

    def _deliverable(self) -> Iterator[Place]:
        if self.scope.one_arrival:
            arrival = self.scope.arrival(self.messages)
            yield from (place for place in arrival if self._accepted(place) and self.left["duplicates"])
            yield from [place for place in arrival if not self._accepted(place)][:1]
            return
        accepted, unused = self.judge.history.claimed, True
        for key in dict.fromkeys(key for key, _ in self.messages):
            # Keys are alike: the first event of a key comes after the first event of the key before it.
            if key not in accepted and not unused:
                return
            unused = key in accepted
            for version in (version for of, version in self.messages if of == key):
                if version not in accepted.get(key, []) or self.left["duplicates"]:
                    yield key, version

    def _fates(self, kind: Kind, place: Place | None) -> Iterator[Act]:
        for fate in Fate:
            if fate is not Fate.DONE and not self.left[COSTS[fate]]:
                continue
            if fate in {Fate.FAIL, Fate.STUMBLE} and (place is None or self._accepted(place)):
                continue
            if fate is Fate.STALL and self.stalled:
                continue
            yield Act(kind, place, fate)

    def _accepted(self, place: Place) -> bool:
        return place[1] in self.judge.history.claimed.get(place[0], [])

    @property
    def quiet(self) -> bool:
        """Whether nothing more would happen by itself, and no version is missing that a later one waits for."""
        system, owner = self.system, self._owner
        if owner.positions[self.partition] < len(system.log[self.partition]) or system.operator.claims:
            return False
        if self.stalled or owner.due:
            return False
        if any(waiting.urgent for waiting in self._due().values()):
            return False
        return all(len(of) == max(of) - self._baseline for of in self.judge.history.claimed.values())

    def _due(self) -> dict[str, Waiting]:
        found: dict[str, Waiting] = self.system.store.due([self.partition])
        return found

    @property
    def _owner(self) -> Member:
        return self.system.owners[self.partition]

    # What happens.

    def take(self, act: Act) -> None:
        """Take one action."""
        system = self.system
        costs = costs_of(act, act.place is not None and self._accepted(act.place))
        for cost in costs:
            self.left[cost] -= 1
        if act.kind in {Kind.DELIVER, Kind.AGAIN}:
            self._deliver(act)
        elif act.kind is Kind.WAIT:
            owner = self._owner
            owner.batches.timers.note(self._due())
            system.clock.time = max(system.clock.time, owner.batches.timers.next())
            self._decide(owner.number)
        elif act.kind is Kind.LOOK:
            self._decide(self._owner.number)
        elif act.kind is Kind.WAKE:
            number = next(member.number for member in system.members if member.job.pieces)
            self._decide(number)
            system.revoke(number, [self.partition])
            self.stalled = False
        else:
            self._operate(act)
        self._cover(costs[0] if costs else _FAULTS.get(act.kind))

    def _deliver(self, act: Act) -> None:
        system, number = self.system, self._owner.number
        if act.place is not None:
            system.accept(self.messages[act.place])
            if act.fate is Fate.FAIL:
                self.weather.poisoned.add(act.place)
            elif act.fate is Fate.STUMBLE:
                self.weather.transient[act.place] = 1
        system.receive(number, self.partition)
        if act.fate is Fate.STALL:
            system.assign(self.partition, 1 - number)
            self.stalled = True
        elif act.fate is Fate.CRASH_BEFORE:
            system.die(number)
            system.assign(self.partition, number)
        elif act.fate is Fate.CRASH_AFTER:
            system.decide(number)
            system.crash(number)
            system.assign(self.partition, number)
        else:
            recorder = system.members[number].recorder
            recorder.refusals = int(act.fate is Fate.REFUSED)
            self._decide(number)
            recorder.refusals = 0

    def _decide(self, number: int) -> None:
        self.system.decide(number)
        self.system.commit(number)

    def _operate(self, act: Act) -> None:
        operator = self.system.operator
        assert act.place is not None
        key, version = act.place
        if act.kind is Kind.REPLAY:
            self.weather.poisoned.discard(act.place)
            row = next(row for row in operator.letters() if (row.letter.key, row.letter.version) == (key, version))
            operator.put_through(row)
        elif act.kind is Kind.DRAIN:
            more = operator.drain(key)
            if not more:
                operator.release(key)
                operator.claims.pop(key, None)
        else:
            operator.forget()

    def _cover(self, fault: str | None) -> None:
        for outcome in self.system.outcomes:
            self.covered.add((fault or "none", outcome))
        self.system.outcomes.clear()

    def beside(self, what: Beside, seconds: float = 0.0) -> None:
        """What an action that is about other keys does to the keys of this world."""
        system, owner = self.system, self._owner
        number = owner.number
        if what is Beside.MOVE:
            system.assign(self.partition, 1 - number)
            self.stalled = True
        elif what is Beside.WAKE:
            # Its fence is refused, with all that it knew: what is due is decided anew, and under no fence.
            zombie = system.members[1 - number]
            zombie.batches.cache.clear()
            zombie.engine.revoked([self.partition])
            if zombie.due:
                system.decide(zombie.number)
            self.stalled = False
        elif what is Beside.DIE:
            if owner.due:
                system.die(number)
            else:
                system.crash(number)
            system.assign(self.partition, number)
        else:
            if what is Beside.PASS:
                owner.batches.timers.note(self._due())
                system.clock.time += seconds
                due_at = owner.batches.timers.next()
                if abs(due_at - system.clock.time) < _SAME_TIME_S:
                    system.clock.time = max(system.clock.time, due_at)
            if owner.due:
                system.decide(number)
            if what is Beside.CRASH:
                system.crash(number)
                system.assign(self.partition, number)
            elif self.system.owners.get(self.partition) is owner:
                system.commit(number)
        self._cover(_FAULTS.get(what))

    def offers(self) -> Offers:
        """What this world could do next, for a search that puts it beside others."""
        system, owner, now = self.system, self._owner, self.system.clock.now()
        waiting = self._due().values()
        urgent = [one.due_at - now for one in waiting if one.urgent]
        all_due = [one.due_at - now for one in waiting]
        return Offers(
            acts=tuple(act for act in self.acts() if act.kind not in {Kind.LOOK, Kind.WAIT}),
            again=owner.positions[self.partition] < len(system.log[self.partition]),
            due=owner.due,
            urgent=bool(urgent),
            due_in=round(min([*all_due, owner.batches.timers.next() - now]), 3),
            claimed=bool(system.operator.claims),
            quiet=self.quiet,
            accepted=frozenset((key, of) for key, claimed in self.judge.history.claimed.items() for of in claimed),
        )

    def rest(self) -> None:
        """Everything has come to rest: say what is there."""
        self.system.rest()
        if not self.findings and self.at_rest is not None:
            found = self.at_rest(self)
            if found is not None:
                self.findings.append(found)

    def now_at(self) -> Event | None:
        """The event whose handler is running."""
        effects = [member.batches.effect for member in self.system.members] + [self.system.operator.road.effect]
        return next((effect.now_at for effect in effects if effect.now_at is not None), None)

    # Coming back.

    def save(self) -> Saved:
        """Everything there is. It is handed over: before anything else happens, something is to be restored."""
        system = self.system
        owner = system.owners.get(self.partition)
        saved = Saved(
            system.store.save(),
            tuple(system.log[self.partition]),
            system.committed[self.partition],
            None if owner is None else owner.number,
            tuple(memory_of(member) for member in system.members),
            dict(system.operator.claims),
            frozenset(self.weather.poisoned),
            tuple(self.weather.transient.items()),
            tuple(self.left.values()),
            self.stalled,
            system.clock.time,
            system.txs,
            self.judge,
        )
        return worth_saving(saved, self.left, system.store)

    def with_left(self, saved: Saved, left: tuple[int, ...]) -> Saved:
        """What was saved, with so many faults left. Before anything else happens, something is to be restored."""
        self.system.store.show(saved.tables)
        names = dict(zip(self.left, left, strict=True))
        return worth_saving(saved._replace(left=left), names, self.system.store)

    def restore(self, saved: Saved) -> None:
        """Be again as it was."""
        system = self.system
        system.store.restore(saved.tables)
        system.log[self.partition] = list(saved.log)
        system.committed[self.partition] = saved.committed
        system.clock.time, system.txs = saved.time, saved.txs
        system.operator.claims.clear()
        system.operator.claims.update(saved.claims)
        self.weather.poisoned = set(saved.poisoned)
        self.weather.transient = dict(saved.transient)
        self.left = dict(zip(self.left, saved.left, strict=True))
        self.judge = saved.judge.copy()
        self.stalled = saved.stalled
        self.findings = []
        system.outcomes.clear()
        system.owners.clear()
        for member, memory in zip(system.members, saved.members, strict=True):
            remember(member, memory)
            if memory.pending is not None:
                first, end, _ = memory.pending
                member.positions[self.partition] = first
                self._muted = True
                system.receive(member.number, self.partition, end - first)
                self._muted = False
        if saved.owner is not None:
            system.owners[self.partition] = system.members[saved.owner]

    def digest(self, saved: Saved) -> Hashable:
        """What tells this state from others, for all that may still happen. The store has the rows of it."""
        return digest(saved, self.system.store, self.partition)
