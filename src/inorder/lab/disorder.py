"""What goes wrong on the way: a script, made from a seed, of what is sent when, and what happens in between.

Pure: the same seed and the same number of events give the same script. Never looks at what the events say.
"""

from __future__ import annotations

import random
from enum import StrEnum

import msgspec

RETRIED_AFTER = 1, 5
RESENT_AFTER = 0, 3
"""So many batches later, at least and at most."""
LATE_BY = 0.02, 0.15
"""By this share of the stream, at least and at most."""


class Class(StrEnum):
    """The classes of disorder."""

    RETRY = "producer_retries"
    """A batch fails, and is sent again after batches that were behind it."""
    DUPLICATE = "duplicates"
    """A batch arrives, its acknowledgement does not: it is sent again."""
    LATE = "late_arrivals"
    """An event is on the way for long."""
    KILL = "worker_killed"
    """A worker is killed, with SIGKILL, between the commit of its effects and that of its offsets."""
    FREEZE = "worker_frozen"
    """A worker stands still, with SIGSTOP, until others have taken its partitions over. Then it goes on."""
    GROWTH = "partition_growth"
    """The topic gets more partitions: keys move, and one key's events lie in two of them."""
    POISON = "poison_events"
    """The handler raises, because of a bug."""
    OVERLAP = "in_flight_together"
    """Not injected: a worker has several events of one entity at the same time."""
    REBALANCE = "rebalances"
    """Not injected: partitions change hands as workers come and go, and events are handed out once more."""


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """One event to append: its number in the stream as it happened, and what is out of order about it, if anything."""

    event: int
    why: Class | None = None


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """Batches in the order of their appends. `grow_at` is the number of a batch, the others count single events."""

    batches: tuple[tuple[Sent, ...], ...]
    grow_at: int
    kill_at: int
    freeze_at: int
    retried: int
    """How many batches are sent again after later ones."""
    resent: int
    """How many batches arrive twice."""

    def __len__(self) -> int:
        return sum(map(len, self.batches))

    def count(self, why: Class) -> int:
        """How many appends are out of order for this reason."""
        return sum(sent.why is why for batch in self.batches for sent in batch)


def script(seed: int, events: int) -> Script:
    """The script for a stream of `events` events."""
    chance = random.Random(f"{seed}:disorder")
    size = min(50, max(1, events // 100))
    late = set(chance.sample(range(events), events // 100))
    batches = [
        [Sent(event) for event in range(start, min(start + size, events)) if event not in late]
        for start in range(0, events, size)
    ]
    numbers = range(len(batches))
    retried = set(chance.sample(numbers[:-1], max(len(batches) > 1, len(batches) * 6 // 100)))
    resent = set(chance.sample([n for n in numbers if batches[n]], max(1, len(batches) * 4 // 100)))
    places: list[tuple[float, list[Sent]]] = []
    for number, batch in enumerate(batches):
        # A place in the stream. The fractions put what is sent again behind the batch that it is sent after.
        at = float(number)
        if number in retried:
            at += chance.randint(*RETRIED_AFTER) + 0.5
            places.append((at, [Sent(sent.event, Class.RETRY) for sent in batch]))
        else:
            places.append((at, batch))
        if number in resent:
            at += chance.randint(*RESENT_AFTER) + 0.25
            places.append((at, [Sent(sent.event, Class.DUPLICATE) for sent in batch]))
    for event in sorted(late):
        delay = chance.uniform(*LATE_BY) * len(batches)
        places.append((event / size + delay, [Sent(event, Class.LATE)]))
    ordered = tuple(tuple(batch) for _, batch in sorted(places, key=lambda place: place[0]) if batch)
    total = sum(map(len, ordered))
    return Script(
        batches=ordered,
        grow_at=len(ordered) * 42 // 100,
        kill_at=total * 35 // 100,
        freeze_at=total * 65 // 100,
        retried=len(retried),
        resent=len(resent),
    )
