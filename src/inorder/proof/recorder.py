"""Writes the trace of what a store commits: wraps any store, and tells of a transaction only once it is committed.

Which events took effect is not taken from what was decided. The ledger row of an effect is made where the state it led
to is encoded, so the two go into the store together or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Record
from inorder.core.rows import EntityRow
from inorder.errors import Mismatch, Poison
from inorder.proof.trace import Op, Step, Via
from inorder.worker.effects import FoldEffect, TxEffect

Write = tuple[Sequence[EntityRow], Changes, Mapping[Partition, int]]
"""What `inorder.ports.Transaction.write` was given."""


class Died(BaseException):
    """A worker died before its transaction was committed."""


class Weather(Protocol):
    """Says how a handler fails, where it is to fail."""

    def strike(self, event: Event) -> None:
        """Raise what the handler is to raise for this event, if anything."""


class Fair:
    """Nothing fails."""

    def strike(self, event: Event) -> None:
        """Nothing."""


class Scripted:
    """Events that fail: for ever, until they are mended, or so many times."""

    def __init__(self) -> None:
        self.poisoned: set[tuple[str, int]] = set()
        self.transient: dict[tuple[str, int], int] = {}

    def strike(self, event: Event) -> None:
        """Raise, if this event is to fail."""
        place = event.key, event.version
        if place in self.poisoned:
            raise Poison("the handler is made to fail")
        left = self.transient.get(place, 0)
        if left:
            self.transient[place] = left - 1
            raise RuntimeError("the handler is made to fail once")


class LedgeredFold(FoldEffect):
    """A fold whose effects are written down."""

    weather: Weather = Fair()
    ledger: dict[tuple[str, int], list[Event]]

    def apply(self, entity: Entity, event: Event) -> None:
        """Fold one event, unless it is to fail. It fails after the effect, which so has to be undone."""
        super().apply(entity, event)
        self.weather.strike(event)

    def encode(self, entity: Entity) -> bytes | None:
        """The state as the store keeps it, and with it what made it so."""
        self.ledger[entity.key, entity.revision] = list(entity.applied)
        return super().encode(entity)


class LedgeredTx(TxEffect):
    """A handler with `tx` whose effects are written down."""

    weather: Weather = Fair()
    ledger: dict[tuple[str, int], list[Event]]

    def _call(self, event: Event, tx: Any) -> None:
        super()._call(event, tx)
        self.weather.strike(event)

    def encode(self, entity: Entity) -> bytes | None:
        """No state, but what took effect."""
        self.ledger[entity.key, entity.revision] = list(entity.applied)
        return super().encode(entity)


class Recorder:
    """Collects what one worker, or one operator, has committed, and tells it to `emit` as steps."""

    def __init__(
        self,
        emit: Callable[[Step], None],
        now: Callable[[], float],
        worker: str,
        next_tx: Callable[[], int],
        text: Callable[[bytes], str] = bytes.decode,
        outcomes: dict[str, int] | None = None,
    ) -> None:
        self.emit = emit
        self.text = text
        self.now = now
        self.worker = worker
        self.next_tx = next_tx
        self.ledger: dict[tuple[str, int], list[Event]] = {}
        """What took effect and is not committed yet, by key and the revision that it changes."""
        self.via: Via | None = None
        """How events come that this one puts through; None: as their records say."""
        self.outcomes = {} if outcomes is None else outcomes
        """What was counted in transactions. Whoever looks at it may clear it."""
        self.dies = False
        """Whether the worker dies at the end of its transaction, before that is committed."""
        self.refusals = 0
        """How many transactions are refused, as if somebody else had been faster."""

    def committed(
        self, writes: list[tuple[Sequence[EntityRow], Changes, Mapping[Partition, int]]], closed: list[Any]
    ) -> None:
        """A transaction was committed, with these writes; and these letters were closed in it."""
        tx, at = self.next_tx(), self.now()
        for rows, changes, fences in writes:
            self._tell(rows, changes, fences, tx, at)
        for row in closed:
            record = row.letter.record
            self.emit(Step(op=Op.RESOLVED, at=at, worker=self.worker, tx=tx, **place_of(record)))

    def _tell(
        self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int], tx: int, at: float
    ) -> None:
        emit, worker = self.emit, self.worker
        for key, version in sorted(changes.released):
            emit(Step(op=Op.RELEASED, at=at, worker=worker, tx=tx, key=key, version=version))
        for row in rows:
            for event in self.ledger.pop((row.key, row.expected), ()):
                partition = event.slice.partition
                via = self.via or (Via.LIVE if event.receiver is None else Via.HELD)
                emit(
                    Step(
                        op=Op.APPLIED,
                        at=at,
                        worker=worker,
                        tx=tx,
                        key=event.key,
                        version=event.version,
                        id=event.id,
                        via=via,
                        partition=name_of(partition),
                        epoch=fences.get(partition),
                    )
                )
            if row.state is not None:
                emit(Step(op=Op.STATE, at=at, worker=worker, tx=tx, key=row.key, state=self.text(row.state)))
        for place in sorted(changes.held):
            held = changes.held[place]
            emit(
                Step(
                    op=Op.HELD,
                    at=at,
                    worker=worker,
                    tx=tx,
                    key=held.key,
                    version=held.version,
                    id=held.event_id,
                    outcome=held.outcome,
                    epoch=fences.get(held.record.partition),
                    **place_of(held.record),
                )
            )
        for letter in changes.letters:
            emit(
                Step(
                    op=Op.LETTER,
                    at=at,
                    worker=worker,
                    tx=tx,
                    key=letter.key,
                    version=letter.version,
                    id=letter.event_id,
                    reason=str(letter.reason),
                    epoch=fences.get(letter.record.partition),
                    **place_of(letter.record),
                )
            )
        for (_, name), count in changes.counts.items():
            if count > 0:
                self.outcomes[name] = self.outcomes.get(name, 0) + count


def place_of(record: Record) -> dict[str, Any]:
    """A record's partition and offset, as steps have them."""
    return {"partition": name_of(record.partition), "offset": record.offset}


