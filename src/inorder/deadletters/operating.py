"""What an operator does to letters by hand: a new payload, or a version that will never be applied. All of it audited.

`look` is an open store of the stream. Each call is one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import fingerprint
from inorder.core.guard import Guard
from inorder.core.limits import Limits
from inorder.core.order import Order, Outcome
from inorder.core.planner import Planner
from inorder.core.replaying import Replaying
from inorder.core.retry import ErrorClass, Retry
from inorder.core.rows import Reason
from inorder.core.waiting import NEVER, Wait
from inorder.deadletters.letters import Unreadable, event_of
from inorder.declaration import declaration_of
from inorder.errors import InorderError, Mismatch, NotFound, UsageError
from inorder.stores.letter_rows import AuditRow
from inorder.stores.rows import LetterRow


class Operator(NamedTuple):
    """Who acts, why, and when."""

    actor: str
    reason: str
    now: float


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """What skipping came to."""

    letter: int | None
    key: str | None
    version: int | None
    tombstone: bool
    """Whether the version counts as never to come from now on. Else the letter is closed, and that is all."""
    behind: int
    """Events that waited behind it and go on with the next worker that looks, within seconds."""
    detail: str


def edit(look: Any, number: int, value: bytes, by: Operator, function: Callable[..., Any] | None = None) -> str:
    """Put a payload in place of a letter's own, which is kept. Returns what it would be read as.

    With the consumer's function, an event must be readable from it, and be the one it was received as.
    """
    row: LetterRow | None = look.letter(number)
    if row is None:
        raise NotFound(f"stream {look.stream} has no letter {number}")
    if row.status != "open":
        raise UsageError(f"letter {number} is {row.status} ({row.note}): only open letters are edited")
    read_as = "not checked against the consumer"
    if function is not None:
        found = event_of(JsonCodec(declaration_of(function)), row, value)
        if isinstance(found, Unreadable):
            raise UsageError(f"no event can be read from the new payload: {found.reason}")
        read_as = f"key {found.key}, version {found.version}, id {found.id}"
    else:
        try:
            json.loads(value)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the new payload is not JSON: {error}") from None
    with look.transaction() as tx:
        edited = tx.add_edit(number, value, by.actor, by.reason, by.now)
        detail = f"edit {edited}: {len(row.letter.record.value or b'')} bytes received, {len(value)} bytes now"
        tx.add_audit(_row(by, "edit", row, detail=detail))
    return read_as


def skip_letter(look: Any, number: int, by: Operator) -> Skipped:
    """Say that the event of a letter will never be applied. Under strict order its key goes on past it."""
    row: LetterRow | None = look.letter(number)
    if row is None:
        raise NotFound(f"stream {look.stream} has no letter {number}")
    if row.status != "open":
        raise UsageError(f"letter {number} is {row.status} already: {row.note}")
    letter = row.letter
    if letter.key is None or letter.version is None or letter.reason is not Reason.FAILED:
        with look.transaction() as tx:
            _close(tx, row, by)
            why = "its key is not known" if letter.key is None else f"a {letter.reason} stops no key"
            tx.add_audit(_row(by, "skip", row, outcome="closed", detail=why))
        return Skipped(
            letter=number,
            key=letter.key,
            version=letter.version,
            tombstone=False,
            behind=0,
            detail=f"the letter is closed; {why}, so nothing else changes",
        )
    return _tombstone(look, letter.key, letter.version, row, by)


def skip_version(look: Any, key: str, version: int, by: Operator) -> Skipped:
    """Say that a version of a key will never come: one that is missing, or whose event is an open letter.

    Raises `NotFound` for a key of which nothing has come: it would be another than the one that is meant.
    """
    letters = look.open_letters_of(key)
    for number, of, reason in letters:
        if of == version and reason == Reason.FAILED:
            return skip_letter(look, number, by)
    if not letters and key not in look.load([key]):
        raise NotFound(f"stream {look.stream} has neither open letter nor key {key!r}")
    return _tombstone(look, key, version, None, by)


def _tombstone(look: Any, key: str, version: int, row: LetterRow | None, by: Operator) -> Skipped:
    rules = _rules(look)
    while True:
        with suppress(Mismatch), look.transaction() as tx:
            changes = Changes(0)
            entity: Entity = look.load([key]).get(key) or Entity(key, rules.planner.guard.baseline)
            covered = _check(rules.planner.guard.order, entity, version, row, by.now)
            if covered is None:
                _give_up_redelivery(look, entity, row, changes)
                rules.skipped(entity, version, changes, by.now)
                tx.write(changes.rows(lambda one: one.stored_state, rules.planner.guard.remembered), changes, {})
            if row is not None:
                _close(tx, row, by)
            behind = len(entity.held)
            detail = covered or f"version {version} will never be applied; {behind} events behind it go on"
            tx.add_audit(
                AuditRow(
                    at=by.now,
                    actor=by.actor,
                    action="skip",
                    reason=by.reason,
                    letter=row.id if row is not None else None,
                    key=key,
                    version=version,
                    outcome="closed" if covered else "skipped",
                    detail=detail,
                )
            )
            return Skipped(
                letter=row.id if row is not None else None,
                key=key,
                version=version,
                tombstone=covered is None,
                behind=0 if covered else behind,
                detail=detail,
            )


def _check(order: Order, entity: Entity, version: int, row: LetterRow | None, now: float) -> str | None:
    """Raises when the version cannot be skipped; says why nothing but the letter needs to be closed, if so."""
    waiting, following = entity.waiting, entity.version + 1
    if order is Order.UNGUARDED:
        return "an unguarded stream has no versions to skip: the letter is closed"
    if waiting is not None and waiting.due_at not in {NEVER, 0.0} and waiting.due_at > now:
        if waiting.why is Wait.RETRY:
            raise UsageError(f"key {entity.key} is just being retried: wait until it is parked")
        if waiting.why in {Wait.REPLAY, Wait.PARKED}:
            raise InorderError(f"key {entity.key} is just being replayed by somebody else: try again in a minute")
    if version <= entity.version or version in entity.ranges:
        if row is None:
            raise UsageError(f"version {version} of key {entity.key} is covered: the entity is at {entity.version}")
        return f"version {version} is covered already: the entity is at version {entity.version}"
    if order is Order.STRICT and version > following:
        raise UsageError(f"key {entity.key} waits for version {following}: skip or replay that one first")
    if row is None and order is not Order.STRICT:
        raise UsageError(f"a stream of order {order} waits for no version: skip a letter by its number")
    if row is None and version in entity.held:
        raise UsageError(f"version {version} of key {entity.key} is there, and waits: it is not missing")
    return None


def _give_up_redelivery(look: Any, entity: Entity, row: LetterRow | None, changes: Changes) -> None:
    """The event of a skipped letter may have been delivered again, and wait: it goes the same way."""
    if row is None or row.letter.version is None or row.letter.event_id is None:
        return
    version = row.letter.version
    if entity.held.get(version) != fingerprint(row.letter.event_id):
        return
    for held in look.held(entity.key, len(entity.held)):
        if held.version == version:
            changes.count(held.outcome, -1, held.receiver)
            changes.count(Outcome.DUPLICATE, 1, held.receiver)
            changes.give_up_place(entity.key, version)
            del entity.held[version]


def _rules(look: Any) -> Replaying:
    """The rules of a stream as the store knows it: no handler is needed to skip."""
    found = next(row for row in look.streams() if row.name == look.stream)
    guard = Guard(found.order, found.baseline)
    return Replaying(Planner(guard, Retry(), Limits(), True, lambda error: ErrorClass.POISON), 0.0)


def _close(tx: Any, row: LetterRow, by: Operator) -> None:
    if not tx.close_letter(row.id, "skipped", "skipped", f"skipped by {by.actor}: {by.reason}", by.now):
        raise InorderError(f"somebody else has just dealt with letter {row.id}")


def _row(by: Operator, action: str, row: LetterRow, outcome: str | None = None, detail: str | None = None) -> AuditRow:
    return AuditRow(
        at=by.now,
        actor=by.actor,
        action=action,
        reason=by.reason,
        letter=row.id,
        key=row.letter.key,
        version=row.letter.version,
        outcome=outcome,
        detail=detail,
    )
