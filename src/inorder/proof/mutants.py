"""inorder, broken on purpose: one variant for each anomaly, which the harness must find. None is ever used for real.

`python -m inorder.proof.mutants` finds each of them, makes its schedule small, and prints a table; with the path of a
page, the table is put into it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from inorder.core.changes import Changes
from inorder.core.engine import Unit
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Slice
from inorder.core.guard import Decision, Guard
from inorder.core.lanes import Lanes
from inorder.core.order import Order, Outcome
from inorder.core.planner import Planner
from inorder.core.replaying import Replaying, Verdict
from inorder.core.rows import EntityRow, Letter
from inorder.core.waiting import Wait, Waiting
from inorder.proof import lane_world, swarm
from inorder.proof.course import Course, Do
from inorder.proof.memory import MemoryStore, MemoryTransaction
from inorder.proof.parts import Parts
from inorder.proof.recorder import LedgeredFold
from inorder.proof.shrinking import shrink
from inorder.proof.trace import Op
from inorder.worker.worker import Loop


class NoGuard(Guard):
    """Lets everything through."""

    def __init__(self, order: Order, baseline: int = 0) -> None:
        super().__init__(Order.UNGUARDED, baseline)


class NewerIsNext(Guard):
    """Takes "newer than the last" for "the next"."""

    def decide(self, entity: Entity, event: Event) -> Decision:
        """APPLY in place of HOLD."""
        found = super().decide(entity, event)
        return Decision.APPLY if found is Decision.HOLD else found


class OlderIsNew(Guard):
    """Takes what is older than the state, and never took effect, for new."""

    def decide(self, entity: Entity, event: Event) -> Decision:
        """APPLY in place of STALE."""
        found = super().decide(entity, event)
        return Decision.APPLY if found is Decision.STALE else found


class Expiring(Guard):
    """Knows what took effect by the last two event ids, and by nothing else."""

    def __init__(self, order: Order, baseline: int = 0) -> None:
        super().__init__(order, baseline, remembered=2)

    def decide(self, entity: Entity, event: Event) -> Decision:
        """APPLY for a duplicate that is remembered no more."""
        found = super().decide(entity, event)
        gone = found is Decision.DUPLICATE and event.fingerprint not in entity.recent[-2:]
        return Decision.APPLY if gone and self.order is not Order.STRICT else found


class DropsEarly(Planner):
    """Skips what is early."""

    def hold(self, entity: Entity, event: Event, changes: Changes, now: float) -> None:
        """Counted, and gone."""
        changes.settled(event, Outcome.STALE)


class NobodyLooks(Planner):
    """Leaves what waits where it is."""

    def look_ahead(self, entity: Entity, changes: Changes, now: float, after: Event | None = None) -> None:
        """Nothing."""

    def wake(self, entity: Entity, changes: Changes, now: float) -> bool:
        """Not for a gap."""
        gap = entity.waiting is not None and entity.waiting.why is Wait.GAP
        return False if gap else super().wake(entity, changes, now)


class FlowsAfterDraining(Planner):
    """Parks a key for what comes from the broker, and not for what waited."""

    def failed(self, entity: Entity, event: Event, error: BaseException, changes: Changes, now: float) -> None:
        """What waits behind it waits for nothing."""
        super().failed(entity, event, error, changes, now)
        if event.receiver is not None and entity.waiting is not None and entity.waiting.why is Wait.PARKED:
            gap = Waiting(Wait.GAP, event.version, now, home=entity.waiting.home)
            self._wait(entity, gap if entity.held else None, changes)


class GoesOnPastALetter(Planner):
    """Counts an event that was given up on as done."""

    def failed(self, entity: Entity, event: Event, error: BaseException, changes: Changes, now: float) -> None:
        """The key goes on."""
        super().failed(entity, event, error, changes, now)
        if entity.waiting and entity.waiting.why is Wait.PARKED:
            self.guard.advance(entity, event.version, event.fingerprint)
            self._wait(entity, None, changes)


class NeverTriesAgain(Planner):
    """Forgets that a retry is due."""

    def wake(self, entity: Entity, changes: Changes, now: float) -> bool:
        """Not for a retry."""
        retry = entity.waiting is not None and entity.waiting.why is Wait.RETRY
        return False if retry else super().wake(entity, changes, now)


class SettlesFirst(Loop):
    """Settles a delivery when it arrives."""

    def _receive(self, pieces: list[Slice]) -> None:
        received: list[Unit] = []
        original = self._engine.received

        def noted(piece: Slice, size: int) -> Unit | None:
            unit = original(piece, size)
            received.extend([unit] if unit is not None else [])
            return unit

        self._engine.received = noted  # type: ignore[method-assign]
        super()._receive(pieces)
        self._engine.received = original  # type: ignore[method-assign]
        for unit in received:
            self._engine.settled(unit)


class NoFrontier(Loop):
    """Commits each unit that is done, whichever comes last."""

    def _collect(self, force: bool = False) -> None:
        units = self._runner.settled()
        for unit in reversed(units):
            self._engine.settled(unit)
            if unit.fence == self._engine.fences.get(unit.partition):
                self._source.commit({unit.partition: unit.next_offset})


class ForgetsWhatRuns(Lanes):
    """Starts a lane again while an event of it runs."""

    def start(self, most: int = 1) -> list[Event]:
        """The lane is idle at once."""
        events = super().start(most)
        for key in {event.key for event in events}:
            self.finish(key)
        return events

    def finish(self, key: str) -> None:
        """It may be in the line already."""
        self._busy.discard(key)
        if key in self._queues and key not in self._ready:
            self._ready.append(key)


class NoFences(MemoryTransaction):
    """Takes writes from anybody, over anything."""

    def check_fences(self, fences: Mapping[Partition, int]) -> None:
        """Whoever it is."""

    def compare_and_set(self, rows: Sequence[EntityRow]) -> None:
        """Whatever is there."""
        for row in rows:
            known = self._store.get("entities", row.key)
            revision = 0 if known is None else known.expected + 1
            kept = (row.key, revision, row.version, row.ranges, row.recent, row.state, row.waits)
            self.staged["entities"][row.key] = EntityRow(*kept)


class Autocommit(MemoryTransaction):
    """Writes the state at once, and the rest with the commit."""

    def compare_and_set(self, rows: Sequence[EntityRow]) -> None:
        """Not undone when the transaction fails."""
        super().compare_and_set(rows)
        entities = self._store.tables.entities
        for row in rows:
            kept = entities.get(row.key)
            if kept is None:
                continue
            # Everything but the version and the revision, which follow with the commit.
            torn = (row.key, kept.expected, kept.version, kept.ranges, kept.recent, row.state, kept.waits)
            entities[row.key] = EntityRow(*torn)


class SecondLetter(MemoryTransaction):
    """Writes a letter anew when its record comes again."""

    def write_letter(self, letter: Letter, tally: int) -> None:
        """Without a look at the position."""
        record = letter.record
        for at in [at for at in self._store.tables.places if at[:2] == (record.partition, record.offset)]:
            del self._store.tables.places[at]
        super().write_letter(letter, tally)


def _store(transactions: type[MemoryTransaction]) -> type[MemoryStore]:
    class Store(MemoryStore):
        transaction_class = transactions

    return Store


class HeldInMemory(MemoryStore):
    """Keeps early events in the memory of a worker: whoever takes over does not have them."""

    def acquire(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """A new owner begins without them."""
        for key in [key for key, rows in self.tables.held.items() if self._from(rows, partitions)]:
            del self.tables.held[key]
            self.tables.waits.pop(key, None)
            row = self.tables.entities[key]
            self.tables.entities[key] = EntityRow(
                row.key, row.expected, row.version, row.ranges, row.recent, row.state, False
            )
        return super().acquire(partitions)

    @staticmethod
    def _from(rows: Mapping[int, Any], partitions: Sequence[Partition]) -> bool:
        return any(row.record.partition in partitions for row in rows.values())


class ReplaysBlindly(Replaying):
    """Puts letters through without asking the guard."""

    def judge(self, entity: Entity, event: Event, now: float, claim: float | None = None) -> Verdict:
        """APPLY, whatever took effect already."""
        return Verdict.APPLY


class ReplaysOld(Replaying):
    """Puts letters through that newer events have made superfluous."""

    def judge(self, entity: Entity, event: Event, now: float, claim: float | None = None) -> Verdict:
        """APPLY in place of STALE."""
        found = super().judge(entity, event, now, claim)
        return Verdict.APPLY if found is Verdict.STALE else found


class Escapes(LedgeredFold):
    """Has an effect outside of the transaction."""

    def apply(self, entity: Entity, event: Event) -> None:
        """A call, whatever becomes of the transaction."""
        self.tell(Op.CALLED, key=event.key, version=event.version, id=event.id)  # type: ignore[attr-defined]
        super().apply(entity, event)


class WrongCursor(LedgeredFold):
    """Writes the state of the entity before over one in which nothing took effect."""

    last: bytes | None = None

    def encode(self, entity: Entity) -> bytes | None:
        """Somebody else's."""
        state = super().encode(entity)
        if not entity.applied and self.last is not None:
            return self.last
        self.last = state
        return state