@cache
def name_of(partition: Partition) -> str:
    """A partition's name, as steps have it."""
    return str(partition)


def found_once(front: Any, behind: Any, name: str) -> Any:
    """What `front` answers by way of what is behind it. A method is from then on its own, and not looked up again."""
    found = getattr(behind, name)
    if callable(found):
        vars(front)[name] = found
    return found


class RecordedStore:
    """A store of one worker. All that it is asked goes to the store itself."""

    def __init__(self, store: Any, recorder: Recorder) -> None:
        self._store = store
        self.recorder = recorder

    def __getattr__(self, name: str) -> Any:
        return found_once(self, self._store, name)

    @contextmanager
    def transaction(self) -> Iterator[RecordedTransaction]:
        """A transaction of the store. What it came to is told once it is committed."""
        with self._store.transaction() as tx:
            recorded = RecordedTransaction(tx, self._store, self.recorder)
            yield recorded
            if self.recorder.dies:
                raise Died
        if recorded.writes or recorded.closed:
            self.recorder.committed(recorded.writes, recorded.closed)


class RecordedTransaction:
    """One transaction, and what was written in it."""

    def __init__(self, tx: Any, store: Any, recorder: Recorder) -> None:
        self._tx = tx
        self._recorder = recorder
        self._store = store
        self.writes: list[Write] = []
        self.closed: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def write(self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int]) -> None:
        """See `inorder.ports.Transaction`."""
        if self._recorder.refusals:
            self._recorder.refusals -= 1
            raise Mismatch(row.key for row in rows)
        self._tx.write(rows, changes, fences)
        self.writes.append((rows, changes, fences))

    def close_letter(self, number: int, status: str, outcome: str, note: str, at: float) -> bool:
        """See `inorder.stores.letter_writing`."""
        closed: bool = self._tx.close_letter(number, status, outcome, note, at)
        if closed:
            self.closed.append(self._store.letter(number))
        return closed
