"""One worker: polls a source, hands what comes to a runner, and commits what is settled."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Protocol, TypeVar

from inorder.codecs.json import JsonCodec
from inorder.core.engine import Command, Commit, Engine, Pause, Resume, Unit
from inorder.core.event import Partition, Slice
from inorder.core.limits import Limits
from inorder.core.planner import NO_ROOM_S
from inorder.core.room import Room
from inorder.core.waiting import Waiting
from inorder.errors import InorderError, Unreachable
from inorder.observe.nobody import NOBODY
from inorder.ports import Clock, GroupSource, NotingSource, Observer, Queue, Source, Store
from inorder.worker.job import Job
from inorder.worker.pulse import Pulse

log = logging.getLogger("inorder.worker")

Found = TypeVar("Found")

POLL_S = 0.1
"""Longest wait for a first event. Bounds how late a settled offset is committed on an idle stream."""
FULL_WAIT_S = 0.2
"""How long a full worker waits for room before it pauses the source, which throws prefetched records away."""
COMMIT_EVERY_S = 0.1
"""Least time between two commits of offsets. What is redelivered for want of one is skipped by the guard."""
NOTE_EVERY_S = 1.0
"""Least time between two commits that only say what is settled beyond a frontier that stands still."""
FENCED_FOR_S = 5.0
"""How long the store may refuse a partition that the source leaves us: a few times what a group takes to tell a member
that it has been put out. After that its group is asked anew who has it."""
REJOINS, REJOINS_WITHIN_S = 3, 600.0
"""So many times within so long: whoever takes the partition away again after that is of another group."""
OVERDUE_EVERY_S = 5.0
"""How often a worker looks for keys that somebody else has set going: an operator, or a replay that died."""
OTHERS_FIRST_S = 2.0
"""How long a worker leaves a key of a queue that is due to whoever made it wait, and will hardly have forgotten."""
FORSAKEN_S = 60.0
"""A retry of a partition that is not ours, and so long overdue, has nobody who would see to it."""
ROOM_EVERY_S = 2.0
"""How often the store is asked how full it is, while something is added to what has a limit."""
NO_ROOM_EVERY_S = 60.0
"""How often a worker says that a partition stands still for want of room."""
END_CHECK_S = 0.25
"""Least time between two questions to the source whether it is at its end."""


class Runner(Protocol):
    """What brings jobs to their outcomes: batches for folds and handlers with `tx`, lanes for the rest."""

    def submit(self, job: Job) -> None: ...
    def own(self, fences: Mapping[Partition, int], due: Mapping[str, Waiting] | None = None) -> None: ...
    def settled(self) -> list[Unit]: ...
    def lapsed(self) -> list[Unit]: ...
    def lost(self) -> dict[Partition, int]: ...
    def full(self) -> Mapping[Partition, str]: ...
    def try_again(self) -> None: ...
    def wait(self, timeout_s: float) -> None: ...
    def busy(self) -> bool: ...
    def drop(self, partitions: set[Partition], timeout_s: float) -> bool: ...
    def watch(self, limit_s: float) -> bool: ...
    def stop(self, timeout_s: float) -> bool: ...


class Loop:
    """The poll loop of one worker. `run` returns when it is stopped, or when the stream has been idle for long enough.

    `codec` reads what has come; None: the runner reads it itself, in its own thread.

    It is its source's listener: partitions come and go inside `poll`. A queue has one partition, which all workers
    have at once: there leases keep a message from the others, and each worker looks after the keys that it made wait,
    and after those that nobody has looked after.
    """

    def __init__(
        self,
        source: Source,
        control: Store,
        runner: Runner,
        codec: JsonCodec | None,
        clock: Clock,
        limits: Limits,
        room: Room,
        on_poll: Callable[[], None] = lambda: None,
        observer: Observer = NOBODY,
        tally: int = 0,
    ) -> None:
        self._source = source
        self._queue = source if isinstance(source, Queue) else None
        self._control = control
        self._runner = runner
        self._codec = codec
        self._clock = clock
        self._limits = limits
        self._room = room
        self._room_read_at = float("-inf")
        self._tried_at = self._told_at = float("-inf")
        self._on_poll = on_poll
        self._observer = observer
        self._pulse = Pulse(control, tally, clock)
        self._notes = source if isinstance(source, NotingSource) else None
        self._group = source if isinstance(source, GroupSource) else None
        self._engine = Engine(limits, notes=self._notes is not None)
        self._stop = threading.Event()
        self._committed_at = 0.0
        self._noted_at = 0.0
        self._active_at = clock.now()
        self._end_checked_at = 0.0
        self._looked_at = clock.now()
        self._full_since: float | None = None
        self._ended = False
        self._fenced: dict[Partition, float] = {}
        """The partitions that the store refuses us, and since when."""
        self._rejoined: list[float] = []

    def stop(self) -> None:
        """Ask the loop to finish what runs and to return. May be called from a signal handler."""
        self._stop.set()

    def run(self, until_idle_s: float | None = None) -> bool:
        """Work until stopped, or until nothing came for `until_idle_s` and the stream is settled to its end.

        Returns whether everything that ran was finished within the limit.
        """
        self._source.subscribe(self)
        self._active_at = self._clock.now()
        try:
            while not self._stop.is_set() and not self._idle(until_idle_s):
                self._turn()
        finally:
            ended = self._runner.stop(self._limits.drain_s)
            self._ended = True
            try:
                self._collect(force=True)
            finally:
                self._source.close()
                self._pulse.end()
        return ended

    def _turn(self) -> None:
        self._on_poll()
        self._observer.polled()
        self._pulse.beat(self._engine.fences)
        self._collect()
        if self._runner.watch(self._limits.handler_s):
            self._runner.own(self._engine.fences, self._patiently(self._due))
        self._check_ownership()
        self._look_for_overdue()
        self._look_for_room()
        if self._engine.full and not self._waited_long():
            self._runner.wait(0.02)
            return
        for command in self._engine.room():
            self._obey(command)
        timeout_s = 0.01 if self._runner.busy() else POLL_S
        if self._queue is not None and self._runner.busy():
            # A message that is settled keeps its group from all workers until it is deleted.
            self._runner.wait(timeout_s)
            self._collect()
            timeout_s = 0
        pieces = self._source.poll(self._limits.poll_events, timeout_s)
        if pieces:
            self._receive(pieces)

    def _check_ownership(self) -> None:
        """Join the group anew for a partition that the store refuses us and the source leaves us.

        An earlier owner may have raised the fence late: it waited for the store past its session. Whoever gets the
        partition now raises it again, and is right. Where that does not help, two groups write one stream.
        """
        now = self._clock.now()
        refused = [partition for partition, since in self._fenced.items() if now - since > FENCED_FOR_S]
        if not refused:
            return
        self._rejoined = [at for at in self._rejoined if now - at < REJOINS_WITHIN_S]
        if self._group is None or len(self._rejoined) >= REJOINS:
            raise InorderError(
                f"{refused[0]} is also consumed by another group into this stream: stop one of the two, "
                "or give one of the consumers another name="
            )
        log.warning("%s is ours, and somebody else took it in the store: joining the group anew", refused[0])
        self._rejoined.append(now)
        self._fenced.clear()
        self._group.rejoin()

    def _look_for_overdue(self) -> None:
        """Wake keys whose waiting was changed behind the worker's back."""
        now = self._clock.now()
        if now - self._looked_at < OVERDUE_EVERY_S or not self._engine.fences:
            return
        self._looked_at = now
        try:
            since = now if self._queue is None else now - OTHERS_FIRST_S
            overdue = self._control.overdue(since, list(self._engine.fences))
        except Unreachable:
            return  # whoever must write says so
        if overdue:
            self._runner.own(self._engine.fences, overdue)

    def _look_for_room(self) -> None:
        """Read how full the store is, while that matters; pause the partitions that find no room, and say so."""
        full, now = self._runner.full(), self._clock.now()
        for command in self._engine.stall(full):
            self._obey(command)
        if full and now - self._told_at >= NO_ROOM_EVERY_S:
            self._told_at = now
            for partition, why in sorted(full.items()):
                log.error("%s is paused: %s; it goes on when dead letters are replayed or skipped", partition, why)
        elif not full:
            self._told_at = float("-inf")
        if now - self._room_read_at < ROOM_EVERY_S or not (full or self._room.touched):
            return
        self._room_read_at = now
        try:
            more = self._read_room()
        except Unreachable:
            return  # whoever must write says so
        if full and (more or now - self._tried_at >= NO_ROOM_S):
            self._tried_at = now
            self._runner.try_again()

    def _read_room(self) -> bool:
        """Returns whether there is more room than before."""
        limits, store = self._limits, self._control
        letters = store.open_letters(limits.letters)
        crowded = store.crowded_keys(limits.letters_per_key) if letters >= limits.letters_per_key else set()
        return self._room.read(letters, store.held_events(limits.held), crowded)

    def _waited_long(self) -> bool:
        """Whether the worker has been full for so long that the source must be paused, and polled all the same."""
        now = self._clock.now()
        if self._full_since is None:
            self._full_since = now
        return now - self._full_since > FULL_WAIT_S

    def _receive(self, pieces: list[Slice]) -> None:
        self._active_at = self._clock.now()
        job = Job()
        for piece in chain.from_iterable(map(self._engine.fresh, pieces)):
            unit = self._engine.received(piece, sum(map(len, filter(None, piece.values))))
            if unit is not None:
                self._observer.received(unit, piece)
                self._pulse.events += unit.events
                events, malformed = self._codec.read(piece) if self._codec is not None else ([], [])
                job.add(unit, piece, events, malformed)
        if job.pieces:
            self._runner.submit(job)

    def _collect(self, force: bool = False) -> None:
        """Take over what is settled, and commit it, if it is time to."""
        for unit in self._runner.settled():
            self._engine.settled(unit)
            self._observer.settled(unit)
        self._settle_queue()
        if not self._engine.full:
            self._full_since = None
        now = self._clock.now()
        for partition, fence in self._runner.lost().items():
            # Refused may also be what is left of an earlier ownership of ours: that is no news.
            if self._engine.fences.get(partition) == fence:
                self._engine.revoked([partition])
                self._fenced[partition] = now
                self._observer.owned(self._engine.fences, lost=1)
        if force or now - self._committed_at >= COMMIT_EVERY_S:
            self._committed_at = now
            ahead = force or now - self._noted_at >= NOTE_EVERY_S
            if ahead:
                self._noted_at = now
            self._commit(self._engine.commits(ahead))

    def _commit(self, commits: list[Commit]) -> None:
        if commits and self._notes is not None:
            self._notes.note({commit.partition: commit.note for commit in commits})
        if commits:
            self._source.commit({commit.partition: commit.offset for commit in commits})

    def _settle_queue(self) -> None:
        """At once, not now and then: until a message is deleted, nobody is given the next one of its group."""
        if self._queue is None:
            return
        lapsed = self._runner.lapsed()
        for unit in lapsed:
            self._engine.lapsed(unit)
            self._observer.lapsed(unit)
        if lapsed:
            log.warning("the leases of %d messages ended before their turn came; they come again", len(lapsed))
            self._queue.forget([unit.next_offset for unit in lapsed])
        for settle in self._engine.settlements():
            self._queue.settle(settle.deliveries)

    def _obey(self, command: Command) -> None:
        if isinstance(command, Pause):
            self._source.pause(command.partitions)
        elif isinstance(command, Resume):
            self._source.resume(command.partitions)

    def _idle(self, until_idle_s: float | None) -> bool:
        if until_idle_s is None:
            return False
        now = self._clock.now()
        if now - self._active_at < until_idle_s or now - self._end_checked_at < END_CHECK_S:
            return False
        self._end_checked_at = now
        if self._runner.busy() or self._engine.stalled:
            return False
        self._collect(force=True)
        return self._source.at_end() and not self._others_wait()

    def _others_wait(self) -> bool:
        """Whether a key waits for its retry, noted by a worker that may be dead: then this one stays for it."""
        try:
            if self._queue is not None:
                return any(waiting.urgent for waiting in self._due().values())
            retried = self._control.retried(1_000).values()
        except Unreachable:
            return True
        ours, since = self._engine.fences, self._clock.now() - FORSAKEN_S
        topics = {partition.topic for partition in ours}
        return any(
            waiting.due_at > since
            and waiting.home is not None
            and waiting.home not in ours
            and (not topics or waiting.home.topic in topics)
            for waiting in retried
        )

    def _due(self) -> dict[str, Waiting]:
        return self._control.due(list(self._engine.fences))

    # What the source says, from within poll.

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Take the fences before the first record is given out, so that earlier owners are refused from then on."""
        queue = self._queue is not None
        fences = self._patiently(lambda: (self._control.share if queue else self._control.acquire)(partitions))
        # How the keys of a queue wait is for whoever made them wait, and for `overdue` when that one is dead.
        due = {} if queue else self._patiently(lambda: self._control.due(partitions))
        self._patiently(self._read_room)
        if fences is None or due is None:
            return
        noted = self._notes.noted(partitions) if self._notes is not None else None
        for command in self._engine.assigned(fences, queue, noted):
            self._obey(command)
        self._observer.owned(self._engine.fences, came=len(partitions))
        self._pulse.beat(self._engine.fences)
        self._runner.own(self._engine.fences, due)
        self._active_at = self._clock.now()

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Finish what runs, commit it, and let go."""
        if self._ended:
            return
        if not self._runner.drop(set(partitions), self._limits.drain_s):
            log.warning("handlers still run after %g s; the fence refuses what they write", self._limits.drain_s)
        self._collect(force=True)
        self._let_go(partitions)
        self._observer.owned(self._engine.fences, went=len(partitions))

    def lost(self, partitions: Sequence[Partition]) -> None:
        """Somebody else has them already."""
        self._let_go(partitions)
        self._observer.owned(self._engine.fences, lost=len(partitions))

    def _let_go(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            self._fenced.pop(partition, None)
        if self._ended:
            return
        self._engine.revoked(partitions)
        self._runner.own(self._engine.fences)
        self._runner.drop(set(partitions), 0)

    def _patiently(self, ask: Callable[[], Found]) -> Found | None:
        """Ask the store until it answers, or the worker is stopped."""
        pause_s = 0.1
        while not self._stop.is_set():
            try:
                found = ask()
                self._observer.paused("store", None)
                return found
            except Unreachable as error:
                log.error("paused: %s", error)
                self._observer.paused("store", str(error))
                self._clock.sleep(pause_s)
                self._observer.polled()
                # What keeps the store from us may be a handler of our own that hangs.
                self._runner.watch(self._limits.handler_s)
                pause_s = min(pause_s * 2, 5.0)
        return None
