"""A worker that writes its own trace: `python -m tests.e2e.recorded KIND SOURCE STORE EFFECTS`, for folds.

Each step is a row, written in the transaction that it tells of, so that a kill leaves neither the one nor the other.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from inorder.core.changes import Changes
from inorder.core.event import Event, Partition
from inorder.core.rows import EntityRow
from inorder.declaration import Declaration, declaration_of
from inorder.proof.recorder import LedgeredFold, Recorder
from inorder.proof.trace import Op, Step
from inorder.wiring import open_source, open_store
from inorder.worker import assemble
from inorder.worker.assemble import Assembled
from inorder.worker.settings import Settings
from tests.e2e.accounts import consumer

CREATE = "CREATE TABLE IF NOT EXISTS trace (n INTEGER PRIMARY KEY, step BLOB NOT NULL)"
INSERT = "INSERT INTO trace (step) VALUES (?)"
NAME = f"worker {os.getpid()}"


class TracedStore:
    """A SQLite store, with a table of steps beside its own."""

    def __init__(self, store: Any, ledger: dict[tuple[str, int], list[Event]]) -> None:
        self._store = store
        self._steps: list[Step] = []
        self._recorder = Recorder(self._steps.append, time.time, NAME, lambda: 0)
        self._recorder.ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def acquire(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Raise the fences; from now on earlier owners are refused, and the trace says so."""
        fences: dict[Partition, int] = self._store.acquire(partitions)
        with self._store.transaction() as tx:
            for partition, fence in fences.items():
                step = Step(op=Op.ASSIGNED, at=time.time(), worker=NAME, partition=str(partition), epoch=fence)
                tx.execute(INSERT, (msgspec.json.encode(step),))
        return fences

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A transaction whose writes are told in it."""
        with self._store.transaction() as tx:
            yield Traced(tx, self._recorder, self._steps)


class Traced:
    """One transaction."""

    def __init__(self, tx: Any, recorder: Recorder, steps: list[Step]) -> None:
        self._tx = tx
        self._recorder = recorder
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def write(self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int]) -> None:
        """Write, and tell."""
        self._tx.write(rows, changes, fences)
        self._steps.clear()
        self._recorder._tell(rows, changes, fences, time.time_ns(), time.time())
        for step in self._steps:
            self._tx.execute(INSERT, (msgspec.json.encode(step),))


def main(kind: str, source: str, store: str, effects: str) -> None:
    declared = declaration_of(consumer(kind, effects))
    with sqlite3.connect(store.removeprefix("sqlite:///"), timeout=30) as connection:
        connection.execute(CREATE)
    ledger: dict[tuple[str, int], list[Event]] = {}

    def ledgered(declared: Declaration) -> LedgeredFold:
        made = LedgeredFold(declared)
        made.ledger = ledger
        return made

    assemble.FoldEffect = ledgered  # type: ignore[attr-defined, assignment]
    parts = Assembled(
        declared,
        Settings(source=source, store=store),
        open_source(source, declared.name),
        lambda: TracedStore(open_store(store, declared.name), ledger),
    )
    signal.signal(signal.SIGTERM, lambda *_: parts.loop.stop())
    print("up", flush=True)
    sys.exit(0 if parts.loop.run() else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
