"""The road of one letter: lock the key, guard, effect, resolve the letter, note it in the audit, in one transaction.

For folds and handlers with `tx`. Nothing here waits, chooses or counts letters: see `driver`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeVar

from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.effect import Outage
from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.planner import Planner
from inorder.core.replaying import Replaying, Verdict
from inorder.core.retry import ErrorClass
from inorder.core.words import describe, message
from inorder.deadletters.letters import Unreadable, planned
from inorder.deadletters.results import COUNTED_AS, OF_VERDICT, Result
from inorder.declaration import Declaration, Kind
from inorder.errors import Mismatch
from inorder.ports import Clock
from inorder.stores.letter_rows import AuditRow, PlanLetter
from inorder.stores.rows import LetterRow
from inorder.worker.blame import explain
from inorder.worker.effects import FoldEffect, Manner, Redo, StoreFailed, TxEffect
from inorder.worker.reading_back import read_back

LEASE_SPARE_S = 15.0
"""How much longer than the handler's own limit a claim of a key lasts."""

Answer = TypeVar("Answer")


class Tried(NamedTuple):
    """What became of a letter, in words, and of which key and version it turned out to be."""

    result: Result
    detail: str
    key: str | None
    version: int | None


class Behind(NamedTuple):
    """What became of events that waited behind a letter."""

    counts: dict[str, int]
    due_at: float | None
    """When more of them are to be decided; None: nothing is left to do for the key."""


class Warrant(NamedTuple):
    """On whose word letters are replayed."""

    plan: int
    actor: str
    reason: str
    claims: dict[str, float]
    """The keys that this replay has claimed, and until when. Shared by its roads."""


class Road(Protocol):
    """What a replay does with one letter, and with what waits behind it."""

    def letter(self, chosen: PlanLetter) -> Tried: ...
    def ready(self, key: str, below: int | None = None) -> int: ...
    def drain(self, key: str, most: int, below: int | None = None) -> Behind: ...
    def release(self, key: str) -> None: ...
    def close(self) -> None: ...


class Gone(Exception):
    """Somebody else dealt with the letter while this transaction ran."""


