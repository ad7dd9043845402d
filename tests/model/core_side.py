"""The core's own code, driven by the steps of `protocol`, and looked at in its words.

Decisions come from the planner, the guard and the rules of replay. Between a transaction's reading and its commit
everything else may happen: what was read is kept in its flight, as a real worker keeps it in memory.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inorder.core.changes import Changes
from inorder.core.effect import Effect
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Record, Slice, fingerprint
from inorder.core.guard import Guard
from inorder.core.limits import Limits
from inorder.core.order import Order
from inorder.core.planner import Planner
from inorder.core.replaying import Replaying, Verdict
from inorder.core.retry import ErrorClass, Retry
from inorder.core.rows import EntityRow
from inorder.core.waiting import AT_ONCE, Wait
from inorder.errors import Mismatch
from tests.core.memory_store import MemoryStore
from tests.core.operator import read_back
from tests.model.protocol import DUE, FLOWS, GAP, MISSING, OPERATOR, PARKED, REPLAY, Action, Key, Scope

HOME = Partition("topic", 0)
LATER = 10_000.0
"""A time at which every gap has outlasted its limit, and every claim is over."""


class Poisoned(Exception):
    """What the handler raises."""


class Appending(Effect):
    """A fold whose state is the list of the versions that took effect."""

    def __init__(self, poison: tuple[int, int] | None) -> None:
        self._poison = None if poison is None else (str(poison[0]), poison[1])
        self.mended = False

    def loaded(self, entity: Entity) -> None:
        """Decode the state of an entity that was just read."""
        entity.state = list(entity.stored_state or b"")

    def encode(self, entity: Entity) -> bytes:
        """The state as the store keeps it."""
        return bytes(entity.state)

    def apply(self, entity: Entity, event: Event) -> None:
        """Append, or fail."""
        if (event.key, event.version) == self._poison and not self.mended:
            raise Poisoned
        entity.state.append(event.version)

    def undo(self, entity: Entity) -> None:
        """Nothing was done."""


@dataclass(frozen=True)
class Intent:
    """What a transaction is to write, and what the delivery was that it decided."""

    key: int
    version: int
    rows: list[EntityRow]
    changes: Changes
    fence: int
    closes: int = -1
    """The letter that is dealt with."""
    committed: bool = False


@dataclass(frozen=True)
class Parts:
    """What the world is made of: the core's own parts, or broken ones."""

    planner: type[Planner] = Planner
    guard: type[Guard] = Guard
    store: type[MemoryStore] = MemoryStore
    parks: bool = True
    fences: bool = True


INTACT = Parts()


