"""Lanes: one serial queue for each key. Many lanes run at once; one lane never runs two events.

Lanes start in the order in which they became ready, but for long ones. A lane is long when it has more queued than its
share, that of one of the places in which lanes run: however fast the others are through, all will have to wait for it
in the end. So it goes first when its event is over. Of two starts at most one is given to a long lane while others
wait: none starves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from mypy_extensions import mypyc_attr

from inorder.core.event import Event


@mypyc_attr(allow_interpreted_subclasses=True)
class Lanes:
    """The queued events of a worker, by key. `at_once`: how many lanes will run; 0: no lane is long."""

    __slots__ = ("_busy", "_long", "_queues", "_ready", "_was_long", "at_once", "queued")

    def __init__(self, at_once: int = 0) -> None:
        self.at_once = at_once
        self._queues: dict[str, deque[Event]] = {}
        self._ready: deque[str] = deque()
        self._long: deque[str] = deque()
        """Ready too, and to go before the others."""
        self._was_long = False
        """Whether a long lane has just been started."""
        self._busy: set[str] = set()
        self.queued = 0

    @property
    def running(self) -> int:
        """How many lanes have an event running."""
        return len(self._busy)

    def busy(self, key: str) -> bool:
        """Whether an event of this lane runs."""
        return key in self._busy

    def long(self, key: str) -> bool:
        """Whether a lane has more queued than its share."""
        queue = self._queues.get(key)
        return queue is not None and len(queue) * self.at_once > self.queued

    def add(self, event: Event) -> None:
        """Queue an event behind the others of its key."""
        key = event.key
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = queue = deque()
            if key not in self._busy:
                self._ready.append(key)
        queue.append(event)
        self.queued += 1

    def start(self, most: int = 1) -> list[Event]:
        """Up to `most` consecutive events of the next idle lane, which is busy from now on; [] if there is none."""
        if self._long and not (self._was_long and self._ready):
            key = self._long.popleft()
            self._was_long = True
        elif self._ready:
            key = self._ready.popleft()
            self._was_long = False
        else:
            return []
        self._busy.add(key)
        queue = self._queues[key]
        if len(queue) <= most:
            events = list(queue)
            del self._queues[key]
        else:
            events = [queue.popleft() for _ in range(most)] if most > 1 else [queue.popleft()]
        self.queued -= len(events)
        return events

    def finish(self, key: str) -> None:
        """The running event of a lane is over: the lane may start again."""
        self._busy.discard(key)
        if key in self._queues:
            (self._long if self.long(key) else self._ready).append(key)

    def put_back(self, key: str, events: Sequence[Event]) -> None:
        """Events that were started are to be started again, before all others of their lane, which is idle now."""
        self.keep_back(key, events)
        self.finish(key)

    def take_back(self, key: str, events: Sequence[Event]) -> None:
        """Like `put_back`, but the lane goes before all others that are ready, as it did."""
        self.keep_back(key, events)
        self._busy.discard(key)
        if key in self._queues:
            self._ready.appendleft(key)

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
        self._long = deque(key for key in self._long if key in self._queues)
        self.queued -= len(dropped)
        return dropped
