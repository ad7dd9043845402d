"""A batch runner without its thread: what that would do is called by hand, and whoever waits has something happen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from inorder.core.effect import NoRoom
from inorder.core.engine import Unit
from inorder.core.event import Event, Partition, Record, Slice
from inorder.core.waiting import Wait, Waiting
from inorder.worker import runner as running
from inorder.worker.ahead import Follow, nobody_follows
from inorder.worker.job import Job, Turn
from inorder.worker.runner import BatchRunner
from inorder.worker.timers import Timers
from tests.worker.played import HERE, THERE, Seen, Still

FENCES = {HERE: 7, THERE: 8}
RETRY = Waiting(Wait.RETRY, 1, 0.0, 1_000.0, home=HERE)
MERGE = 4


class Thread:
    """One that never runs, and ends when it is told to, or not."""

    ends = True

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], name: str, daemon: bool) -> None:
        assert daemon, "a handler that hangs must not keep the process"
        self.target, self.args = target, args
        self.started = 0
        self.joined: list[float] = []

    def start(self) -> None:
        self.started += 1

    def join(self, timeout_s: float) -> None:
        self.joined.append(timeout_s)

    def is_alive(self) -> bool:
        return not self.ends


class Lock:
    """Nobody else is there to take it."""

    def __init__(self) -> None:
        self.held = False

    def __enter__(self) -> None:
        assert not self.held
        self.held = True

    def __exit__(self, *_: object) -> None:
        self.held = False


class Condition:
    """Whoever waits has `meanwhile` happen."""

    def __init__(self, lock: Lock) -> None:
        self.lock = lock
        self.told = 0
        self.waits: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def notify_all(self) -> None:
        assert self.lock.held
        self.told += 1

    def wait(self, timeout_s: float) -> None:
        assert self.lock.held
        self.waits.append(timeout_s)
        self.lock.held = False
        self.meanwhile()
        self.lock.held = True

    def wait_for(self, holds: Callable[[], Any], timeout_s: float) -> bool:
        if not holds():
            self.wait(timeout_s)
        return bool(holds())


class Store:
    def __init__(self) -> None:
        self.told: list[str] = []

    def close(self) -> None:
        self.told.append("closed")

    def abandon(self) -> None:
        self.told.append("abandoned")


class Batches:
    """Notes what it is given. Each run ends as it is told to: with what is returned, or raised."""

    def __init__(self) -> None:
        self.timers, self.observer = Timers(), Seen()
        self.effect = SimpleNamespace(now_at=None, turns=0, barred={})
        self.told: list[str] = []
        self.aside: list[tuple[NoRoom, Job]] = []
        self.runs: list[tuple[list[str], list[str], dict[Partition, int]]] = []
        self.ends: list[dict[Partition, int] | BaseException] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.follows: list[Turn | None] = []
        """What was said to be next, where it was asked for: `looks_ahead` times in each run."""
        self.looks_ahead = 0

    def run(
        self, job: Job, due: list[str], fences: Mapping[Partition, int], follow: Follow = nobody_follows
    ) -> dict[Partition, int]:
        self.runs.append(([event.key for event in job.events], due, dict(fences)))
        self.effect.now_at = job.events[0] if job.events else None
        self.follows += [follow() for _ in range(self.looks_ahead)]
        self.meanwhile()
        self.effect.now_at = None
        end = self.ends.pop(0) if self.ends else {}
        if isinstance(end, BaseException):
            raise end
        return end

    def discard(self) -> None:
        self.told.append("discarded")

    def close(self) -> None:
        self.told.append("closed")

    def abandon(self) -> None:
        self.told.append("abandoned")


class Scene:
    """A runner that owns two partitions."""

    def __init__(self) -> None:
        self.clock = Still()
        self.made: list[tuple[Store, Batches]] = []
        self.news = 0
        self.runner = BatchRunner(self.make, self.clock, MERGE, self.tell)
        self.runner.own(FENCES)
        self.condition.told = 0
        self.thrown: list[Any] = []
        """What was thrown into which thread."""

    def tell(self) -> None:
        self.news += 1

    def make(self) -> Any:
        self.made.append((Store(), Batches()))
        return self.made[-1]

    @property
    def condition(self) -> Any:
        return self.runner._condition

    @property
    def thread(self) -> Any:
        return self.runner._thread

    @property
    def batches(self) -> Batches:
        return self.made[-1][1]

    @property
    def runs(self) -> list[list[str]]:
        """The keys of each run's events."""
        return [keys for keys, _, _ in self.batches.runs]

    def next(self, batches: Batches | None = None) -> bool:
        """One turn of the thread."""
        return self.runner._next(batches or self.batches)  # type: ignore[arg-type]

    def submit(self, keys: str, partition: Partition = HERE) -> Job:
        made = job(keys, partition)
        self.runner.submit(made)
        return made

    def lacks_room(self, keys: str, partition: Partition = HERE) -> Job:
        """A job that found no room is set aside, the partition's first."""
        made = self.submit(keys, partition)
        self.batches.meanwhile = lambda: self.batches.aside.append(no_room(made))
        assert self.next()
        self.batches.meanwhile = lambda: None
        return made


def played(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A scene in which no thread runs, and what is thrown into one is noted."""
    monkeypatch.setattr(running, "threading", SimpleNamespace(Thread=Thread, RLock=Lock, Condition=Condition))
    scene = Scene()
    monkeypatch.setattr(running, "throw", lambda error, thread: scene.thrown.append((error, thread)))
    return scene


def job(keys: str, partition: Partition = HERE) -> Job:
    """One slice, with an event of each key."""
    made = Job()
    piece = Slice.of(partition, [Record(partition, n, b"", b"") for n in range(len(keys))])
    unit = Unit(partition, FENCES[partition], piece.next_offset, len(piece), 0)
    made.add(unit, piece, [Event(key, 3, key, 1, None, piece, n) for n, key in enumerate(keys)], [])
    return made


def no_room(of: Job) -> tuple[NoRoom, Job]:
    error = NoRoom(of.events[0], "no room")
    return error, of.split(error.partition, error.first)
