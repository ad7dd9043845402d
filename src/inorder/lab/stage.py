"""Members of one consumer group, moved by hand: who has which partition, and who gets what next, is the script's.

They are the workers' own runners, with their own stores on one file; only the poll loop is missing. Handlers take
turns on one event loop, and how many turns each takes is a matter of the seed: the same script, the same run.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from inorder.codecs.json import JsonCodec
from inorder.core.engine import Unit
from inorder.core.event import Partition, Record, Slice
from inorder.core.lanes import Lanes
from inorder.core.waiting import AT_ONCE, Wait, Waiting
from inorder.declaration import Kind, declaration_of
from inorder.lab.switches import Crossing, Loose, Mechanism, planner_without
from inorder.ports import Store
from inorder.wiring import open_store
from inorder.worker.batch import Batches
from inorder.worker.effects import FoldEffect
from inorder.worker.job import Job
from inorder.worker.keeper import Answer, Keeper
from inorder.worker.lane_work import LaneWork

TOPIC = "stage"
STORE = "stage.db"
LANES = 64
"""Events that a member handles at once."""
PATIENCE_S = 20.0
"""A run whose handlers have not ended after so long has failed."""
WAKES = 10_000


class Time:
    """Seconds since the stage was set up: what is due is due at once, or long after the end."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self._began

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError("nothing on a stage waits")


class Direct(Keeper):
    """Asks the store at once, without a thread: how soon it answers must not decide anything here."""

    async def _ask(self, question: Callable[[], Answer]) -> Answer:
        return question()


class Member:
    """One worker. `gone` are the mechanisms that it does without."""

    def __init__(
        self,
        function: Callable[..., Any],
        store: str,
        gone: frozenset[Mechanism],
        loop: asyncio.AbstractEventLoop,
        number: int,
    ) -> None:
        declared = declaration_of(function)
        self._codec = JsonCodec(declared)
        self._loop = loop
        self._gone = gone
        self._clock = Time()
        self._fences: dict[Partition, int] = {}
        self._chance = random.Random(number)
        opened = open_store(store, declared.name)
        # A stage need not outlive a power cut, and its runs are many.
        opened._connection.execute("PRAGMA synchronous = OFF")
        self._store = cast("Store", Loose(opened, gone))
        self._store.register(declared.order, declared.baseline)
        tally = self._store.tally("stage")
        planner = planner_without(declared, gone)
        self._batches: Batches | None = None
        self._lanes: LaneWork | None = None
        self.failure: BaseException | None = None
        if declared.kind is Kind.FOLD:
            self._batches = Batches(planner, FoldEffect(declared), self._codec, self._store, tally, self._clock)
        else:
            lanes = Crossing(LANES) if Mechanism.LANE in gone else Lanes(LANES)
            keeper = Direct(self._store)
            self._lanes = LaneWork(declared, lanes, planner, self._codec, keeper, tally, self._clock, None)
            self._lanes.begin(loop)
            self._lanes.on_failure = self._failed
            # What is settled is asked of the store, and who has lost what is the stage's own doing.
            self._lanes.on_settled = self._lanes.on_lapsed = self._lanes.on_lost = _let_be

    def take_over(self, numbers: Sequence[int]) -> None:
        """These partitions are this member's now; whoever had them is not told."""
        partitions = [Partition(TOPIC, number) for number in numbers]
        self._fences |= self._store.acquire(partitions)
        due = self._store.due(partitions)
        if self._lanes is not None:
            self._lanes.own(self._fences, due)
        elif self._batches is not None:
            self._batches.timers.note(due)

    def receive(self, number: int, offset: int, values: Sequence[bytes]) -> None:
        """These records were polled. Batches decide them before this returns; lanes, as the event loop turns."""
        partition = Partition(TOPIC, number)
        records = [Record(partition, offset + at, None, value) for at, value in enumerate(values)]
        piece = Slice.of(partition, records)
        job = Job()
        unit = Unit(partition, self._fences[partition], piece.next_offset, len(piece), 0)
        if self._lanes is not None:
            job.add(unit, piece)
            self._lanes.take_in([job])
        elif self._batches is not None:
            events, malformed = self._codec.read(piece)
            if Mechanism.LANE in self._gone:
                self._chance.shuffle(events)
            job.add(unit, piece, events, malformed)
            self._batches.run(job, [], self._fences)
            self._wake(self._batches)

    @property
    def busy(self) -> bool:
        """Whether a handler runs, or anything is not committed."""
        return self._lanes is not None and self._lanes.busy

    def wake_all(self, keys: Sequence[str]) -> None:
        """Look at everything that waits once more."""
        waits: Mapping[str, Waiting] = {key: Waiting(Wait.GAP, 0, 0.0, due_at=AT_ONCE) for key in keys}
        if self._lanes is not None:
            self._lanes.own(self._fences, waits)
        elif self._batches is not None:
            self._batches.timers.note(waits)
            self._wake(self._batches)

    def close(self) -> None:
        """Release what is open."""
        if self._lanes is not None:
            self._lanes.close()
        else:
            self._store.close()

    def _wake(self, batches: Batches) -> None:
        for _ in range(WAKES):
            due = batches.timers.take(self._clock.now())
            if not due:
                return
            batches.run(Job(), due, self._fences)

    def _failed(self, error: BaseException) -> None:
        self.failure = error


def _let_be(_: object) -> None:
    """Do nothing about it."""


class Stage:
    """The members, and the event loop that their handlers share."""

    def __init__(
        self, folder: Path, make: Callable[[int], Callable[..., Any]], gone: frozenset[Mechanism], size: int
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self.store = f"sqlite:///{folder / STORE}"
        self.members = [Member(make(number), self.store, gone, self._loop, number) for number in range(size)]

    def settle(self, until: Callable[[], bool] | None = None) -> None:
        """Let the handlers run, until nobody is busy or something is so."""
        done = until or (lambda: not any(member.busy for member in self.members))

        async def turn() -> None:
            deadline = time.monotonic() + PATIENCE_S
            while not done():
                if time.monotonic() > deadline or any(member.failure for member in self.members):
                    raise RuntimeError("the handlers of the stage did not end")
                await asyncio.sleep(0.000_5)

        self._loop.run_until_complete(turn())

    def close(self) -> None:
        """End it."""
        for member in self.members:
            member.close()
        self._loop.close()
