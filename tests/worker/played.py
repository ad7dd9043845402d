"""A poll loop whose clock, source, store and runner are played: nothing waits, and no thread runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from inorder.core.engine import Unit
from inorder.core.event import Event, Malformed, Partition, Record, Slice
from inorder.core.limits import Limits
from inorder.core.order import Order
from inorder.core.room import Room
from inorder.core.waiting import AT_ONCE, Wait, Waiting
from inorder.errors import Unreachable
from inorder.observe.nobody import Nobody
from inorder.proof.memory import MemoryStore
from inorder.worker.job import Job
from inorder.worker.worker import Loop

HERE, THERE = Partition("topic", 0), Partition("topic", 1)
SET_GOING = Waiting(Wait.GAP, 0, 0.0, due_at=AT_ONCE)
"""How a key is said to wait that is to be looked at now."""


class Still:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.at = 1_000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.slept.append(seconds)


class Played:
    """A runner that says what it is told to."""

    def __init__(self) -> None:
        self.refused: dict[Partition, int] = {}
        self.without_room: dict[Partition, str] = {}
        self.tries = 0
        self.woken: list[Mapping[str, Any]] = []
        self.fences: dict[Partition, int] = {}
        self.jobs: list[Job] = []
        self.done: list[Unit] = []
        self.over: list[Unit] = []
        self.dropped: list[tuple[set[Partition], float]] = []
        self.is_busy = False
        self.in_time = True
        self.watched = 0
        self.new_thread = False
        self.waited: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None
        """What happens while it is waited for."""

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def settled(self) -> list[Unit]:
        found, self.done = self.done, []
        return found

    def lapsed(self) -> list[Unit]:
        found, self.over = self.over, []
        return found

    def drop(self, partitions: set[Partition], timeout_s: float) -> bool:
        self.dropped.append((partitions, timeout_s))
        for job in self.jobs if timeout_s else ():
            self.done += job.units  # what runs is finished
        return True

    def busy(self) -> bool:
        return self.is_busy

    def wait(self, timeout_s: float) -> None:
        self.waited.append(timeout_s)
        self.meanwhile()

    def watch(self, limit_s: float) -> bool:
        self.watched += 1
        found, self.new_thread = self.new_thread, False
        return found

    def stop(self, timeout_s: float) -> bool:
        return self.in_time

    def lost(self) -> dict[Partition, int]:
        found, self.refused = self.refused, {}
        return found

    def full(self) -> dict[Partition, str]:
        return self.without_room

    def try_again(self) -> None:
        self.tries += 1

    def own(self, fences: Mapping[Partition, int], due: Mapping[str, Any] | None = None) -> None:
        self.woken.append(dict(due or {}))
        self.fences = dict(fences)


class Alone:
    """A source without a group, that gives out nothing."""

    def __init__(self) -> None:
        self.listener: Any = None
        self.polled: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None
        """What happens while it is polled."""
        self.paused: list[Partition] = []
        self.committed: list[dict[Partition, int]] = []
        self.ends = True
        self.gives: list[Slice] = []
        self.closed = False

    def pause(self, partitions: Any) -> None:
        self.paused += partitions

    def resume(self, partitions: Any) -> None:
        self.paused = [one for one in self.paused if one not in partitions]

    def subscribe(self, listener: Any) -> None:
        self.listener = listener

    def poll(self, most: int, timeout_s: float) -> list[Slice]:
        self.polled.append(timeout_s)
        self.meanwhile()
        found, self.gives = self.gives, []
        return found

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        assert not self.closed
        self.committed.append(dict(offsets))

    def at_end(self) -> bool:
        return self.ends

    def close(self) -> None:
        self.closed = True


class Quiet(Alone):
    """A source in a group, that gives out nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.rejoined = 0

    def rejoin(self) -> None:
        self.rejoined += 1


class Messages(Quiet):
    """A queue, that gives out nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: list[int] = []
        self.forgotten: list[int] = []

    def settle(self, deliveries: Any) -> None:
        self.settled += deliveries

    def forget(self, deliveries: Any) -> None:
        self.forgotten += deliveries


class Noting(Quiet):
    """A source whose broker keeps notes."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[dict[Partition, str]] = []
        self.found: dict[Partition, tuple[int, str]] = {}
        """The notes that an earlier owner has left."""

    def note(self, notes: Mapping[Partition, str]) -> None:
        self.notes.append(dict(notes))

    def noted(self, partitions: Any) -> dict[Partition, tuple[int, str]]:
        return {partition: self.found[partition] for partition in partitions if partition in self.found}


