"""What is queued for the thread of a batch runner, and what becomes of it when a partition goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from inorder.core.engine import Unit
from inorder.core.event import Event, Partition, Record, Slice
from inorder.observe.nobody import NOBODY
from inorder.worker.ahead import Follow
from inorder.worker.job import Job
from inorder.worker.runner import BatchRunner
from inorder.worker.timers import Timers
from tests.worker.played import HERE, THERE

LONG_S = 60.0


class Effect:
    """A handler that nobody has to watch."""

    now_at = None


class Held:
    """In place of `Batches`: each run is noted, and waits until it is let go."""

    def __init__(self) -> None:
        self.timers, self.effect, self.observer = Timers(), Effect(), NOBODY
        self.aside: list[Any] = []
        self.runs: list[list[tuple[Partition, int]]] = []
        self.began, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def close(self) -> None:
        pass

    def run(self, job: Job, due: list[str], fences: Mapping[Partition, int], follow: Follow) -> dict[Partition, int]:
        self.runs.append([(event.slice.partition, event.version) for event in job.events])
        self.began.release()
        assert self.go.acquire(timeout=LONG_S)
        return {}


class Nothing:
    """In place of a store."""

    def close(self) -> None:
        pass


class RealTime:
    """A clock."""

    def now(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError


def job(partition: Partition, version: int) -> Job:
    piece = Slice.of(partition, [Record(partition, version, b"a", b"")])
    made = Job()
    event = Event("a", version, f"a{version}", version, None, piece, 0)
    made.add(Unit(partition, 1, piece.next_offset, 1, 0), piece, [event], [])
    return made


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def runner(held: Held) -> Iterator[BatchRunner]:
    made = BatchRunner(lambda: (Nothing(), held), RealTime(), merge=2)  # type: ignore[arg-type, return-value]
    yield made
    for _ in range(9):
        held.go.release()
    assert made.stop(LONG_S)


def test_what_has_queued_up_runs_together_up_to_a_number_of_events(runner: BatchRunner, held: Held) -> None:
    for version in range(1, 5):
        runner.submit(job(HERE, version))
    assert held.began.acquire(timeout=LONG_S)
    for _ in range(3):
        held.go.release()
    while sum(map(len, held.runs)) < 4:
        assert held.began.acquire(timeout=LONG_S)
    assert [place for run in held.runs for place in run] == [(HERE, version) for version in range(1, 5)]
    assert max(map(len, held.runs)) <= 2
    assert any(len(run) == 2 for run in held.runs)


def test_what_is_queued_of_a_partition_that_went_is_never_run(runner: BatchRunner, held: Held) -> None:
    runner.submit(job(HERE, 1))
    assert held.began.acquire(timeout=LONG_S)
    runner.submit(job(HERE, 2))
    runner.submit(job(THERE, 3))
    assert not runner.drop({HERE}, 0), "what runs is not over"
    assert runner.settled() == []
    for _ in range(3):
        held.go.release()
    assert runner.drop({HERE}, LONG_S)
    runner.wait(LONG_S)
    while len(held.runs) < 2 or runner.busy():
        runner.settled()
        runner.wait(0.01)
    assert held.runs == [[(HERE, 1)], [(THERE, 3)]]


def test_units_are_settled_when_their_job_is_through_and_not_before(runner: BatchRunner, held: Held) -> None:
    runner.submit(job(HERE, 1))
    assert held.began.acquire(timeout=LONG_S)
    assert (runner.settled(), runner.busy()) == ([], True)
    held.go.release()
    runner.wait(LONG_S)
    assert runner.settled() == [Unit(HERE, 1, 2, 1, 0)]
    assert (runner.settled(), runner.busy()) == ([], False)