class BaseRoad:
    """What all kinds of handlers have in common. `store` is the road's own, and closed with it."""

    def __init__(
        self, declared: Declaration, planner: Planner, store: Any, tally: int, clock: Clock, by: Warrant
    ) -> None:
        self.declared = declared
        self.planner = planner
        self.rules = Replaying(planner, declared.limits.handler_s + LEASE_SPARE_S)
        self.store = store
        self.tally = tally
        self.clock = clock
        self.by = by
        self.claims = by.claims
        self._claims: dict[str, float | None] = {}
        """What becomes of claims in the transaction at hand: true once it is committed."""

    @cached_property
    def codec(self) -> JsonCodec:
        """Reads what letters and held events carry."""
        return JsonCodec(self.declared)

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def release(self, key: str) -> None:
        """Leave what still waits for a key to the workers."""
        if self.claims.get(key) is None:
            return

        def go(tx: Any, changes: Changes) -> None:
            entity = self.load(key)
            if entity.waiting is not None and entity.waiting.due_at == self.claims[key]:
                self.rules.release(entity, changes, self.clock.now())
                self.write(tx, changes)

        self.transact(go)
        del self.claims[key]

    def transact(self, work: Callable[[Any, Changes], Answer]) -> Answer:
        """Run `work` in a transaction, anew as long as somebody else is faster."""
        while True:
            changes, self._claims = Changes(self.tally), {}
            with suppress(Mismatch):
                try:
                    with self.store.transaction() as tx:
                        answer = work(tx, changes)
                except StoreFailed as error:
                    raise error.error from error
                for key, until in self._claims.items():
                    if until is None:
                        self.claims.pop(key, None)
                    else:
                        self.claims[key] = until
                return answer

    def load(self, key: str) -> Entity:
        """The entity as the store has it."""
        found: Entity | None = self.store.load([key]).get(key)
        return found or Entity(key, self.planner.guard.baseline)

    def write(self, tx: Any, changes: Changes) -> None:
        """Write what was decided."""
        tx.write(changes.rows(self.encode, self.planner.guard.remembered), changes, {})

    def encode(self, entity: Entity) -> bytes | None:
        """The state as the store keeps it."""
        return entity.stored_state

    def read(self, chosen: PlanLetter) -> tuple[LetterRow, Event | Unreadable]:
        """A letter that is still open and as it was planned, and its event. Raises `Gone`."""
        row: LetterRow | None = self.store.letter(chosen.letter)
        if row is None or row.status != "open":
            raise Gone
        return row, planned(self.codec, row, chosen.edit, self.store.last_edit(chosen.letter))

    def gone(self, number: int) -> Tried:
        """Somebody else dealt with a letter."""
        row: LetterRow | None = self.store.letter(number)
        key, version = (row.letter.key, row.letter.version) if row is not None else (None, None)
        detail = f"is {row.status}: {row.note or 'no note'}" if row is not None else "is not there any more"

        def go(tx: Any, changes: Changes) -> None:
            self.note(tx, number, Tried(Result.RESOLVED, detail, key, version))

        self.transact(go)
        return Tried(Result.RESOLVED, detail, key, version)

    def settle(self, tx: Any, row: LetterRow, event: Event, verdict: Verdict, changes: Changes) -> Tried:
        """Write what the guard has said of a letter, and what followed."""
        result, now = OF_VERDICT[verdict], self.clock.now()
        detail = self._words(event, verdict)
        self.rules.count(row.tally, COUNTED_AS[row.letter.reason], verdict, changes)
        if changes:
            self.write(tx, changes)
        note = f"{result} by plan {self.by.plan}: {self.by.reason}"
        if result.final and not tx.close_letter(row.id, "resolved", str(result), note, now):
            raise Gone
        tried = Tried(result, detail, event.key, event.version)
        self.note(tx, row.id, tried)
        return tried

    def failed(self, tx: Any, row: LetterRow, event: Event, error: BaseException) -> Tried:
        """The handler failed: the letter stays, and its key stays parked."""
        if self.planner.classify(error) is ErrorClass.INFRASTRUCTURE:
            raise Outage(message(error)) from error
        detail = describe(error)
        if not tx.letter_failed(row.id, detail, explain(error), self.clock.now()):
            raise Gone
        tried = Tried(Result.FAILED, detail, event.key, event.version)
        self.note(tx, row.id, tried)
        return tried

    def unreadable(self, tx: Any, row: LetterRow, found: Unreadable) -> Tried:
        """No event can be read from a letter."""
        tried = Tried(Result.UNREADABLE, found.reason, row.letter.key, row.letter.version)
        self.note(tx, row.id, tried)
        return tried

    def note(self, tx: Any, number: int, tried: Tried) -> None:
        """The plan and the audit say what became of a letter."""
        now = self.clock.now()
        tx.plan_letter_done(self.by.plan, number, str(tried.result), tried.detail, now)
        tx.add_audit(
            AuditRow(
                at=now,
                actor=self.by.actor,
                action="replay",
                reason=self.by.reason,
                plan=self.by.plan,
                letter=number,
                key=tried.key,
                version=tried.version,
                outcome=str(tried.result),
                detail=tried.detail,
            )
        )

    def ready(self, key: str, below: int | None = None) -> int:
        """How many events wait for a key that `drain` could decide, as far as one can tell without trying."""
        entity = BaseRoad.load(self, key)
        if not self.rules.open(entity, self.clock.now(), self.claims.get(key)):
            return 0
        return sum(below is None or version < below for version in entity.held)

    def waiting_events(self, entity: Entity, most: int, below: int | None) -> list[Event]:
        """The first of what waits for a key, as far as it comes before version `below`."""
        rows = self.store.held(entity.key, most)
        rows = [row for row in rows if row.version in entity.held and (below is None or row.version < below)]
        return read_back(self.codec, rows, self.barred)

    @property
    def barred(self) -> dict[tuple[str, int], Exception]:
        """Events that fail without being tried, as they can no longer be decoded."""
        raise NotImplementedError

    def _claimed(self, key: str, until: float | None) -> None:
        self._claims[key] = until

    def _words(self, event: Event, verdict: Verdict) -> str:
        if verdict is Verdict.APPLY:
            return f"version {event.version} took effect"
        entity = self.load(event.key)
        return {
            Verdict.DUPLICATE: f"version {event.version} had taken effect already",
            Verdict.STALE: f"version {event.version} is no longer needed: the entity is at version {entity.version}",
            Verdict.GAP: f"version {entity.version + 1} is missing before version {event.version}",
            Verdict.CONFLICT: f"version {event.version} took effect under another event id than {event.id!r}",
            Verdict.LATE: f"version {event.version} was skipped by an operator",
            Verdict.BUSY: "the key is just being retried, or another replay has it",
        }[verdict]


