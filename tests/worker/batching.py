"""Batches over a store in memory, which notes what is done in it and refuses what it is told to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

import inorder
from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.engine import Unit
from inorder.core.entity import Entity
from inorder.core.event import Event, Malformed, Partition, Record, Slice, fingerprint
from inorder.core.order import Outcome
from inorder.core.room import Room
from inorder.core.rows import EntityRow, HeldRow
from inorder.core.waiting import Waiting
from inorder.declaration import declaration_of
from inorder.proof.memory import MemoryStore, MemoryTransaction
from inorder.worker.ahead import Helper
from inorder.worker.assemble import planner_for
from inorder.worker.batch import Batches
from inorder.worker.effects import FoldEffect, Manner, TxEffect
from inorder.worker.job import Job
from tests.worker.consumers import FOLD, Act, Entry, declare, nothing
from tests.worker.played import HERE, THERE, Seen, Still

FENCES = {HERE: 7, THERE: 8}


class Transaction(MemoryTransaction):
    """Notes what is done in it. Statements of the user's take effect with the rest of it, or not at all."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.of = store
        self.said: list[str] = []

    def execute(self, statement: str, parameters: Any = ()) -> Any:
        self.said.append("".join(map(str, parameters)))
        self.of.log.append(f"statement {self.said[-1]}")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        before = list(self.said)
        try:
            with super().savepoint():
                yield
        except BaseException:
            self.said = before
            raise

    @contextmanager
    def together(self) -> Iterator[None]:  # type: ignore[override]
        self.of.log.append("together")
        yield
        if self.of.late_error is not None:
            error, self.of.late_error = self.of.late_error, None
            raise error

    def write(self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int]) -> None:
        self.of.log.append(f"write {' '.join(row.key for row in rows)}".strip())
        self.of.fences.append(dict(fences))
        if self.of.refusals:
            raise self.of.refusals.pop(0)
        super().write(rows, changes, fences)

    def commit(self) -> None:
        super().commit()
        self.of.effects += self.said
        self.of.log.append("commit")


class Store(MemoryStore):
    transaction_class = Transaction

    def __init__(self) -> None:
        super().__init__("stream")
        self.log: list[str] = []
        self.fences: list[dict[Partition, int]] = []
        self.effects: list[str] = []
        self.loaded: list[list[str]] = []
        self.refusals: list[Exception] = []
        self.late_error: Exception | None = None
        self.tables.fences = dict(FENCES)
        self.read_back: list[str] = []
        self.packed: list[str] = []

    def pack(self, rows: Sequence[EntityRow], changes: Changes) -> Sequence[EntityRow]:
        self.packed.append("".join(row.key for row in rows))
        return super().pack(rows, changes)

    def held_together(self, keys: Sequence[str], most: int) -> list[HeldRow]:
        self.read_back += keys
        return super().held_together(keys, most)

    def load(self, keys: Sequence[str]) -> dict[str, Entity]:
        self.loaded.append(sorted(keys))
        return super().load(keys)


class Watching(Seen):
    """Notes commits too, and who is told what of them."""

    watches = False

    def committed(self, changes: Changes, deciding_s: float | None = None, storing_s: float = 0.0) -> None:
        assert deciding_s is not None
        assert 0 <= deciding_s < 60
        assert 0 <= storing_s < 60
        assert changes.preceding is None, "else each batch would keep all before it in memory"
        self.told.append(("committed", sorted(changes.entities)))

    def outdated(self) -> None:
        self.told.append(("outdated",))

    def fenced(self, partitions: int) -> None:
        self.told.append(("fenced", partitions))


class Scene:
    """Batches of one kind of handler, which fails where it is told to."""

    def __init__(
        self,
        kind: str = FOLD,
        queue: bool = False,
        room: bool = False,
        order: str = "strict",
        baseline: int = 0,
        helper: Helper | None = None,
        **limits: Any,
    ) -> None:
        self.calls: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.clock, self.store, self.seen = Still(), Store(), Watching()
        retry = inorder.Retry(attempts=3, delay_s=100.0)
        options: dict[str, Any] = {
            "order": order,
            "baseline": baseline,
            "limits": inorder.Limits(**limits),
            "retry": retry,
        }
        declared = declaration_of(declare(kind, self._act, lambda entry: None, **options))
        self.store.register(declared.order, declared.baseline)
        self.witnessed: list[tuple[str, Outcome]] = []
        planner = planner_for(declared)
        planner.room = self.room = Room(declared.limits) if room else None
        self.effect = FoldEffect(declared) if kind == FOLD else TxEffect(declared)
        store: Any = self.store
        self.batches = Batches(
            planner, self.effect, JsonCodec(declared), store, 3, self.clock, self._witness, queue, self.seen, helper
        )
        self._then: Act = nothing

    def _act(self, entry: Entry) -> None:
        self.calls.append(f"{entry.key}{entry.version}")
        self._then(entry)
        if f"{entry.key}{entry.version}" in self.fails:
            raise self.fails[f"{entry.key}{entry.version}"]

    def _witness(self, event: Event, outcome: Outcome) -> None:
        self.witnessed.append((f"{event.key}{event.version}", outcome))

    def run(self, *of: Job, due: Sequence[str] = (), fences: Mapping[Partition, int] = FENCES) -> dict[Partition, int]:
        job = Job()
        for one in of:
            job.absorb(one)
        return self.batches.run(job, list(due), fences)

    @property
    def manner(self) -> Manner:
        """How the last batch of handlers with `tx` was run."""
        assert isinstance(self.effect, TxEffect)
        return self.effect.manner

    def states(self) -> dict[str, list[int]]:
        found = {key: state for key, _, state in self.store.states() if state is not None}
        return {key: msgspec.json.decode(state)["versions"] for key, state in found.items()}

    def waiting(self, key: str) -> Waiting | None:
        found: Waiting | None = self.store.tables.waits.get(key)
        return found

    def since(self) -> list[str]:
        """What was done in the store since the last look."""
        found, self.store.log = self.store.log, []
        return found


def job(names: str, partition: Partition = HERE, malformed: int = 0) -> Job:
    """One slice with these events, and perhaps records behind them that cannot be read: "a1 b1"."""
    entries = [Entry(name[0], int(name[1:]), name) for name in names.split()]
    values = [msgspec.json.encode(entry) for entry in entries] + [b"{"] * malformed
    piece = Slice.of(partition, [Record(partition, n, b"", value) for n, value in enumerate(values)])
    events = [
        Event(entry.key, entry.version, entry.id, fingerprint(entry.id), entry, piece, n)
        for n, entry in enumerate(entries)
    ]
    unit = Unit(partition, FENCES[partition], piece.next_offset, len(piece), 0)
    made = Job()
    made.add(unit, piece, events, [Malformed("unreadable", piece, len(events) + n) for n in range(malformed)])
    return made
