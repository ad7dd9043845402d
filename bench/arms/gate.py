"""A source with a clock on it, and a gate in front: several workers can be made to start at the same moment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping, Sequence

from bench.arms.task import Clock
from inorder.core.event import Partition, Slice
from inorder.ports import Listener, Source


class Gate:
    """Closed until a line comes on standard input, if it is there at all."""

    def __init__(self, closed: bool) -> None:
        self.open = not closed
        self._told = closed
        if closed:
            threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        sys.stdin.readline()
        self.open = True

    def tell(self, partitions: int) -> None:
        """Say on standard output how many partitions wait behind it."""
        if self._told:
            print(f'{{"owned": {partitions}}}', flush=True)


class TimedSource:
    """See `inorder.ports.Source`. Starts the clock with the first record, which comes when the gate is open."""

    def __init__(self, inner: Source, clock: Clock, gate: Gate) -> None:
        self._inner = inner
        self._clock = clock
        self._gate = gate
        self._listener: Listener | None = None
        self._owned: set[Partition] = set()
        self._paused = False

    def subscribe(self, listener: Listener) -> None:
        self._listener = listener
        self._inner.subscribe(self)

    def poll(self, most: int, timeout_s: float) -> list[Slice]:
        if self._paused and self._gate.open:
            self._paused = False
            self._inner.resume(self._owned)
        pieces = self._inner.poll(most, timeout_s)
        if pieces:
            self._clock.first()
        return pieces

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        self._inner.commit(offsets)

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._inner.pause(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._inner.resume(partitions)

    def at_end(self) -> bool:
        return self._inner.at_end()

    def close(self) -> None:
        self._inner.close()

    # What the source says.

    def assigned(self, partitions: Sequence[Partition]) -> None:
        self._owned.update(partitions)
        if self._listener is not None:
            self._listener.assigned(partitions)
        if not self._gate.open:
            self._paused = True
            self._inner.pause(partitions)
        self._gate.tell(len(self._owned))

    def revoked(self, partitions: Sequence[Partition]) -> None:
        self._owned.difference_update(partitions)
        if self._listener is not None:
            self._listener.revoked(partitions)
        self._gate.tell(len(self._owned))

    def lost(self, partitions: Sequence[Partition]) -> None:
        self._owned.difference_update(partitions)
        if self._listener is not None:
            self._listener.lost(partitions)
        self._gate.tell(len(self._owned))
