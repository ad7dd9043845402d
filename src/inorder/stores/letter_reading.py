"""Reads what operators need of a stream: groups of letters, edits, plans, the audit. Never writes.

Any store that reads by named statements can have it: see `stores.reading`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from inorder.core.event import Partition
from inorder.core.waiting import Waiting
from inorder.stores.letter_rows import (
    AuditRow,
    EditRow,
    KeyRow,
    PlanLetter,
    PlanRow,
    ReasonRow,
    to_audit,
    to_edit,
    to_key,
    to_plan,
    to_plan_letter,
    to_reason,
)
from inorder.stores.rows import Row, to_waiting

PAGE = 1_000
"""Rows read at once."""


class LetterReads(ABC):
    """What a store says of letters, plans and the audit of its stream."""

    @abstractmethod
    def _select(self, statement: str, **parameters: Any) -> list[Row]:
        """The rows of one named statement. The stream's number is added to the parameters."""

    def letters_by_reason(
        self, status: str | None = None, reason: str | None = None, key: str | None = None, since: float = 0.0
    ) -> list[ReasonRow]:
        """Letters by reason and kind of error, the most frequent first."""
        rows = self._select("letter_reasons", status=status, reason=reason, key=key, since=since)
        return [to_reason(row) for row in rows]

    def letters_by_key(
        self,
        most: int,
        status: str | None = None,
        reason: str | None = None,
        key: str | None = None,
        since: float = 0.0,
    ) -> list[KeyRow]:
        """Letters by key, those that failed first before others."""
        rows = self._select("letter_by_key", most=most, status=status, reason=reason, key=key, since=since)
        return [to_key(row) for row in rows]

    def waiting_counts(self) -> dict[str, int]:
        """How many keys wait, by why they do."""
        return {str(why): int(keys) for why, keys in self._select("waiting_counts")}

    def waiting_alone(self, most: int, key: str | None = None, since: float = 0.0) -> dict[str, Waiting]:
        """Keys that wait and have no open letter: parked ones first, each by how long it has waited."""
        rows = self._select("waiting_alone", most=most, key=key, since=since)
        return {str(row[0]): to_waiting(row[1:]) for row in rows}

    def open_letters_of(self, key: str) -> list[tuple[int, int | None, str]]:
        """Number, version and reason of the open letters of a key."""
        return [(row[0], row[1], row[2]) for row in self._select("letter_keys", key=key)]

    def held_versions(self, key: str) -> tuple[int, int | None, int | None]:
        """How many events wait behind a key, the lowest version and the highest."""
        row = self._select("held_versions", key=key)[0]
        return row[0], row[1], row[2]

    def edits(self, letter: int) -> list[EditRow]:
        """The payloads written in place of a letter's own, oldest first."""
        return [to_edit(row) for row in self._select("edits", letter=letter)]

    def edited(self, letter: int) -> bytes | None:
        """The payload that is replayed instead of the one received, if an operator wrote one."""
        found = self.last_edit(letter)
        return None if found is None else found[1]

    def last_edit(self, letter: int) -> tuple[int, bytes] | None:
        """The same, with the number of the edit."""
        rows = self._select("edit_last", letter=letter)
        return (rows[0][0], bytes(rows[0][1])) if rows else None

    def exported(self, destination: str) -> int:
        """The last letter that was copied there; 0 if none was."""
        rows = self._select("export_at", destination=destination)
        return int(rows[0][0]) if rows else 0

    def plans(self, most: int = PAGE) -> list[PlanRow]:
        """Replay plans, newest first."""
        return [to_plan(row) for row in self._select("plans", most=most)]

    def plan(self, number: int) -> PlanRow | None:
        """One replay plan."""
        rows = self._select("plan", id=number)
        return to_plan(rows[0]) if rows else None

    def stream_of_plan(self, number: int) -> str | None:
        """Which stream of the store a plan is for."""
        rows = self._select("plan_stream", id=number)
        return str(rows[0][0]) if rows else None

    def stream_of_letter(self, number: int) -> str | None:
        """Which stream of the store a letter belongs to."""
        rows = self._select("letter_stream", id=number)
        return str(rows[0][0]) if rows else None

    def plan_letters(self, plan: int) -> Iterator[PlanLetter]:
        """The letters of a plan, in the order of the replay."""
        after = -1
        while page := self._select("plan_letters", plan=plan, after=after, most=PAGE):
            yield from map(to_plan_letter, page)
            after = page[-1][0]

    def plan_results(self, plan: int) -> dict[str | None, int]:
        """How many letters of a plan came to each result; None: not tried yet."""
        return dict(self._select("plan_results", plan=plan))  # type: ignore[arg-type]

    def plan_forecasts(self, plan: int) -> dict[str | None, int]:
        """What the rehearsal said of how many letters of a plan."""
        return dict(self._select("plan_forecasts", plan=plan))  # type: ignore[arg-type]

    def audit(
        self, plan: int | None = None, letter: int | None = None, key: str | None = None, since: float = 0.0
    ) -> Iterator[AuditRow]:
        """What was done, oldest first."""
        after = 0
        wanted = {"plan": plan, "letter": letter, "key": key, "since": since, "most": PAGE}
        while page := self._select("audit", after=after, **wanted):
            yield from map(to_audit, page)
            after = page[-1][0]

    def overdue(self, now: float, partitions: Sequence[Partition], most: int = PAGE) -> dict[str, Waiting]:
        """Keys of these partitions whose time has come: whoever was to wake them may be gone."""
        found = {str(row[0]): to_waiting(row[1:]) for row in self._select("overdue", now=now, most=most)}
        wanted = set(partitions)
        return {key: waiting for key, waiting in found.items() if waiting.home in wanted}

    def retried(self, most: int) -> dict[str, Waiting]:
        """How keys wait that are to be tried again, wherever they stopped; the last of them first."""
        return {str(row[0]): to_waiting(row[1:]) for row in self._select("retried", most=most)}

    def fence_of(self, partition: Partition) -> int:
        """The fence of the partition's owner; 0 if it never had one."""
        rows = self._select("fence_of", topic=partition.topic, partition=partition.number)
        return int(rows[0][0]) if rows else 0

    def open_letters(self, most: int) -> int:
        """How many letters are open, counted up to `most`."""
        return int(self._select("letters_open", most=most)[0][0])

    def held_events(self, most: int) -> int:
        """How many events wait, counted up to `most`."""
        return int(self._select("held_events", most=most)[0][0])

    def crowded_keys(self, most: int) -> set[str]:
        """The keys that have `most` open letters or more."""
        return {str(row[0]) for row in self._select("letters_crowded", most=most)}
