"""Lanes: one serial queue for each key. Many lanes run at once; one lane never runs two events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from inorder.core.event import Event


class Lanes:
    """The queued events of a worker, by key. Which lane starts next is first come, first served."""

    __slots__ = ("_busy", "_queues", "_ready", "queued")

    def __init__(self) -> None:
        self._queues: dict[str, deque[Event]] = {}
        self._ready: deque[str] = deque()
        self._busy: set[str] = set()
        self.queued = 0

    @property
    def running(self) -> int:
        """How many lanes have an event running."""
        return len(self._busy)

    def busy(self, key: str) -> bool:
        """Whether an event of this lane runs."""
        return key in self._busy

    def add(self, event: Event) -> None:
        """Queue an event behind the others of its key."""
        queue = self._queues.get(event.key)
        if queue is None:
            self._queues[event.key] = queue = deque()
            if event.key not in self._busy:
                self._ready.append(event.key)
        queue.append(event)
        self.queued += 1

    def start(self, most: int = 1) -> list[Event]:
        """Up to `most` consecutive events of the next idle lane, which is busy from now on; [] if there is none."""
        if not self._ready:
            return []
        key = self._ready.popleft()
        self._busy.add(key)
        queue = self._queues[key]
        if len(queue) <= most:
            events = list(queue)
            del self._queues[key]
        else:
            events = [queue.popleft() for _ in range(most)]
        self.queued -= len(events)
        return events

    def finish(self, key: str) -> None:
        """The running event of a lane is over: the lane may start again."""
        self._busy.discard(key)
        if key in self._queues:
            self._ready.append(key)

    def put_back(self, key: str, events: Sequence[Event]) -> None:
        """Events that were started are to be started again, before all others of their lane, which is idle now."""
        self.keep_back(key, events)
        self.finish(key)

    def keep_back(self, key: str, events: Sequence[Event]) -> None:
        """Like `put_back`, of a lane that stays busy: the first of what was started runs, these do not yet."""
        if events:
            self._queues.setdefault(key, deque()).extendleft(reversed(events))
            self.queued += len(events)

    def drop(self, unwanted: Callable[[Event], bool]) -> list[Event]:
        """Forget the queued events that are no longer wanted (their partition is gone), and return them."""
        dropped: list[Event] = []
        for key in list(self._queues):
            queue = self._queues[key]
            gone = [event for event in queue if unwanted(event)]
            if gone:
                dropped += gone
                self._queues[key] = deque(event for event in queue if not unwanted(event))
                if not self._queues[key]:
                    del self._queues[key]
        self._ready = deque(key for key in self._ready if key in self._queues)
        self.queued -= len(dropped)
        return dropped