class ReadsTheClock(LedgeredFold):
    """A fold that keeps when it was called, and not only with what."""

    def apply(self, entity: Entity, event: Event) -> None:
        """The state depends on who came first."""
        first = not entity.state
        super().apply(entity, event)
        if not first:
            entity.state = [*entity.state[-1:], *entity.state[:-1]]


class Mutant(msgspec.Struct, frozen=True):
    """A broken inorder, and the anomaly that it must be found by."""

    anomaly: str
    name: str
    parts: Parts
    first_seed: int = 0
    """From where to look, where it takes many seeds."""
    world: Any = swarm
    """The module that draws its courses and plays them: `swarm`, or `lane_world`."""

    def course(self, seed: int, events: int = 20) -> Course:
        """The course of a seed."""
        found: Course = self.world.drawn(seed, events)
        return found

    def shows(self, course: Course) -> bool:
        """Whether its anomaly is seen in a course."""
        return any(one.anomaly == self.anomaly for one in self.world.play(course, self.parts).findings)


MUTANTS = [
    Mutant("S1", "no guard", Parts(guard=NoGuard)),
    Mutant("S2", "`latest` takes what is older than the state for new", Parts(guard=OlderIsNew)),
    Mutant("S3", "newer than the last is taken for the next", Parts(guard=NewerIsNext)),
    Mutant("S4", "early events are skipped", Parts(planner=DropsEarly)),
    Mutant("S5", "early events are kept in a worker's memory", Parts(store=HeldInMemory)),
    Mutant("S6", "nobody looks at what waits", Parts(planner=NobodyLooks)),
    Mutant("S7", "settled before the commit", Parts(loop=SettlesFirst)),
    Mutant("S8", "no frontier: whatever is done is committed", Parts(loop=NoFrontier)),
    Mutant("S9", "no fence, no revision", Parts(store=_store(NoFences))),
    Mutant("S10", "lanes that forget what runs", Parts(lanes=ForgetsWhatRuns), world=lane_world),
    Mutant("S11", "the state is written outside of the transaction", Parts(store=_store(Autocommit))),
    Mutant("S12", "a key goes on past its dead letter", Parts(planner=GoesOnPastALetter)),
    Mutant("S13", "a record that comes again makes a second letter", Parts(store=_store(SecondLetter))),
    Mutant("S14", "a replay that does not ask the guard", Parts(rules=ReplaysBlindly)),
    Mutant("S15", "a replay that puts old versions over new ones", Parts(rules=ReplaysOld)),
    Mutant(
        "S16", "what fails while it is drained does not park its key", Parts(planner=FlowsAfterDraining), first_seed=250
    ),
    Mutant("S17", "duplicates are known by their last ids alone", Parts(guard=Expiring)),
    Mutant("S18", "an effect outside of the transaction", Parts(effect=Escapes)),
    Mutant("S19", "the state of another key is written", Parts(effect=WrongCursor)),
    Mutant("S20", "a fold that does not depend on its events alone", Parts(effect=ReadsTheClock)),
    Mutant("S21", "retries are never due", Parts(planner=NeverTriesAgain)),
    Mutant("S22", "a replay that keeps no pace", Parts(paced=False)),
]
"""By anomaly."""


