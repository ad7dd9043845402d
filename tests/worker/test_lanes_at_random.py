"""Lanes under schedules drawn from a seed: slow stores, handlers that fail or wait, rebalances, two workers of a queue.

However it goes, each key's events take effect in order, all of them do, nothing is left behind in the worker, and the
counts add up. Nobody looks for overdue keys: whatever waits must have somebody who wakes it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest

import inorder
from inorder.core.event import Partition
from inorder.core.waiting import NEVER
from inorder.proof.memory import MemoryStore
from tests.worker.lanes import Gate, Held, Scene, played
from tests.worker.played import HERE, SET_GOING, THERE

KEYS = "abc"
SEEDS = 100


class Manner(NamedTuple):
    """What a course is made of. `moves`: partitions go and come back. `workers`: of a queue, where there are two."""

    queue: bool = False
    moves: bool = False
    batch: int = 1
    workers: int = 1


MANNERS = {
    "partitions": Manner(),
    "partitions that move": Manner(moves=True),
    "partitions, in batches": Manner(batch=3),
    "partitions that move, in batches": Manner(moves=True, batch=3),
    "a queue": Manner(queue=True),
    "a queue of two workers": Manner(queue=True, workers=2),
}


class Course:
    """One course: what is to come, and the workers that it comes to."""

    def __init__(self, seed: int, manner: Manner) -> None:
        self.rng = random.Random(seed)
        self.manner = manner
        store = MemoryStore("stream")
        options = {
            "queue": manner.queue,
            "batch": manner.batch,
            "store": store,
            "retry": inorder.Retry(attempts=50, delay_s=self.rng.choice([0.05, 1.0]), factor=1),
        }
        at_once = self.rng.choice([1, 2, 16])
        self.workers = [Scene(at_once, **options) for _ in range(manner.workers)]  # type: ignore[arg-type]
        self.called: list[str] = []
        self.each = self.rng.randint(3, 7)
        self.coming = [(key, version) for key in KEYS for version in range(1, self.each + 1)]
        self.coming.sort(key=lambda one: one[1] + self.rng.random() * 4)
        self.homes = {key: self.rng.choice([HERE, THERE]) for key in KEYS}
        self.given: list[tuple[Partition, str]] = []
        for it in self.workers:
            it.called = self.called
            for gate in (it.desk.loads, it.desk.reads, it.desk.writes):
                gate.passed = self._slowly(gate)  # type: ignore[method-assign,assignment]
            for key, version in self.coming:
                self._trouble(it, f"{key}{version}")

    def _slowly(self, gate: Gate) -> Callable[[], Awaitable[None]]:
        passed = gate.passed

        async def slowly() -> None:
            if self.rng.random() < 0.5:
                await asyncio.sleep(self.rng.random() * 0.3)
            await passed()

        return slowly

    def _trouble(self, it: Scene, name: str) -> None:
        what = self.rng.random()
        if what < 0.25:
            it.fails[name] = [ValueError("no")] * self.rng.randint(1, 2)
        elif what < 0.3:
            it.fails[name] = [inorder.Unavailable("away")] * self.rng.randint(1, 2)
        if self.rng.random() < 0.3:
            it.stop_at(name)

    async def run(self) -> None:
        while self.coming or any(it.stops for it in self.workers):
            it, what = self.rng.choice(self.workers), self.rng.random()
            if what < 0.35:
                self._come(it)
            elif what < 0.5 and it.stops:
                it.let(self.rng.choice(list(it.stops)))
            elif what < 0.6:
                it.work.own(it.fences, {key: SET_GOING for key in KEYS if self.rng.random() < 0.6})
            elif what < 0.65 and self.manner.moves:
                await self._move(it)
            await it.rest(self.rng.choice([0, 0.01, 0.1, 0.5]) * self.rng.random())
        await self.workers[0].rest(60.0)

    def _come(self, it: Scene) -> None:
        """Some events, each to the partition of its key."""
        count = self.rng.randint(1, 3)
        chunk, self.coming = self.coming[:count], self.coming[count:]
        for partition in (HERE, THERE):
            names = " ".join(f"{key}{version}" for key, version in chunk if self.homes[key] == partition)
            if names:
                it.give(names, partition, Held() if self.manner.queue else None)
                self.given.append((partition, names))

    async def _move(self, it: Scene) -> None:
        """A partition goes, in time or not, and comes back with all that it ever had."""
        partition = self.rng.choice([HERE, THERE])
        it.work.drop({partition})
        if self.rng.random() < 0.5:
            await asyncio.wait([asyncio.ensure_future(it.work.drained({partition}))], timeout=self.rng.random() * 0.3)
        it.fences = {**it.fences, **it.store.acquire([partition])}
        waits = it.store.tables.waits.items()
        it.work.own(it.fences, {key: one for key, one in waits if one.home == partition and one.due_at != NEVER})
        for home, names in self.given:
            if home == partition:
                it.give(names, partition)

    def check(self) -> None:
        it = self.workers[0]
        assert [one.failures for one in self.workers] == [[]] * len(self.workers)
        assert it.applied() == dict.fromkeys(KEYS, self.each), it.store.tables.waits
        for key in KEYS:
            versions = [int(name[1:]) for call in self.called for name in call.split("+") if name[0] == key]
            assert list(dict.fromkeys(versions)) == list(range(1, self.each + 1)), "in order"
        outcomes = it.outcomes()
        decided = sum(outcomes.get(name, 0) for name in ("applied", "duplicate", "held"))
        assert (outcomes["received"], outcomes["applied"]) == (decided, len(KEYS) * self.each)
        assert outcomes.get("held", 0) == 0
        assert self.manner.moves or "duplicate" not in outcomes
        assert not any(one.busy() or one.work._waking._rung or one.work._waking._draining for one in self.workers)


@pytest.mark.parametrize("manner", MANNERS.values(), ids=MANNERS)
def test_however_it_goes_all_takes_effect_in_order(manner: Manner) -> None:
    for seed in range(SEEDS):
        course: list[Course] = []

        @played
        async def go(seed: int = seed, course: list[Course] = course) -> None:
            course.append(Course(seed, manner))
            await course[0].run()
            course[0].check()

        try:
            go()
        except BaseException as error:
            error.add_note(f"with seed {seed}")
            raise
