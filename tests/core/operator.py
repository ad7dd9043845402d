"""An operator: replays letters and skips versions, one transaction each, as `deadletters/road.py` does."""

from __future__ import annotations

from collections import Counter as Bag
from collections.abc import Callable
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING

from inorder.core.changes import Changes
from inorder.core.effect import Outage
from inorder.core.entity import Entity
from inorder.core.event import Event, Slice, fingerprint
from inorder.core.replaying import Replaying, Verdict
from inorder.core.rows import HeldRow, Letter, Reason
from inorder.core.waiting import Wait
from tests.core import invariants

if TYPE_CHECKING:
    from tests.core.world import World

LEASE_S = 30.0


class Operator:
    """Keeps nothing in memory but the claim of the key at hand."""

    def __init__(self, world: World, tally: int) -> None:
        self.world = world
        self.tally = tally
        self.rules = Replaying(world.planner, LEASE_S)
        self.claim: float | None = None
        self.resolved: Bag[Reason] = Bag()
        """The letters that took effect, or turned out not to be needed, by their reason."""

    def replay(self, key: str, mended: bool, crash: bool) -> None:
        """Put a letter of a key through, one that failed if there is one."""
        found = [(offset, letter) for offset, (_, letter) in self.world.store.open.items() if letter.key == key]
        if found:
            _, _, offset = min((letter.reason is not Reason.FAILED, letter.version or 0, at) for at, letter in found)
            self.put_through(offset, mended, crash)

    def put_through(self, offset: int, mended: bool = True, crash: bool = False) -> None:
        """Put a letter through the guard, and then what waits behind it."""
        letter = self.world.store.open[offset][1]
        key = letter.key or ""
        if mended:
            self.world.effect.mend(key, letter.version or 0)
        self.claim = None
        self._transact(key, lambda entity, changes: self._letter(entity, changes, offset))
        if not crash:
            while self._transact(key, self._drain):
                pass
            self._transact(key, self._release)

    def open_failures(self) -> dict[int, Letter]:
        """The letters of events that failed, and that nobody has dealt with, by offset, lowest versions first."""
        found = [(letter.version, at, letter) for at, (_, letter) in self.world.store.open.items()]
        return {at: letter for _, at, letter in sorted(found, key=itemgetter(0, 1)) if letter.reason is Reason.FAILED}

    def skip(self, key: str) -> None:
        """Skip the version that a key is parked for, and close its letter."""
        self._transact(key, self._skip)

    def _letter(self, entity: Entity, changes: Changes, offset: int) -> None:
        world = self.world
        tally, letter = world.store.open[offset]
        event = _event_of(letter)
        verdict = self.rules.judge(entity, event, world.now, self.claim)
        if verdict is Verdict.APPLY:
            try:
                world.effect.apply(entity, event)
            except Exception:
                world.effect.undo(entity)
                return
            self.claim = self.rules.applied(entity, event, changes, world.now)
        self.rules.count(tally, invariants.COUNTED_AS[letter.reason], verdict, changes)
        if verdict in {Verdict.APPLY, Verdict.DUPLICATE, Verdict.STALE}:
            world.store.close(offset)
            world.when_parked.pop(entity.key, None)
            self.resolved[letter.reason] += 1

    def _drain(self, entity: Entity, changes: Changes) -> bool:
        """Returns whether there is more to do at once."""
        world = self.world
        if self.claim is None or not self.rules.open(entity, world.now, self.claim):
            self.claim = None
            return False
        events = [read_back(row) for row in world.store.held_of(entity.key, world.case.held_at_once)]
        world.planner.advance(entity, events, world.effect, changes, world.now)
        found = self.rules.close(entity, changes, world.now)
        self.claim = found[0] if found else None
        return found is not None and found[1] <= world.now

    def _release(self, entity: Entity, changes: Changes) -> None:
        if entity.waiting is not None and entity.waiting.due_at == self.claim:
            self.rules.release(entity, changes, self.world.now)

    def _skip(self, entity: Entity, changes: Changes) -> None:
        world, waiting = self.world, entity.waiting
        if waiting is None or waiting.why is not Wait.PARKED:
            return
        self.rules.skipped(entity, waiting.version, changes, world.now)
        world.skipped.add((entity.key, waiting.version))
        world.when_parked.pop(entity.key, None)
        for offset, (_, letter) in list(world.store.open.items()):
            if (letter.key, letter.version, letter.reason) == (entity.key, waiting.version, Reason.FAILED):
                world.store.close(offset)

    def _transact(self, key: str, work: Callable[[Entity, Changes], bool | None]) -> bool:
        """Do the work in one transaction; again, when something that the handler needs is down."""
        world = self.world
        while True:
            entity = world.store.load(key) or Entity(key, world.case.baseline)
            world.effect.loaded(entity)
            changes = Changes(self.tally)
            before = {one: world.store.ledger(one) for one in world.case.keys}
            with suppress(Outage):
                more = work(entity, changes)
                break
        world.store.write(changes.rows(world.effect.encode, world.planner.guard.remembered), changes)
        for worker in world.workers:
            worker.timers.note(changes.waits)
        invariants.check(world, before)
        return bool(more)


def read_back(row: HeldRow) -> Event:
    """A held event, as it comes back from the store."""
    piece = Slice.of(row.record.partition, [row.record])
    receiver = (row.receiver, str(row.outcome))
    return Event(row.key, row.version, row.event_id, row.fingerprint, None, piece, 0, receiver)


def _event_of(letter: Letter) -> Event:
    assert letter.key is not None
    assert letter.version is not None
    assert letter.event_id is not None
    piece = Slice.of(letter.record.partition, [letter.record])
    return Event(letter.key, letter.version, letter.event_id, fingerprint(letter.event_id), None, piece, 0)
