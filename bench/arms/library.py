"""The arm with the library: a worker put together as `inorder run` does, with a clock on its source and its store."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec

from bench import consumers
from bench.arms.client import TABLES
from bench.arms.gate import Gate, TimedSource
from bench.arms.task import Clock, Report, Task
from inorder.core.rows import Counter
from inorder.declaration import Declaration, Kind, declaration_of
from inorder.wiring import open_source, open_store
from inorder.worker.assemble import Assembled
from inorder.worker.child import dedicate
from inorder.worker.settings import Settings

MEMORY_EVERY_S = 0.5
PAGES_A_MIB = 256


class TimedTransaction:
    """A transaction that notes how many deliveries it counts."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.execute = inner.execute
        self.received = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def spoiled(self) -> bool:
        """Asked for after each event: by way of `__getattr__` it would take longer than the answer."""
        return bool(self._inner.spoiled)

    def write(self, rows: Any, changes: Any, fences: Any) -> None:
        """Write, and count."""
        self._inner.write(rows, changes, fences)
        counts = changes.counts.items()
        self.received += sum(n for (_, name), n in counts if name == Counter.RECEIVED)


class TimedStore:
    """A store that tells the clock of every commit."""

    def __init__(self, inner: Any, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @contextmanager
    def transaction(self) -> Iterator[TimedTransaction]:
        """The same, timed."""
        with self._inner.transaction() as inner:
            tx = TimedTransaction(inner)
            yield tx
        self._clock.durable(tx.received)


def declared(task: Task) -> Declaration:
    """The consumer, with the task's batch and cache as its limits."""
    found = declaration_of(getattr(consumers, task.consumer))
    limits = msgspec.structs.replace(found.limits, poll_events=task.batch)
    if task.cache_bytes:
        limits = msgspec.structs.replace(limits, cache_bytes=task.cache_bytes)
    return msgspec.structs.replace(found, limits=limits)


def run(task: Task, store: Callable[[Any, Clock], TimedStore] = TimedStore) -> Report:
    """Take the whole topic into the store."""
    clock, gate, consumer = Clock(task), Gate(task.gated), declared(task)
    settings = Settings(
        source=_source(task), store=task.store, concurrency=task.concurrency, connections=task.connections
    )
    source = TimedSource(open_source(settings.source, consumer.name), clock, gate)
    parts = Assembled(
        consumer, settings, source, lambda: cast(Any, store(open_store(task.store, consumer.name), clock))
    )
    if consumer.kind is Kind.TX:
        with parts.control.transaction() as tx:
            tx.execute(TABLES[1].replace("table", "table if not exists"))
    memory: list[tuple[float, int, int]] = []
    if task.watch_memory:
        threading.Thread(target=partial(watch_memory, clock, memory), daemon=True).start()
    dedicate(consumer.in_threads)
    parts.loop.run(task.idle_s)
    counts = parts.control.counts([parts.tally])
    parts.control.close()
    return clock.report(counts=counts, cpu_s=round(clock.cpu_s, 4), **({"memory": memory} if memory else {}))


def watch_memory(clock: Clock, found: list[tuple[float, int, int]]) -> None:
    """Note the resident memory now and then: seconds since the first record, events that are durable, MiB."""
    while True:
        if clock.began:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            found.append((round(time.monotonic() - clock.began, 1), clock.done, pages // PAGES_A_MIB))
        time.sleep(MEMORY_EVERY_S)


def _source(task: Task) -> str:
    group = task.group or f"bench-{uuid.uuid4()}"
    return f"{task.source}?group={group}"
