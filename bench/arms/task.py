"""What an arm is told, what it measures with, and what it reports."""

from __future__ import annotations

import os
import resource
import time
from typing import Any

import msgspec

from bench import cpu


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What an arm is to do. `services` are the processes whose use of the processors is to be measured."""

    source: str
    """`kafka://host:port/TOPIC` or `embedded:///path.db/TOPIC`."""
    events: int
    """How many deliveries to take."""
    store: str = ""
    batch: int = 10_000
    consumer: str = "balance"
    concurrency: int = 16
    connections: int = 1
    cache_bytes: int = 0
    """Room for entities in memory; 0: the library's own default."""
    group: str = ""
    """The group to join with others; by default one of its own."""
    gated: bool = False
    """Wait with partitions in hand until a line comes on standard input."""
    idle_s: float = 0.2
    """After so long without an event the library's arm ends, once all is settled. That is not in the measured time."""
    watch_memory: bool = False
    services: dict[str, int] = {}


class Report(msgspec.Struct, kw_only=True):
    """What an arm found. Moments are those of the machine's monotonic clock."""

    events: int
    began: float
    ended: float
    cores: dict[str, float] = {}
    """Processors kept busy meanwhile: by the client, by each service, by others."""
    max_rss_mib: int = 0
    details: dict[str, Any] = {}

    @property
    def seconds(self) -> float:
        """From the first record to the last durable effect."""
        return self.ended - self.began


class Clock:
    """From the first record out of the client to the last durable effect, with the processor time between."""

    def __init__(self, task: Task) -> None:
        self._events = task.events
        self._roots = {"client": os.getpid(), **task.services}
        self._before: cpu.Seconds = {}
        self._after: cpu.Seconds = {}
        self._cpu_before = 0.0
        self.began = self.ended = 0.0
        self.cpu_s = 0.0
        """Processor time of this process from the first record to the last effect so far."""
        self.done = 0

    def first(self) -> None:
        """A record is here. Only the first call counts."""
        if not self.began:
            self._before = cpu.used(self._roots)
            self.began = time.monotonic()
            self._cpu_before = time.process_time()

    def durable(self, events: int) -> None:
        """So many more events are durable, and so is all that was written for others."""
        self.ended = time.monotonic()
        self.cpu_s = time.process_time() - self._cpu_before
        self.done += events
        if self.done >= self._events:
            self._after = cpu.used(self._roots)

    def report(self, **details: Any) -> Report:
        """What was measured."""
        seconds = self.ended - self.began
        return Report(
            events=self.done,
            began=self.began,
            ended=self.ended,
            cores=cpu.between(self._before, self._after, seconds) if seconds else {},
            max_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            details=details,
        )
