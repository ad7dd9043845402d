"""What the conformance suite needs to know of a broker, and the consumer that it watches a source with.

To put another source through the suite: write a context manager that gives a `Harness`, and add it to
`HARNESSES` in the `conftest.py` of this folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from inorder.core.event import Partition, Record
from inorder.ports import Source


class Harness(Protocol):
    """One topic of a broker, made for one test. It begins with two partitions."""

    topic: str
    session_timeout_s: float
    """How long a silent member keeps its partitions."""
    patience_s: float
    """How long a test waits for anything. Longer than a session."""

    def produce(self, partition: int, values: Sequence[bytes], key: bytes | None = None) -> None:
        """Append to a partition; on return the records are there to be read."""

    def open(self, group: str = "group") -> Source:
        """A new member of a group, not yet subscribed. The harness closes it after the test."""

    def grow(self, partitions: int) -> None:
        """Let the topic have that many partitions."""

    def kill(self, source: Source) -> None:
        """As if the member's process had died: it says no goodbye and is silent for ever."""

    def silence(self, source: Source) -> None:
        """A test stops polling this member from now on. For clients that would go on without it."""


class Consumer:
    """A member that notes what it is given and told."""

    def __init__(self, harness: Harness, group: str = "group") -> None:
        self.harness = harness
        self.source = harness.open(group)
        self.owned: set[Partition] = set()
        self.lost_ever: set[Partition] = set()
        self.received: list[Record] = []
        self.settled: dict[Partition, int] = {}
        self.on_revoked: Callable[[Sequence[Partition]], None] = lambda partitions: None
        self.source.subscribe(self)

    def assigned(self, partitions: Sequence[Partition]) -> None:
        assert not self.owned & set(partitions), "assigned twice"
        self.owned |= set(partitions)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        assert self.owned >= set(partitions), "revoked, but never assigned"
        try:
            self.on_revoked(partitions)
        finally:
            self.owned -= set(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        assert self.owned >= set(partitions), "lost, but never assigned"
        self.owned -= set(partitions)
        self.lost_ever |= set(partitions)

    def poll(self, most: int = 100, timeout_s: float = 0.01) -> list[Record]:
        slices = self.source.poll(most, timeout_s)
        records = [given.record(index) for given in slices for index in range(len(given))]
        for given in slices:
            assert given.partition in self.owned, "given out without an assignment"
            assert list(given.values) == [given.record(index).value for index in range(len(given))]
            assert given.next_offset > given.offset(len(given) - 1)
            self.settled[given.partition] = given.next_offset
        self.received += records
        return records

    def values(self, partition: int | None = None) -> list[bytes | None]:
        return [r.value for r in self.received if partition in (None, r.partition.number)]

    def partition(self, number: int) -> Partition:
        return Partition(self.harness.topic, number)

    def commit_all(self, partitions: Iterable[Partition] | None = None) -> None:
        """Commit everything received of these partitions, or of all that are owned."""
        chosen = self.owned if partitions is None else partitions
        self.source.commit({p: self.settled[p] for p in chosen if p in self.settled})

    def commit(self, offsets: Mapping[int, int]) -> None:
        self.source.commit({self.partition(number): offset for number, offset in offsets.items()})


def until(what: str, condition: Callable[[], bool], *consumers: Consumer) -> None:
    """Let these consumers poll in turn until the condition holds."""
    deadline = time.monotonic() + consumers[0].harness.patience_s
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        for consumer in consumers:
            consumer.poll()


def for_a_while(seconds: float, *consumers: Consumer) -> None:
    """Let these consumers poll in turn for a time, where a test shows that something does not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for consumer in consumers:
            consumer.poll()