class BatchRoad(BaseRoad):
    """For folds and handlers with `tx`: the effect is in the transaction too."""

    def __init__(
        self, declared: Declaration, planner: Planner, store: Any, tally: int, clock: Clock, by: Warrant
    ) -> None:
        super().__init__(declared, planner, store, tally, clock, by)
        self.effect = FoldEffect(declared) if declared.kind is Kind.FOLD else TxEffect(declared)
        # A commit that is refused would be no letter's failure: what can be checked is checked before it.
        self.effect.late = True
        if isinstance(self.effect, TxEffect):
            self.effect.manner = Manner.CAREFULLY

    def close(self) -> None:
        """See `BaseRoad`."""
        self.effect.close()
        super().close()

    @property
    def barred(self) -> dict[tuple[str, int], Exception]:
        """See `BaseRoad`."""
        return self.effect.barred

    def encode(self, entity: Entity) -> bytes | None:
        """The state as the store keeps it."""
        return self.effect.encode(entity)

    def load(self, key: str) -> Entity:
        """The entity as the store has it, its state decoded."""
        entity = super().load(key)
        self.effect.loaded(entity)
        return entity

    def transact(self, work: Callable[[Any, Changes], Answer]) -> Answer:
        """See `BaseRoad`. An event that spoils the transaction itself fails without being tried, in another one."""
        while True:
            try:
                answer = super().transact(work)
            except Redo as redo:
                self.effect.blame(redo)
            else:
                self.effect.written()
                return answer

    def letter(self, chosen: PlanLetter) -> Tried:
        """Put one letter through. Raises `Outage` and `Unreachable`: then nothing has happened."""
        try:
            return self.transact(lambda tx, changes: self._letter(tx, chosen, changes))
        except Gone:
            return self.gone(chosen.letter)

    def _letter(self, tx: Any, chosen: PlanLetter, changes: Changes) -> Tried:
        row, event = self.read(chosen)
        if isinstance(event, Unreadable):
            return self.unreadable(tx, row, event)
        entity, now = self.load(event.key), self.clock.now()
        verdict = self.rules.judge(entity, event, now, self.claims.get(event.key))
        if verdict is Verdict.APPLY:
            self._in(tx)
            try:
                self.effect.apply(entity, event)
            except Exception as error:
                return self.failed(tx, row, event, error)
            claim = self.rules.applied(entity, event, changes, now)
            tried = self.settle(tx, row, event, verdict, changes)
            self._claimed(event.key, claim)
            return tried
        return self.settle(tx, row, event, verdict, changes)

    def drain(self, key: str, most: int, below: int | None = None) -> Behind:
        """Decide the first of the events that wait for a key, as a worker would."""
        return self.transact(lambda tx, changes: self._drain(tx, key, most, below, changes))

    def _drain(self, tx: Any, key: str, most: int, below: int | None, changes: Changes) -> Behind:
        entity, now = self.load(key), self.clock.now()
        if not self.rules.open(entity, now, self.claims.get(key)):
            self._claimed(key, None)
            return Behind({}, None)
        events = self.waiting_events(entity, most, below)
        if not events and below is not None:
            return Behind({}, None)
        self._in(tx)
        self.planner.advance(entity, events, self.effect, changes, now)
        found = self.rules.close(entity, changes, now)
        self.write(tx, changes)
        self._claimed(key, found[0] if found else None)
        return Behind(outcomes(changes), found[1] if found else None)

    def _in(self, tx: Any) -> None:
        if isinstance(self.effect, TxEffect):
            self.effect.tx = tx


def outcomes(changes: Changes) -> dict[str, int]:
    """How many events came to each outcome."""
    found: dict[str, int] = {}
    for (_, name), count in changes.counts.items():
        if count > 0:
            found[name] = found.get(name, 0) + count
    return found
