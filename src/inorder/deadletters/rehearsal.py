"""What a replay would do, tried in transactions that are rolled back: the state is the same after as before.

Handlers without `tx` have their effects elsewhere and cannot be rehearsed: of them only the guard's word is given.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import msgspec

from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.order import Order
from inorder.core.planner import Planner
from inorder.core.replaying import Replaying, Verdict
from inorder.core.retry import ErrorClass
from inorder.core.waiting import AT_ONCE, NEVER
from inorder.core.words import describe, message
from inorder.deadletters.letters import Unreadable, planned
from inorder.deadletters.results import MEANING, OF_VERDICT, Result
from inorder.declaration import Declaration, Kind
from inorder.errors import Mismatch, Unavailable
from inorder.stores.letter_rows import PlanLetter
from inorder.worker.effects import FoldEffect, Manner, Redo, StoreFailed, TxEffect
from inorder.worker.reading_back import read_back

MOST_BEHIND = 100
"""Events that are rehearsed of those that wait behind one key."""
NOT_REHEARSED = "not tried: its effects are elsewhere and cannot be undone"


class Rehearsed(msgspec.Struct, kw_only=True):
    """What was found."""

    letters: list[PlanLetter]
    """The letters given, each with a forecast."""
    behind: int = 0
    """Events that wait behind the letters and were tried."""
    behind_failing: int = 0
    """Of these, the ones that would fail and park their key again, one a key."""
    event_s: float = 0.0
    """How long one event took."""


class _Undone(Exception):
    """Ends a rehearsal's transaction, so that nothing of it stays."""


class Rehearsal:
    """Rehearses letters, one key a transaction. `store` is the caller's."""

    def __init__(self, declared: Declaration, planner: Planner, store: Any, now: float) -> None:
        self._declared = declared
        self._planner = planner
        self._store = store
        self._now = now
        self._rules = Replaying(planner, 0.0)
        self._codec = JsonCodec(declared)
        self._effect = FoldEffect(declared) if declared.kind is Kind.FOLD else TxEffect(declared)
        self._effect.late = True
        self._effect_of = declared.kind is not Kind.CALL
        self._stops_key = declared.parks or declared.order is Order.STRICT

    def run(self, letters: Sequence[PlanLetter]) -> Rehearsed:
        """Rehearse these. Raises `Unreachable`, and `Unavailable` when what a handler needs is down."""
        found = Rehearsed(letters=[])
        by_key: dict[Any, list[PlanLetter]] = {}
        for letter in letters:
            by_key.setdefault(letter.key if letter.key is not None else letter.letter, []).append(letter)
        began = time.perf_counter()
        with closing(self._effect):
            for group in by_key.values():
                self._key(group, found)
        events = len(letters) + found.behind
        found.event_s = (time.perf_counter() - began) / events if events else 0.0
        found.letters.sort(key=lambda letter: letter.place)
        return found

    def _key(self, letters: list[PlanLetter], found: Rehearsed) -> None:
        while True:
            of_key = Rehearsed(letters=[])
            try:
                with self._store.transaction() as tx:
                    if isinstance(self._effect, TxEffect):
                        self._effect.tx, self._effect.manner = tx, Manner.CAREFULLY
                    self._rehearse(letters, of_key)
                    raise _Undone
            except _Undone:
                break
            except Redo as redo:
                # It spoils the transaction itself: once more, and it fails without being tried.
                self._effect.blame(redo)
            except StoreFailed as error:
                if not isinstance(error.error, Mismatch):
                    raise error.error from error
        self._effect.written()
        found.letters += of_key.letters
        found.behind += of_key.behind
        found.behind_failing += of_key.behind_failing

    def _rehearse(self, letters: list[PlanLetter], found: Rehearsed) -> None:
        stopped = False
        entities: dict[str, Entity] = {}
        for letter in letters:
            if stopped:
                found.letters.append(self._said(letter, Result.BEHIND, MEANING[Result.BEHIND]))
                continue
            event = self._read(letter)
            if isinstance(event, Unreadable):
                found.letters.append(self._said(letter, Result.UNREADABLE, event.reason))
                continue
            if event is None:
                found.letters.append(self._said(letter, Result.RESOLVED, MEANING[Result.RESOLVED]))
                continue
            entity = entities.get(event.key) or self._load(event.key)
            entities[event.key] = entity
            self._behind(entity, event.version, found)
            result, detail = self._letter(entity, event)
            stopped = result is Result.FAILED and self._stops_key
            found.letters.append(self._said(letter, result, detail))
        for entity in entities.values():
            if not stopped:
                self._behind(entity, None, found)

    def _read(self, letter: PlanLetter) -> Event | Unreadable | None:
        row = self._store.letter(letter.letter)
        if row is None or row.status != "open":
            return None
        return planned(self._codec, row, letter.edit, self._store.last_edit(letter.letter))

    def _load(self, key: str) -> Entity:
        entity: Entity = self._store.load([key]).get(key) or Entity(key, self._planner.guard.baseline)
        self._effect.loaded(entity)
        return entity

    def _letter(self, entity: Entity, event: Event) -> tuple[Result, str]:
        verdict = self._rules.judge(entity, event, self._now, self._claim(entity))
        if verdict is not Verdict.APPLY:
            return OF_VERDICT[verdict], MEANING[OF_VERDICT[verdict]]
        detail = "would take effect"
        if self._effect_of:
            error = self._try(entity, event)
            if error is not None:
                return Result.FAILED, describe(error)
        else:
            detail = NOT_REHEARSED
        self._rules.applied(entity, event, Changes(0), self._now)
        return Result.APPLIED, detail

    def _try(self, entity: Entity, event: Event) -> Exception | None:
        try:
            self._effect.apply(entity, event)
            self._effect.encode(entity)
        except Redo as redo:
            raise Redo(event, redo.error) from redo
        except Exception as error:
            self._effect.undo(entity)
            if self._planner.classify(error) is ErrorClass.INFRASTRUCTURE:
                raise Unavailable(f"nothing was rehearsed past this: {message(error)}") from error
            return error
        return None

    def _claim(self, entity: Entity) -> float | None:
        """The claim that the rehearsal's own steps have made, in memory only."""
        return entity.waiting.due_at if entity.waiting is not None and entity.waiting.due_at == self._now else None

    def _behind(self, entity: Entity, below: int | None, found: Rehearsed) -> None:
        """Try what waits for a key, as far as it comes before `below`."""
        if not self._rules.open(entity, self._now, self._claim(entity)):
            return
        rows = [row for row in self._store.held(entity.key, MOST_BEHIND) if row.version in entity.held]
        events = read_back(self._codec, rows, self._effect.barred)
        for event in events:
            if below is not None and event.version >= below:
                break
            if not self._planner.admit(entity, event, Changes(0), self._now):
                continue
            found.behind += 1
            barred = self._effect.barred.get((event.key, event.version))
            error = self._try(entity, event) if self._effect_of else barred
            if error is not None:
                found.behind_failing += 1
                assert entity.waiting is not None
                entity.waiting = msgspec.structs.replace(entity.waiting, due_at=NEVER)
                return
            self._planner.applied(entity, event, Changes(0))
        if entity.waiting is not None:
            entity.waiting = msgspec.structs.replace(entity.waiting, due_at=AT_ONCE)

    def _said(self, letter: PlanLetter, result: Result, detail: str) -> PlanLetter:
        return msgspec.structs.replace(letter, forecast=str(result), forecast_detail=detail)