class Caught(msgspec.Struct, frozen=True):
    """A mutant that was found, and the smallest schedule that shows it."""

    mutant: Mutant
    seed: int
    first: str
    """The anomaly that showed first in the smallest schedule."""
    course: Course
    minimal: bool
    seconds: float
    """Of processor time, for the search and for what made it small."""


def catch(mutant: Mutant, events: int = 20, seeds: int = 2_000, seconds: float = 20.0) -> Caught | None:
    """Look for a mutant, seed after seed, and make the schedule small. None: it was not found."""
    began = time.process_time()
    for seed in range(mutant.first_seed, seeds):
        course = mutant.course(seed, events)
        if mutant.shows(course):
            found = shrink(course, mutant.shows, seconds)
            first = mutant.world.play(found.course, mutant.parts).findings[0].anomaly
            return Caught(mutant, seed, first, found.course, found.minimal, time.process_time() - began)
        if time.process_time() - began > seconds:
            break
    return None


def worded(course: Course) -> str:
    """A schedule in a line."""
    words = []
    for act in course.acts:
        where = f" {act.key} v{act.version}" if act.do is Do.SEND else f" {act.key}" if act.key else ""
        if act.do in {Do.WORK, Do.TURN, Do.STEP, Do.CRASH, Do.STALL, Do.DOWN, Do.CUT, Do.MOVE, Do.SEIZE}:
            where = f" {'to ' if act.do in {Do.MOVE, Do.SEIZE} else ''}worker {act.n + 1}"
        elif act.do is Do.PASS:
            where = f" {act.n} s"
        elif act.do is Do.RETURN:
            where = f" of call {act.n + 1}"
        words.append(f"{act.do}{where}{f' ({act.what})' if act.what else ''}")
    words += [f"({one.key} v{one.version} fails: {one.how})" for one in course.failing]
    return "; ".join(words)


def table(caught: Sequence[tuple[Mutant, Caught | None]]) -> str:
    """The table of a page."""
    lines = ["| anomaly | broken on purpose | acts | the smallest schedule found | seconds |", "|---|---|---|---|---|"]
    for mutant, found in caught:
        if found is None:
            lines.append(f"| {mutant.anomaly} | {mutant.name} | | **not found** | |")
            continue
        acts = f"{len(found.course.acts)}{'' if found.minimal else ' or fewer'}"
        lines.append(f"| {mutant.anomaly} | {mutant.name} | {acts} | {worded(found.course)} | {found.seconds:.1f} |")
    return "\n".join(lines) + "\n"


BEGIN, END = "<!-- mutants -->", "<!-- end of mutants -->"


def main(arguments: Sequence[str]) -> int:
    """Find all; print the table, or put it into a page. 1: one was not found."""
    caught = [(mutant, catch(mutant)) for mutant in MUTANTS]
    if arguments:
        page = Path(arguments[0])
        before, rest = page.read_text().split(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{table(caught)}{END}{rest.split(END)[1]}")
    else:
        print(table(caught), end="")
    return 1 if any(found is None for _, found in caught) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
