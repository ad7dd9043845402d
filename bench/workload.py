"""The events that the benches send: accounts' entries, with a seed, a skew, disorder and duplicates.

Made one by one, so that ten million of them need no room; what is kept is the truth to compare final states with.
"""

from __future__ import annotations

import heapq
import random
from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate

import msgspec

APART = 500
"""At most how many deliveries after the first one a duplicate comes."""
_PLAIN_BYTES = 100
"""About how long an entry without a text is, as JSON."""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What a topic is filled with.

    `disorder` is the share of the events that come after their own successor, up to `reach` deliveries after it, and
    `duplicates` the share that comes twice; both from 0 to 1, disorder up to 0.5. With `zipf` 0, every entity has the
    same number of events, in random order; else the entity of rank r has a share in proportion to 1 / r ** zipf.
    """

    events: int = 200_000
    keys: int = 10_000
    zipf: float = 0.0
    disorder: float = 0.0
    duplicates: float = 0.0
    reach: int = APART
    payload_bytes: int = _PLAIN_BYTES
    partitions: int = 8
    seed: int = 7

    @property
    def topic(self) -> str:
        """A topic name that says what is in it."""
        return "bench-" + "-".join(f"{part:.9g}" for part in msgspec.structs.astuple(self))


class Entry(msgspec.Struct):
    """One debit or credit. Its JSON is what the peers read too."""

    id: str
    entity: str
    version: int
    amount: int


class Padded(Entry):
    """An entry with a text that makes it as long as is asked for."""

    text: str


class Truth:
    """Every entity's last version and balance, and what the stream of deliveries is like."""

    def __init__(self, keys: int) -> None:
        self.versions = array("q", bytes(8 * keys))
        self.totals = array("q", bytes(8 * keys))
        self.deliveries = 0
        self.late = 0
        """Deliveries that came after their own successor."""
        self.repeated = 0

    @property
    def busiest(self) -> int:
        """How many events the busiest entity has."""
        return max(self.versions)

    @property
    def events(self) -> int:
        """How many different events there are."""
        return sum(self.versions)

    def wrong(self, found: Iterable[tuple[str, int, int | None]]) -> int:
        """How many entities are not as they should be. `found` has key, version and, where it is kept, balance."""
        missing = sum(version > 0 for version in self.versions)
        wrong = 0
        for key, version, total in found:
            number = int(key.rpartition("-")[2])
            missing -= self.versions[number] > 0
            wrong += version != self.versions[number] or total not in (None, self.totals[number])
        return wrong + missing


def deliveries(work: Workload, truth: Truth) -> Iterator[Entry]:
    """The deliveries of a workload in order of arrival. `truth` is complete when they have all been taken."""
    rng = random.Random(work.seed + 1)
    # To have a share f come late where what is overtaken does not overtake, f / (1 - f) of the rest must be chosen.
    late_chance = work.disorder / (1 - work.disorder)
    overtaken: dict[str, Entry] = {}
    later: list[tuple[int, int, Entry]] = []

    def put_off(entry: Entry, most: int) -> None:
        heapq.heappush(later, (at + rng.randint(1, most), truth.deliveries + len(later), entry))

    for at, entry in enumerate(_events(work, truth)):
        late = overtaken.pop(entry.entity, None)
        if late is None and late_chance and rng.random() < late_chance:
            overtaken[entry.entity] = entry
        else:
            truth.deliveries += 1
            yield entry
            if late is not None:
                truth.late += 1
                put_off(late, work.reach)
        if work.duplicates and rng.random() < work.duplicates:
            truth.repeated += 1
            put_off(entry, APART)
        while later and later[0][0] <= at:
            truth.deliveries += 1
            yield heapq.heappop(later)[2]
    for entry in (*overtaken.values(), *(put_off for _, _, put_off in sorted(later))):
        truth.deliveries += 1
        yield entry


def _events(work: Workload, truth: Truth) -> Iterator[Entry]:
    """Every event once, those of each entity in the order of their versions."""
    rng = random.Random(work.seed)
    padding = "x" * max(0, work.payload_bytes - _PLAIN_BYTES)
    versions, totals = truth.versions, truth.totals
    for owner in _owners(work, rng):
        versions[owner] += 1
        amount = rng.randint(-10_000, 10_000)
        totals[owner] += amount
        known = (f"{rng.getrandbits(128):032x}", f"account-{owner:07d}", versions[owner], amount)
        yield Padded(*known, padding) if padding else Entry(*known)


def _owners(work: Workload, rng: random.Random) -> array[int]:
    if work.zipf:
        weights = list(accumulate(1 / (rank + 1) ** work.zipf for rank in range(work.keys)))
        return array("L", rng.choices(range(work.keys), cum_weights=weights, k=work.events))
    owners = array("L", (number % work.keys for number in range(work.events)))
    rng.shuffle(owners)
    return owners
