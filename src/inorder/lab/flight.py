"""Which entities are in flight at the same time: received by a worker, and what was decided not yet committed.

What a process never committed, because it was killed or had lost the partition, is left out: it counts for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

import msgspec

from inorder.lab.history import Receipt

MARGIN = 0.2
"""This share of a run, at its beginning, is not like the rest: everything is new."""
CANDIDATES = 200
"""Moments that are looked at closely."""


class Moment(msgspec.Struct, frozen=True):
    """A moment of a run, and some of what was in flight at it, each of another entity."""

    at: float
    began: float
    """When the run began to receive."""
    entities: int
    workers: int
    shown: list[Receipt]


class _Sky:
    """Goes through the moments at which flights begin and end."""

    def __init__(self, receipts: Sequence[Receipt]) -> None:
        changes: dict[float, tuple[list[int], list[int]]] = {}
        for index, one in enumerate(receipts):
            landed_at = one.settled_at or 0.0
            if one.received_at < landed_at:
                changes.setdefault(one.received_at, ([], []))[0].append(index)
                changes.setdefault(landed_at, ([], []))[1].append(index)
        self._changes = sorted(changes.items())
        self._receipts = receipts
        self.entities: Counter[str] = Counter()
        self.workers: Counter[str] = Counter()
        self.flying: dict[int, Receipt] = {}

    def __iter__(self) -> Iterator[float]:
        for at, (begin, end) in self._changes:
            # Who lands as another starts was not in the air with it, and what lands together is never seen half landed.
            for index in end:
                one = self.flying.pop(index)
                self._count(one, -1)
            for index in begin:
                one = self.flying[index] = self._receipts[index]
                self._count(one, 1)
            yield at

    def _count(self, one: Receipt, more: int) -> None:
        for counter, key in (self.entities, one.entry.account), (self.workers, one.worker):
            counter[key] += more
            if not counter[key]:
                del counter[key]


def peak(receipts: Sequence[Receipt]) -> int:
    """The most entities that were in flight at one moment, over all workers."""
    sky = _Sky(receipts)
    return max((len(sky.entities) for _ in sky), default=0)


def moment(receipts: Sequence[Receipt], most: int) -> Moment | None:
    """A moment fit to be shown: nearly as many workers busy as ever, `most` entities or more, and all over soon."""
    if not receipts:
        return None
    began, ended = receipts[0].received_at, receipts[-1].received_at
    since = began + MARGIN * (ended - began)
    sky = _Sky(receipts)
    seen = [
        (len(sky.workers), len(sky.entities), step)
        for step, at in enumerate(sky)
        if since <= at <= ended and sky.flying
    ]
    if not seen:
        return None
    workers = max(found[0] for found in seen)
    busy = [found for found in seen if found[0] >= max(workers - 1, min(workers, 2))]
    entities = min(most, max(found[1] for found in busy))
    fit = [found[2] for found in busy if found[1] >= entities]
    chosen = set(fit[:: len(fit) // CANDIDATES + 1])
    best: tuple[float, Moment] | None = None
    sky = _Sky(receipts)
    for step, at in enumerate(sky):
        if step in chosen:
            found = Moment(at, began, len(sky.entities), len(sky.workers), _sample(sky.flying.values(), most))
            span = max(one.settled_at or 0.0 for one in found.shown) - min(one.received_at for one in found.shown)
            if best is None or span / found.workers < best[0]:
                best = span / found.workers, found
    return best[1] if best else None


def _sample(flying: Iterable[Receipt], most: int) -> list[Receipt]:
    """Up to `most` of them, each of another entity, spread over the workers and over what each received at once."""
    polls: dict[str, dict[float, list[Receipt]]] = {}
    seen: set[str] = set()
    for one in flying:
        if one.entry.account not in seen:
            seen.add(one.entry.account)
            polls.setdefault(one.worker, {}).setdefault(one.received_at, []).append(one)
    ranked: list[tuple[int, str, Receipt]] = []
    for worker, found in polls.items():
        turns = zip_longest(*found.values())
        mine = [one for turn in turns for one in turn if one is not None]
        ranked += [(rank, worker, one) for rank, one in enumerate(mine)]
    ranked.sort(key=lambda found: found[:2])
    return sorted((one for _, _, one in ranked[:most]), key=lambda one: (one.worker, one.received_at))
