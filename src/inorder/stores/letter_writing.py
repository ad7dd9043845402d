"""Writes what operators and replays do with letters, within a transaction that is the caller's.

Any store whose transaction runs named statements can have it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from inorder.core.rows import Letter
from inorder.stores.letter_rows import AuditRow, PlanLetter, PlanRow
from inorder.stores.rows import Row, from_letter

_COLUMNS = [
    "tally",
    "print",
    "reason",
    "detail",
    "key",
    "version",
    "event_id",
    "error",
    "attempts",
    "first_at",
    "last_at",
    "topic",
    "partition",
    "offset",
    "raw_key",
    "raw_value",
    "headers",
    "timestamp_ms",
]


class LetterWrites(ABC):
    """What a transaction can do to the letters, plans and audit of its stream."""

    @abstractmethod
    def _run(self, statement: str, many: Sequence[Mapping[str, Any]]) -> tuple[int, list[Row]]:
        """Run one named statement for each set of values; the rows changed, and the rows of the last one.

        The stream's number is added to the values.
        """

    def close_letter(self, number: int, status: str, outcome: str, note: str, at: float) -> bool:
        """An open letter is dealt with. False: it is not open, and nothing is changed."""
        values = {"id": number, "status": status, "outcome": outcome, "note": note, "at": at}
        return self._run("letter_close", [values])[0] == 1

    def letter_failed(self, number: int, detail: str, error: str | None, at: float) -> bool:
        """An open letter was tried once more, in vain. False: it is not open."""
        return self._run("letter_failed", [{"id": number, "detail": detail, "error": error, "at": at}])[0] == 1

    def import_letter(self, letter: Letter, tally: int) -> bool:
        """Take over a dead letter that others wrote. False: the store has it already, and nothing is changed."""
        values = dict(zip(_COLUMNS, from_letter(letter, tally)[: len(_COLUMNS)], strict=True))
        return bool(self._run("letter_import", [values])[1])

    def last_letter(self) -> int:
        """The number of the last letter: none that is lower will come."""
        return int(self._run("letter_last", [{}])[1][0][0])

    def set_exported(self, destination: str, letter: int) -> None:
        """Letters up to this one have been copied there."""
        self._run("export_set", [{"destination": destination, "letter": letter}])

    def add_edit(self, letter: int, value: bytes, actor: str, reason: str, at: float) -> int:
        """Put a payload in place of a letter's own, which is kept. Returns the edit's number."""
        values = {"letter": letter, "at": at, "actor": actor, "reason": reason, "value": value}
        return int(self._run("edit_insert", [values])[1][0][0])

    def add_plan(self, draft: PlanRow, letters: Sequence[PlanLetter]) -> int:
        """Freeze a plan; returns its number, which the draft does not have yet."""
        values = msgspec.structs.asdict(draft) | {"selection": msgspec.json.encode(draft.selection).decode()}
        plan = int(self._run("plan_insert", [values])[1][0][0])
        fields = ("place", "letter", "key", "version", "edit", "forecast", "forecast_detail")
        rows = [{"plan": plan, **{name: getattr(letter, name) for name in fields}} for letter in letters]
        if rows:
            self._run("plan_letter_insert", rows)
        return plan

    def plan_letter_done(self, plan: int, letter: int, result: str, detail: str | None, at: float) -> None:
        """What became of a letter of a plan."""
        values = {"plan": plan, "letter": letter, "result": result, "detail": detail, "at": at}
        self._run("plan_letter_done", [values])

    def add_audit(self, row: AuditRow) -> None:
        """Note for ever what is done in this transaction."""
        values = msgspec.structs.asdict(row)
        del values["id"]
        self._run("audit_insert", [values])
