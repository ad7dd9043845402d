"""The events that the benches send: accounts' entries, with a seed, a skew, disorder and duplicates."""

from __future__ import annotations

import random
from itertools import accumulate

import msgspec


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What a topic is filled with. `disorder` and `duplicates` are shares of the events, from 0 to 1."""

    events: int = 200_000
    keys: int = 10_000
    zipf: float = 0.0
    disorder: float = 0.0
    duplicates: float = 0.0
    payload_bytes: int = 100
    partitions: int = 8
    seed: int = 7

    @property
    def topic(self) -> str:
        """A topic name that says what is in it."""
        parts = (self.events, self.keys, self.zipf, self.disorder, self.duplicates, self.payload_bytes, self.partitions)
        return "bench-" + "-".join(f"{part:g}" for part in parts)


class Entry(msgspec.Struct):
    """One debit or credit."""

    id: str
    account: str
    version: int
    amount: int


class Padded(Entry):
    """An entry with a text that makes it as long as is asked for."""

    text: str


REACH = 500
"""How many events later an event may come that is out of order, or comes again."""


def entries(work: Workload) -> list[Entry]:
    """The deliveries of a workload, in order of arrival."""
    rng = random.Random(work.seed)
    if work.zipf:
        weights = list(accumulate(1 / (rank + 1) ** work.zipf for rank in range(work.keys)))
        owners = rng.choices(range(work.keys), cum_weights=weights, k=work.events)
    else:
        owners = [i % work.keys for i in range(work.events)]
        rng.shuffle(owners)
    versions = [0] * work.keys
    places: list[tuple[float, Entry]] = []
    padding = "x" * max(0, work.payload_bytes - 110)
    for at, owner in enumerate(owners):
        versions[owner] += 1
        known = (f"{rng.getrandbits(128):032x}", f"account-{owner:07d}", versions[owner], rng.randint(-10_000, 10_000))
        entry = Padded(*known, padding) if padding else Entry(*known)
        late = rng.random() < work.disorder
        places.append((at + (rng.randint(1, REACH) if late else 0), entry))
        if rng.random() < work.duplicates:
            places.append((at + rng.randint(1, REACH), entry))
    places.sort(key=lambda place: place[0])
    return [entry for _, entry in places]
