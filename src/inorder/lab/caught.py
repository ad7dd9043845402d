"""Which mechanism caught which class of disorder, and how often: counted in the history of a run, never assumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import pairwise

from inorder.lab.disorder import Class
from inorder.lab.history import History, Receipt
from inorder.lab.stream import Delivery


class Mechanism(StrEnum):
    """What keeps disorder from becoming a wrong state."""

    LANE = "partition_or_lane"
    """Events of one entity that a worker had together were kept in line; early ones were sorted in memory."""
    IDEMPOTENCE = "idempotence"
    """The event had taken effect, or waited, already: skipped."""
    HOLD = "hold"
    """The event was early: kept in the store until its turn."""
    GUARD = "version_guard"
    """Another worker had changed the entity since it was read: refused, and decided again."""
    FENCE = "fence"
    """The worker had lost the partition to another: refused."""
    DEAD_LETTER = "dead_letter"
    """The handler failed: the event was kept whole, to be replayed."""
    PARK = "park"
    """The event came behind one that had failed: kept until that was replayed."""


Caught = Mapping[Class, Mapping[Mechanism, int]]


def caught(history: History, deliveries: Iterable[Delivery], fates: Mapping[tuple[str, int], Class]) -> Caught:
    """How often which mechanism caught which class. `fates` are the processes that were killed or stood still."""
    counts = _Catch(history, deliveries, fates).counts
    return {why: {by: count for by, count in found.items() if count} for why, found in counts.items()}


class _Catch:
    """Goes through the history of a run."""

    def __init__(
        self, history: History, deliveries: Iterable[Delivery], fates: Mapping[tuple[str, int], Class]
    ) -> None:
        self.counts: dict[Class, Counter[Mechanism]] = {one: Counter() for one in Class}
        self._history = history
        self._fates = {history.processes.index(who): fate for who, fate in fates.items() if who in history.processes}
        self._first: dict[int, Delivery] = {}
        for delivery in deliveries:
            self._first.setdefault(delivery.event, delivery)
        self._events = {(one.entry.account, one.entry.version): one.delivery.event for one in history.receipts}
        self._homes: dict[str, set[int]] = {}
        for one in history.receipts:
            self._homes.setdefault(one.entry.account, set()).add(one.delivery.partition)
        self._took: dict[tuple[str, int], tuple[float, float, int]] = {}
        self._note_effects()
        self._outcomes()
        self._refusals()
        self._lanes()

    def _note_effects(self) -> None:
        """When each event took effect: as it was decided, as that was committed, and in which process."""
        for one in self._history.settled:
            if one.outcome == "applied" and one.settled_at is not None:
                place = one.entry.account, one.entry.version
                self._took.setdefault(place, (one.decided_at, one.settled_at, one.process))
        for late in self._history.effects:
            if late.outcome == "applied":
                place = late.entry.account, late.entry.version
                self._took.setdefault(place, (late.at, late.settled_at, late.process))

    def _outcomes(self) -> None:
        settled_by: dict[int, int] = {}
        settled, effects = self._history.settled, self._history.effects
        failed = [one.delivery.event for one in settled if one.outcome == "dead_lettered"]
        failed += [late.delivery.event for late in effects if late.outcome == "dead_lettered"]
        self.counts[Class.POISON][Mechanism.DEAD_LETTER] += len(failed)
        for one in sorted(settled, key=lambda receipt: receipt.settled_at or 0.0):
            before = settled_by.get(one.delivery.number)
            settled_by.setdefault(one.delivery.number, one.process)
            if one.outcome == "duplicate":
                self.counts[self._again(before)][Mechanism.IDEMPOTENCE] += 1
            elif one.outcome == "held":
                self.counts[self._cause(one)][Mechanism.HOLD] += 1
            elif one.outcome == "parked":
                self.counts[Class.POISON][Mechanism.PARK] += 1
                if one.delivery.event in failed:
                    # The dead letter itself, delivered again: it is a duplicate once the letter is replayed.
                    self.counts[self._again(before)][Mechanism.IDEMPOTENCE] += 1

    def _again(self, before: int | None) -> Class:
        """Why something arrived again that the process `before` had settled; None: this very delivery is new."""
        return Class.DUPLICATE if before is None else self._fates.get(before, Class.REBALANCE)

    def _cause(self, one: Receipt) -> Class:
        """Why this event was early: what is out of order about the event that it had to wait for."""
        account, version = one.entry.account, one.entry.version
        missing = next((u for u in range(1, version) if not self._done(account, u, one)), version)
        return self._why(self._first[self._events[account, missing]], one)

    def _done(self, account: str, version: int, by: Receipt) -> bool:
        """Whether that event had taken effect as far as `by` could know when it was decided."""
        decided_at, settled_at, process = self._took.get((account, version), (float("inf"), float("inf"), -1))
        return settled_at <= by.decided_at or (process == by.process and decided_at <= by.decided_at)

    @staticmethod
    def _why(missing: Delivery, one: Receipt) -> Class:
        if missing.number > one.delivery.number and missing.why is not None:
            return missing.why
        return Class.GROWTH

    def _refusals(self) -> None:
        for process, one in self._history.refused:
            if one.by == "fence":
                frozen = self._fates.get(process) is Class.FREEZE
                self.counts[Class.FREEZE if frozen else Class.REBALANCE][Mechanism.FENCE] += one.events
            else:
                for key in one.keys:
                    moved = len(self._homes[key]) > 1
                    self.counts[Class.GROWTH if moved else Class.REBALANCE][Mechanism.GUARD] += 1

    def _lanes(self) -> None:
        """Events of one entity that one process had together, and that took effect in order all the same."""
        together: dict[tuple[int, str], list[Receipt]] = {}
        for one in self._history.settled:
            if one.outcome == "applied":
                together.setdefault((one.process, one.entry.account), []).append(one)
        for receipts in together.values():
            receipts.sort(key=lambda receipt: receipt.place)
            for before, after in pairwise(receipts):
                in_line = (before.decided_at < after.decided_at) == (before.entry.version < after.entry.version)
                if not in_line or before.settled_at is None or before.settled_at <= after.received_at:
                    continue
                if before.entry.version > after.entry.version:
                    self.counts[self._why(after.delivery, before)][Mechanism.LANE] += 1
                else:
                    self.counts[Class.OVERLAP][Mechanism.LANE] += 1
