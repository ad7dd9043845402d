"""What the tables of dead letters, replay plans and the audit hold, as values. Never runs a statement."""

from __future__ import annotations

from typing import Any

import msgspec

from inorder.stores.rows import Row


class ReasonRow(msgspec.Struct, frozen=True, kw_only=True):
    """The letters of one reason and kind of error, for a first look."""

    reason: str
    kind: str
    letters: int
    keys: int
    first_at: float
    last_at: float
    first_id: int
    example: str


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """The letters of one key; of one partition, where their key could not be read."""

    key: str | None
    letters: int
    first_version: int | None
    first_at: float
    last_at: float
    first_id: int
    partition: str


class EditRow(msgspec.Struct, frozen=True, kw_only=True):
    """A payload that an operator wrote in place of a letter's own."""

    id: int
    at: float
    actor: str
    reason: str
    value: bytes


class PlanRow(msgspec.Struct, frozen=True, kw_only=True):
    """A replay plan: made once, never changed. Its letters are rows of their own."""

    id: int = 0
    handler: str
    code_version: str | None
    made_at: float
    actor: str
    reason: str
    selection: dict[str, Any]
    """What the letters were chosen by, and what the rehearsal found beside the letters."""
    held: int = 0
    """Events that waited behind the plan's keys when it was made."""
    event_s: float = 0.0
    """How long the rehearsal took for one event."""


class PlanLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A letter's place in a plan, what the rehearsal said of it, and what became of it."""

    place: int
    letter: int
    key: str | None
    version: int | None
    edit: int | None = None
    """The edit in force when the plan was made: a later one is not what was planned."""
    forecast: str | None = None
    forecast_detail: str | None = None
    result: str | None = None
    detail: str | None = None
    tried_at: float | None = None


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an operator, or a replay on an operator's word, has done."""

    id: int = 0
    at: float
    actor: str
    action: str
    reason: str
    plan: int | None = None
    letter: int | None = None
    key: str | None = None
    version: int | None = None
    outcome: str | None = None
    detail: str | None = None


def to_reason(row: Row) -> ReasonRow:
    """From: reason, kind, letters, keys, first_at, last_at, first id, example."""
    return ReasonRow(**dict(zip(ReasonRow.__struct_fields__, row, strict=True)))


def to_key(row: Row) -> KeyRow:
    """From: key, letters, first version, first_at, last_at, first id, topic, partition."""
    named = zip(KeyRow.__struct_fields__, (*row[:6], f"{row[6]}/{row[7]}"), strict=True)
    return KeyRow(**dict(named))


def to_edit(row: Row) -> EditRow:
    """From: id, at, actor, reason, value."""
    return EditRow(id=row[0], at=row[1], actor=row[2], reason=row[3], value=bytes(row[4]))


def to_plan(row: Row) -> PlanRow:
    """From: id, handler, code version, made_at, actor, reason, selection, held, event_s."""
    named = dict(zip(PlanRow.__struct_fields__, row, strict=True))
    return PlanRow(**{**named, "selection": msgspec.json.decode(named["selection"])})


def to_plan_letter(row: Row) -> PlanLetter:
    """From the columns in the order of the fields."""
    return PlanLetter(**dict(zip(PlanLetter.__struct_fields__, row, strict=True)))


def to_audit(row: Row) -> AuditRow:
    """From the columns in the order of the fields."""
    return AuditRow(**dict(zip(AuditRow.__struct_fields__, row, strict=True)))
