"""A thread that runs batches one after the other, and what the poll loop may ask of it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from inorder.core.effect import Outage
from inorder.core.engine import Unit
from inorder.core.event import Event, Partition
from inorder.core.waiting import AT_ONCE, Wait, Waiting
from inorder.errors import HandlerTimeout, Unreachable
from inorder.ports import Clock, Store
from inorder.worker.batch import Batches
from inorder.worker.job import Job, Turn, merged
from inorder.worker.pool import Left, throw

log = logging.getLogger("inorder.worker")

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
"""Bounds of the pause between two attempts while the store, or what a handler needs, is down."""


class BatchRunner:
    """Takes jobs, merges what has queued up, and brings them to their outcomes in a thread of its own.

    `make` opens a store and puts the rest together around it. It is called again when a handler hangs: then the thread
    is abandoned with its store, and another takes over. `tell` is called, in that thread, when there is news.
    """

    def __init__(
        self,
        make: Callable[[], tuple[Store, Batches]],
        clock: Clock,
        merge: int,
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        self._make = make
        self._clock = clock
        self._merge = merge
        self._tell = tell
        # Entered as a lock, and not as the condition around it: that is Python code, and a thread that is told to end
        # within would keep the lock.
        self._lock = threading.RLock()
        self._condition = threading.Condition(self._lock)
        self._queue: deque[Job] = deque()
        self._current: Turn | None = None
        self._ahead: Turn | None = None
        """What is next, and may be decided while the current turn is written."""
        self._stale = False
        """Whether less than that is ours by now, so that what was decided of it does not hold."""
        self._settled: deque[Unit] = deque()
        self._lost: dict[Partition, int] = {}
        self._aside: dict[Partition, Job] = {}
        """What found no room in the store and is to be tried again, in the order it came."""
        self._full: dict[Partition, str] = {}
        """The partitions that this goes for, and why; also while it is tried again."""
        self._fences: dict[Partition, int] = {}
        self._stopping = False
        self._failure: BaseException | None = None
        self._watched: tuple[Event | None, int, float] = (None, 0, 0.0)
        self._hung: Event | None = None
        """What an abandoned thread hangs in, while there is no store for another one."""
        self.outage: str | None = None
        self._start()

    def _start(self) -> None:
        self._store, self._batches = self._make()
        arguments = (self._store, self._batches)
        self._thread = threading.Thread(target=self._run, args=arguments, name="inorder-batches", daemon=True)
        self._thread.start()

    # The poll loop's side.

    def submit(self, job: Job) -> None:
        """Queue a job."""
        with self._lock:
            self._queue.append(job)
            self._condition.notify_all()

    def own(self, fences: Mapping[Partition, int], due: Mapping[str, Waiting] | None = None) -> None:
        """The partitions that are ours now, and how keys of new ones wait."""
        with self._lock:
            if self._ahead is not None and fences != self._fences:
                self._stale = True
            self._fences = dict(fences)
            self._batches.timers.note(due or {})
            self._condition.notify_all()

    def settled(self) -> list[Unit]:
        """What has been settled since the last call. Raises what the thread died of."""
        if self._failure is not None:
            raise self._failure
        found = list(self._settled)
        for _ in found:
            self._settled.popleft()
        return found

    def lapsed(self) -> list[Unit]:
        """Nothing: an effect inside a transaction may begin late, for its commit is refused where it is too late."""
        return []

    def lost(self) -> dict[Partition, int]:
        """Partitions that the store says a newer owner has taken, with the fence it refused, since the last call."""
        with self._lock:
            found, self._lost = self._lost, {}
        return found

    def full(self) -> dict[Partition, str]:
        """Partitions whose next event finds no room in the store, and why."""
        with self._lock:
            return dict(self._full)

    def try_again(self) -> None:
        """There may be room for what found none."""
        with self._lock:
            self._queue.extendleft(self._aside.values())
            self._aside.clear()
            self._condition.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Until something is settled, or the time is over."""
        with self._lock:
            self._condition.wait_for(lambda: self._settled or self._failure, timeout_s)

    def busy(self) -> bool:
        """Whether anything is queued or running, or an event waits for its retry."""
        with self._lock:
            running = self._current is not None or self._ahead is not None
            return bool(self._queue or running or self._settled or self._batches.timers.urgent)

    def drop(self, partitions: set[Partition], timeout_s: float) -> bool:
        """Forget what is queued of these partitions, and wait for what runs. Returns whether it ended in time."""
        with self._lock:
            for job in self._queue:
                job.without(partitions)
            if self._ahead is not None:
                self._ahead.job.without(partitions)
                self._stale = True
            for partition in partitions:
                self._aside.pop(partition, None)
                self._full.pop(partition, None)
            current = self._current
            if current is not None and not current.due and partitions.isdisjoint(current.job.fences):
                current = None
            return self._condition.wait_for(lambda: self._failure is not None or self._let_go(current), timeout_s)

    def _let_go(self, of: Turn | None) -> bool:
        """Whether this turn is over, and so is what was decided of partitions that went."""
        return (self._current is not of or of is None) and (self._stopping or not self._stale)

    def watch(self, limit_s: float) -> bool:
        """Give up on a handler that has been running one event for longer than `limit_s`. Returns False."""
        effect = self._batches.effect
        event, turn = effect.now_at, effect.turns
        seen, seen_in, since = self._watched
        if self._hung is not None:
            self._clock.sleep(FIRST_PAUSE_S)
            self._abandon(self._hung, limit_s)
        elif event is None or event is not seen or turn != seen_in:
            self._watched = (event, turn, time.monotonic())
        elif time.monotonic() - since > limit_s:
            self._watched = (None, 0, 0.0)
            log.error("key %s version %d: the handler hangs past %g s", event.key, event.version, limit_s)
            self._abandon(event, limit_s)
        return False

    def finish(self) -> None:
        """Finish what runs, and start nothing more."""
        with self._lock:
            self._stopping = True
            self._queue.clear()
            self._condition.notify_all()

    def stop(self, timeout_s: float) -> bool:
        """Finish what runs, start nothing more, and end the thread. Returns whether it ended in time."""
        self.finish()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            # Whatever it does when it goes on, it must not be written, nor keep others from writing until then.
            self._store.abandon()
            self._wake(self._thread, self._batches)
            return False
        return True

    def _abandon(self, event: Event, limit_s: float) -> None:
        with self._lock:
            old, batches = self._thread, self._batches
            turns = [turn for turn in (self._current, self._ahead) if turn is not None]
            timers = batches.timers
            self._store.abandon()
            try:
                self._start()
            except Unreachable as away:
                if self._hung is None:
                    log.error("paused: %s", away)
                self._hung = event
                return
            self._hung = None
            error = HandlerTimeout(f"ran for more than {limit_s:g} s")
            self._batches.effect.barred[event.key, event.version] = error
            self._batches.timers = timers
            again = {event.key}.union(*(turn.due for turn in turns))
            timers.note({key: Waiting(Wait.GAP, 0, 0.0, due_at=AT_ONCE) for key in again})
            jobs = [turn.job for turn in turns]
            # Taken out of the turn at hand, and before what is ahead of it.
            jobs[1:1] = [aside for _, aside in batches.aside]
            self._queue.extendleft(reversed(jobs))
            self._current = self._ahead = None
            self._stale = False
            self._condition.notify_all()
        self._wake(old, batches)

    @staticmethod
    def _wake(thread: threading.Thread, batches: Batches) -> None:
        """End a thread that hangs, as soon as it hears of it."""
        throw(Left, thread)
        batches.abandon()

    # The thread's side.

    def _run(self, store: Store, batches: Batches) -> None:
        try:
            try:
                while self._next(batches):
                    pass
            finally:
                batches.close()
            store.close()
        except Left:
            log.info("a thread that hung has ended")
        except BaseException as error:
            if batches is self._batches:
                with suppress(Exception):
                    store.close()
                self._failure = error
                with self._lock:
                    self._condition.notify_all()
                self._tell()

    def _next(self, batches: Batches) -> bool:
        with self._lock:
            while not (self._queue or self._ahead or self._stopping) and batches is self._batches:
                left = batches.timers.next() - self._clock.now()
                if left <= 0:
                    break
                self._condition.wait(min(left, 60.0))
            if self._stopping or batches is not self._batches:
                return False
            turn, stale = self._taken(), self._stale
            self._current, self._ahead = turn, None
        if stale:
            batches.discard()
            with self._lock:
                self._stale = False
                self._condition.notify_all()
        lost = self._persist(batches, turn)
        with self._lock:
            if batches is not self._batches:
                return False
            self._current = None
            self._take_aside(batches, turn.job, lost or {})
            if lost is not None:
                self._settled += turn.job.units
                self._lost.update(lost)
            self._condition.notify_all()
        self._tell()
        return True

    def _taken(self) -> Turn:
        """What is done next, taken from the queue and the timers unless it has been already."""
        if self._ahead is not None:
            job, due = self._ahead.job, self._ahead.due
        else:
            job = merged(self._queue, self._merge)
            due = self._batches.timers.take(self._clock.now())
        for partition, aside in self._aside.items():
            aside.absorb(job.split(partition))
        return Turn(job, due, self._fences)

    def _follow(self, batches: Batches) -> Turn | None:
        """What will be done after the turn at hand, if it is known."""
        with self._lock:
            if batches is not self._batches or self._stopping or self._stale or not (self._ahead or self._queue):
                return None
            self._ahead = self._taken()
            return self._ahead

    def _take_aside(self, batches: Batches, job: Job, lost: Mapping[Partition, int]) -> None:
        """Keep what found no room, unless its partition is gone; what did is no longer full."""
        for partition in [unit.partition for unit in job.units]:
            self._full.pop(partition, None)
        for error, aside in batches.aside:
            ours = [unit for unit in aside.units if self._fences.get(unit.partition) == unit.fence]
            if ours and error.partition not in lost:
                behind = self._aside.setdefault(error.partition, Job())
                behind.absorb(aside)
                if self._ahead is not None:
                    behind.absorb(self._ahead.job.split(error.partition))
                self._full[error.partition] = str(error)
        batches.aside.clear()

    def _persist(self, batches: Batches, turn: Turn) -> dict[Partition, int] | None:
        """Run a turn until it is through, however long the store is away. None: stopped before that."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                lost = batches.run(*turn, lambda: self._follow(batches))
            except (Unreachable, Outage) as error:
                if batches is not self._batches:
                    return None
                if self.outage is None:
                    log.error("paused: %s", error)
                self.outage = str(error)
                cause = "store" if isinstance(error, Unreachable) else "handler"
                batches.observer.paused(cause, self.outage, id(self))
                with self._lock:
                    stopped = self._condition.wait_for(lambda: self._stopping, pause_s)
                if stopped:
                    return None
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            else:
                if self.outage is not None:
                    log.warning("goes on after: %s", self.outage)
                    self.outage = None
                    batches.observer.paused("store", None, id(self))
                    batches.observer.paused("handler", None, id(self))
                return lost
