"""The records that a broker has not acknowledged yet, by key. Pure: no broker, clock or thread.

Records of one key leave here in the order they came, and none leaves behind one that failed. A record goes back to
waiting when nobody knows what became of it; its bytes and its id never change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Generic, Protocol, TypeVar

from inorder.errors import UsageError
from inorder.producing.channel import Problem

MOST_BEHIND = 10_000
"""Records that may wait behind a stopped key. One more is refused."""


class Numbered(Protocol):
    """What is asked of a record here. `number` is given in the order of sending, `since` is when its time began."""

    number: int
    since: float

    @property
    def key(self) -> bytes: ...
    @property
    def version(self) -> int | None: ...
    @property
    def size(self) -> int: ...


R = TypeVar("R", bound=Numbered)


class Line(Generic[R]):
    """One key: its records that are not acknowledged, oldest first. The first `handed` of them are under way."""

    __slots__ = ("handed", "records", "stopped")

    def __init__(self) -> None:
        self.records: deque[R] = deque()
        self.handed = 0
        self.stopped: Problem | None = None


class Outbound(Generic[R]):
    """All keys that have something unacknowledged. A key without leaves nothing behind."""

    def __init__(self, one_at_a_time: bool = False) -> None:
        self._one_at_a_time = one_at_a_time
        self._lines: dict[bytes, Line[R]] = {}
        self._ready: deque[R] = deque()
        self._number = 0
        self.active = 0
        """Records of keys that flow, and their bytes."""
        self.active_bytes = 0
        self.stopped = 0
        """Records of keys that are stopped."""

    def add(self, record: R) -> None:
        """Take a record. It is ready at once unless its key is stopped."""
        line = self._lines.get(record.key)
        if line is None:
            line = self._lines[record.key] = Line()
        elif line.records:
            _check_version(line.records[-1], record)
        self._number += 1
        record.number = self._number
        line.records.append(record)
        if line.stopped is not None:
            self.stopped += 1
            return
        self.active += 1
        self.active_bytes += record.size
        if not (self._one_at_a_time and len(line.records) > 1):
            self._ready.append(record)

    def full_behind(self, key: bytes) -> bool:
        """Whether the key is stopped with so much behind it that no more may wait."""
        line = self._lines.get(key)
        return line is not None and line.stopped is not None and len(line.records) >= MOST_BEHIND

    def gone(self, record: R) -> bool:
        """Whether this record is not here any more: it was delivered or discarded."""
        line = self._lines.get(record.key)
        return line is None or record.number < line.records[0].number

    def problem(self, key: bytes) -> Problem | None:
        """Why the key is stopped; None when it is not."""
        line = self._lines.get(key)
        return line.stopped if line is not None else None

    @property
    def idle(self) -> bool:
        """Whether nothing is ready to be handed over."""
        return not self._ready

    def take(self) -> R | None:
        """The next record to hand over."""
        if not self._ready:
            return None
        record = self._ready.popleft()
        self._lines[record.key].handed += 1
        return record

    def delivered(self, record: R) -> None:
        """The broker keeps this record, and so all earlier ones of its key."""
        line = self._lines.get(record.key)
        if line is None or not line.records or line.records[0].number > record.number:
            return
        while line.records and line.records[0].number <= record.number:
            self._gone(line, line.records.popleft())
        if not line.records:
            del self._lines[record.key]
        elif self._one_at_a_time and line.handed == 0 and line.stopped is None:
            self._ready.append(line.records[0])

    def _gone(self, line: Line[R], record: R) -> None:
        line.handed = max(0, line.handed - 1)
        if line.stopped is None:
            self.active -= 1
            self.active_bytes -= record.size
        else:
            self.stopped -= 1

    def refused(self, record: R, problem: Problem) -> None:
        """This record is not taken, and nothing of its key that came after it is under way: the key stops there."""
        line = self._lines[record.key]
        line.handed = sum(before.number < record.number for before in islice(line.records, line.handed))
        self.stop([record.key], problem)

    def stop(self, keys: Iterable[bytes], problem: Problem) -> None:
        """Nothing of these keys is handed over from now on."""
        for key in keys:
            line = self._lines.get(key)
            if line is not None and line.stopped is None:
                line.stopped = problem
                self.active -= len(line.records)
                self.active_bytes -= sum(record.size for record in line.records)
                self.stopped += len(line.records)
        self._ready = deque(record for record in self._ready if self._lines[record.key].stopped is None)

    def resume(self, key: bytes, now: float) -> bool:
        """Let a stopped key flow again, from its first record that is not under way. False: it is not stopped."""
        line = self._lines.get(key)
        if line is None or line.stopped is None:
            return False
        line.stopped = None
        self.stopped -= len(line.records)
        self.active += len(line.records)
        for record in line.records:
            record.since = now
            self.active_bytes += record.size
        self._ready.extend(self._waiting(line))
        return True

    def _waiting(self, line: Line[R]) -> list[R]:
        """What of a line may be handed over now."""
        if self._one_at_a_time:
            return [] if line.handed else [line.records[0]]
        return list(line.records)[line.handed :]

    def discard(self, key: bytes) -> list[R]:
        """Forget a stopped key; returns its records. Empty: it is not stopped."""
        line = self._lines.get(key)
        if line is None or line.stopped is None:
            return []
        del self._lines[key]
        self.stopped -= len(line.records)
        return list(line.records)

    def reset(self) -> None:
        """Nobody knows what became of what was under way: all of it is ready again, in its order."""
        ready: list[R] = []
        for line in self._lines.values():
            line.handed = 0
            if line.stopped is None:
                ready += self._waiting(line)
        ready.sort(key=lambda record: record.number)
        self._ready = deque(ready)

    def expired(self, before: float) -> list[bytes]:
        """Keys that flow, and whose oldest record has waited since before that time."""
        return [k for k, line in self._lines.items() if line.stopped is None and line.records[0].since < before]

    def up_to(self, suspects: Iterable[R]) -> list[R]:
        """The suspects and all unacknowledged records of their keys before them, in the order of sending."""
        last = {record.key: record.number for record in sorted(suspects, key=lambda record: record.number)}
        lines = [(self._lines[key], number) for key, number in last.items() if key in self._lines]
        found = [r for line, number in lines if not line.stopped for r in line.records if r.number <= number]
        return sorted(found, key=lambda record: record.number)

    def of(self, keys: Iterable[bytes]) -> list[R]:
        """The unacknowledged records of these keys."""
        return [record for key in keys if key in self._lines for record in self._lines[key].records]

    def flowing(self) -> list[bytes]:
        """The keys that are not stopped."""
        return [key for key, line in self._lines.items() if line.stopped is None]

    def stuck(self) -> Iterator[tuple[Problem, list[R]]]:
        """The stopped keys: why, and their records."""
        for line in self._lines.values():
            if line.stopped is not None:
                yield line.stopped, list(line.records)

    def left(self) -> list[R]:
        """Everything that is not acknowledged, in the order of sending."""
        found = [record for line in self._lines.values() for record in line.records]
        return sorted(found, key=lambda record: record.number)


def _check_version(before: Numbered, record: Numbered) -> None:
    if before.version is not None and record.version is not None and record.version <= before.version:
        raise UsageError(
            f"key {record.key.decode(errors='replace')}: version {record.version} is sent after version "
            f"{before.version}, which is still on its way: versions of a key are sent in ascending order, each once"
        )
