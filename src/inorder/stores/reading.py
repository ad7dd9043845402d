"""Reads a stream for people and tools: states, letters, parked keys, counts. Never writes.

Long lists are read page by page, so a reader never holds a transaction open beside a running worker; each
page is consistent in itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from inorder.core.order import Order
from inorder.core.waiting import Waiting
from inorder.stores.letter_reading import PAGE, LetterReads
from inorder.stores.rows import LetterRow, OpenRow, Row, StreamRow, WorkerRow, to_letter, to_waiting, to_worker


class Reads(LetterReads):
    """What can be asked of a store's stream. A database brings `_select`, and statements by these names."""

    @abstractmethod
    def _select(self, statement: str, **parameters: Any) -> list[Row]:
        """The rows of one named statement. The stream's number is added to the parameters."""

    @abstractmethod
    def _keys(self, keys: Sequence[str]) -> Any:
        """Several keys as one parameter."""

    def streams(self) -> list[StreamRow]:
        """Every stream of the store, by name."""
        return [StreamRow(name, Order(order), baseline) for name, order, baseline in self._select("streams")]

    def states(self, keys: Sequence[str] | None = None) -> Iterator[tuple[str, int, bytes | None]]:
        """(key, version, state) of these entities that the store has (of all, by default), sorted by key."""
        if keys is not None:
            wanted = sorted(set(keys))
            for at in range(0, len(wanted), PAGE):
                yield from self._select("states_of", keys=self._keys(wanted[at : at + PAGE]))  # type: ignore[misc]
            return
        page = self._select("states_first", most=PAGE)
        while page:
            yield from page  # type: ignore[misc]
            page = self._select("states_next", after=page[-1][0], most=PAGE)

    def letters(
        self, status: str | None = None, reason: str | None = None, key: str | None = None, after: int = 0
    ) -> Iterator[LetterRow]:
        """Dead letters, oldest first, or those of one status (open, resolved, skipped), reason or key."""
        while page := self._select("letters", after=after, status=status, reason=reason, key=key, most=PAGE):
            yield from map(to_letter, page)
            after = page[-1][0]

    def letter(self, number: int) -> LetterRow | None:
        """One dead letter by its id."""
        found = self._select("letter", id=number)
        return to_letter(found[0]) if found else None

    def parked(self) -> Iterator[tuple[str, Waiting]]:
        """The keys that stopped until an operator decides, sorted, and why."""
        page = self._select("parked", after="", most=PAGE)
        while page:
            for row in page:
                yield row[0], to_waiting(row[1:])
            page = self._select("parked", after=page[-1][0], most=PAGE)

    def longest_parked(self, most: int) -> list[tuple[str, Waiting]]:
        """The keys that have been stopped for longest, and why."""
        return [(row[0], to_waiting(row[1:])) for row in self._select("longest_parked", most=most)]

    def waits(self) -> dict[str, tuple[int, float]]:
        """How many keys wait for what, and since when the first of them does."""
        return {row[0]: (row[1], row[2]) for row in self._select("waits")}

    def open_reasons(self) -> list[OpenRow]:
        """Open dead letters by reason."""
        return [OpenRow(*row) for row in self._select("open_reasons")]

    def held_most(self, most: int) -> list[tuple[str, int]]:
        """The keys behind which most events wait, and how many."""
        return [(row[0], row[1]) for row in self._select("held_most", most=most)]

    def workers(self) -> list[WorkerRow]:
        """The workers that have not ended in good order, with their last sign of life, of the last day."""
        return [to_worker(row) for row in self._select("workers")]

    def parked_count(self) -> int:
        """How many keys stopped until an operator decides."""
        return int(self._select("parked_count")[0][0])

    def held_count(self, key: str | None = None) -> int:
        """How many events wait in the store, of one key or of all."""
        return int(self._select("held_count", key=key)[0][0])

    def letter_counts(self) -> dict[str, int]:
        """How many dead letters there are, by status."""
        return dict(self._select("letter_counts"))  # type: ignore[arg-type]