class CoreWorld:
    """A store, the fence of a partition, and what is in the hands of two workers and an operator."""

    def __init__(self, scope: Scope, parts: Parts = INTACT) -> None:
        self.scope = scope
        self.parts = parts
        self.effect = Appending(scope.poison)
        guard = parts.guard(Order.STRICT)
        self.planner = parts.planner(guard, Retry(), Limits(), parts.parks, lambda error: ErrorClass.POISON)
        self.replaying = Replaying(self.planner, 30.0)
        self.store = parts.store()
        self.fence = 0
        self.intents: list[Intent | None] = [None, None, None]
        self.mended = False

    def copy(self) -> CoreWorld:
        """Another world that goes on from here."""
        twin = copy.copy(self)
        twin.intents = list(self.intents)
        old, twin.store = self.store, self.parts.store()
        twin.store.entities, twin.store.held, twin.store.waits = dict(old.entities), dict(old.held), dict(old.waits)
        twin.store.letters, twin.store.open, twin.store.closed = list(old.letters), dict(old.open), set(old.closed)
        return twin

    def take(self, action: Action) -> str:
        """One step. Returns what came of it: the action's own name, unless it is the commit of a transaction."""
        self.effect.mended = self.mended
        what, who = action.what, action.who
        if what == "crash":
            self.intents[who] = None
        elif what == "takeover":
            self.fence += 1
            self.intents[who] = None
        elif what in {"commit", "refused", "mismatch"}:
            return self._commit(who)
        elif what == "settle":
            self.intents[who] = None
        else:
            steps: dict[str, Callable[[Entity, Changes], int | None]] = {
                "deliver": lambda entity, changes: self._decide(entity, changes, action),
                "wake": lambda entity, changes: self._wake(entity, changes, 0.0),
                "expire": lambda entity, changes: self._wake(entity, changes, LATER),
                "replay": self._replay,
                "drain": self._drain,
            }
            self.intents[who] = self._read(action, steps[what])
        return what

    def _read(self, action: Action, work: Callable[[Entity, Changes], int | None]) -> Intent:
        key = str(action.key)
        entity = self.store.load(key) or Entity(key)
        self.effect.loaded(entity)
        changes = Changes(action.who)
        closes = work(entity, changes)
        rows = changes.rows(self.effect.encode, self.planner.guard.remembered)
        fence = 0 if action.who == OPERATOR else self.fence
        return Intent(action.key, action.version, rows, changes, fence, -1 if closes is None else closes)

    def _commit(self, who: int) -> str:
        intent = self.intents[who]
        assert intent is not None
        self.intents[who] = None
        if who != OPERATOR and intent.fence != self.fence and self.parts.fences:
            return "refused"
        try:
            self.store.write(intent.rows, intent.changes)
        except Mismatch:
            return "mismatch"
        if intent.closes >= 0:
            self.store.close(intent.closes)
        if who != OPERATOR and intent.version:
            self.intents[who] = Intent(intent.key, intent.version, [], intent.changes, intent.fence, committed=True)
        return "commit"

    def _decide(self, entity: Entity, changes: Changes, action: Action) -> None:
        event = self.event(action.key, action.version)
        self.planner.decide({entity.key: entity}, [event], self.effect, changes, 0.0)

    def _wake(self, entity: Entity, changes: Changes, now: float) -> None:
        if self.planner.wake(entity, changes, now):
            events = [read_back(row) for row in self.store.held_of(entity.key, 100)]
            self.planner.decide({entity.key: entity}, events, self.effect, changes, now)

    def _replay(self, entity: Entity, changes: Changes) -> int:
        self.mended = self.effect.mended = True
        offset, (_, letter) = next((at, one) for at, one in self.store.open.items() if one[1].key == entity.key)
        event = self.event(int(entity.key), letter.version or 0)
        if self.replaying.judge(entity, event, 0.0) is Verdict.APPLY:
            self.effect.apply(entity, event)
            self.replaying.applied(entity, event, changes, 0.0)
        return offset

    def _drain(self, entity: Entity, changes: Changes) -> None:
        claim = entity.waiting.due_at if entity.waiting else 0.0
        if self.replaying.open(entity, 0.0, claim):
            events = [read_back(row) for row in self.store.held_of(entity.key, 100)]
            self.planner.advance(entity, events, self.effect, changes, 0.0)
            self.replaying.close(entity, changes, 0.0)

    def event(self, key: int, version: int) -> Event:
        """The event of a key and version, always at the same place of the log."""
        name = f"{key}-{version}"
        record = Record(HOME, key * 100 + version, b"%d" % key, name.encode())
        return Event(str(key), version, name, fingerprint(name), None, Slice.of(HOME, [record]), 0)

    def seen(self) -> Any:
        """What the store holds and what is under way, in the words of `protocol`."""
        flights: list[Any] = []
        for intent in self.intents:
            if intent is None:
                flights.append(None)
                continue
            row = intent.rows[0] if intent.rows else None
            fresh = row is None or row.expected == self._revision(row.key)
            writes = None if row is None else (row.version, tuple(row.state or b""))
            flights.append((intent.key, intent.version, writes, fresh, intent.committed, intent.fence))
        return tuple(self._key(str(key)) for key in range(self.scope.keys)), tuple(flights), self.fence

    def _key(self, key: str) -> Key:
        row, waiting = self.store.entities.get(key), self.store.waits.get(key)
        held = frozenset(version for of, version in self.store.held if of == key)
        letters = [letter.version or 0 for _, letter in self.store.open.values() if letter.key == key]
        assert len(letters) < 2
        how = FLOWS
        if waiting is not None:
            how = {Wait.GAP: GAP, Wait.PARKED: PARKED, Wait.REPLAY: REPLAY}[waiting.why]
            if waiting.missing:
                how = MISSING
            elif how == GAP and waiting.due_at == AT_ONCE:
                how = DUE
        return Key(row.version if row else 0, tuple(row.state or b"") if row else (), held, how, sum(letters))

    def _revision(self, key: str) -> int:
        row = self.store.entities.get(key)
        return row.expected + 1 if row else 0