class Seen(Nobody):
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def polled(self) -> None:
        self.told.append(("polled",))

    def received(self, unit: Unit, piece: Slice) -> None:
        self.told.append(("received", unit.events, len(piece)))

    def settled(self, unit: Unit) -> None:
        self.told.append(("settled", unit.events))

    def lapsed(self, unit: Unit) -> None:
        self.told.append(("lapsed", unit.events))

    def owned(self, partitions: Any, came: int = 0, went: int = 0, lost: int = 0) -> None:
        self.told.append(("owned", len(list(partitions)), came, went, lost))

    def paused(self, cause: str, why: str | None, who: int = 0) -> None:
        self.told.append((cause, why))


class Plain:
    """A codec that takes every record for an event."""

    def read(self, piece: Slice) -> tuple[list[Event], list[Malformed]]:
        return [Event("k", n + 1, f"id{n}", 1, None, piece, n) for n in range(len(piece))], []


class Asked(MemoryStore):
    """A store that notes when it was asked for what is overdue, and has as many letters as it is told."""

    letters_now = 0
    held_now = 0
    since: float = 0.0
    retrying: Mapping[str, Waiting] = {}
    due_now: Mapping[str, Waiting] = {}
    away = 0
    """How many questions are not answered."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.asked: list[str] = []
        self.meanwhile: Callable[[str], None] = lambda what: None
        """What happens while it is asked for this."""
        self.beats: list[tuple[list[Partition] | None, float]] = []

    def _asked(self, what: str) -> None:
        self.asked.append(what)
        self.meanwhile(what)
        if self.away:
            self.away -= 1
            raise Unreachable("store: away")

    def acquire(self, partitions: Any) -> dict[Partition, int]:
        self._asked("acquire")
        return super().acquire(partitions)

    def due(self, partitions: Any) -> dict[str, Waiting]:
        self._asked("due")
        return self._of(partitions)

    def retried(self, most: int) -> dict[str, Waiting]:
        self._asked("retried")
        return dict(self.retrying)

    def overdue(self, now: float, partitions: Any) -> dict[str, Any]:
        self._asked("overdue")
        self.since = now
        return self._of(partitions)

    def _of(self, partitions: Any) -> dict[str, Waiting]:
        return {key: waiting for key, waiting in self.due_now.items() if waiting.home in partitions}

    def open_letters(self, most: int) -> int:
        self._asked("letters")
        return self.letters_now

    def held_events(self, most: int) -> int:
        return min(most, self.held_now)

    def crowded_keys(self, most: int) -> set[str]:
        return {"crowded"}

    def beat(self, tally: int, partitions: Any, events_per_s: float) -> bool:
        self.beats.append((partitions, events_per_s))
        return True


class Scene:
    """A loop that has two partitions."""

    def __init__(self, source: Alone | None = None, **limits: int) -> None:
        self.clock, self.runner, self.source = Still(), Played(), source or Quiet()
        self.polls = 0
        self.store = Asked("orders")
        self.store.register(Order.STRICT, 0)
        most = Limits(**limits)
        self.room = Room(most)
        given: Any = self.source
        control: Any = self.store
        runner: Any = self.runner
        codec: Any = Plain()
        clock: Any = self.clock
        self.seen = Seen()
        self.loop = Loop(given, control, runner, codec, clock, most, self.room, self._polled, self.seen)
        self.loop.assigned([HERE, THERE])

    def _polled(self) -> None:
        self.polls += 1

    @property
    def rejoined(self) -> int:
        """How often the group was joined anew."""
        return self.source.rejoined if isinstance(self.source, Quiet) else 0

    @property
    def owned(self) -> dict[Partition, int]:
        return dict(self.loop._engine.fences)

    def receive(self, partition: Partition, offset: int = 0, events: int = 2) -> list[Unit]:
        """So many events are polled, and handed to the runner."""
        self.source.gives = [Slice.of(partition, [Record(partition, offset + n, b"k", b"{}") for n in range(events)])]
        self.loop._turn()
        return self.runner.jobs[-1].units
