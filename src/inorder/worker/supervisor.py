"""Several processes of one group: starts them, restarts those that die, passes the end on, leaves none behind.

It never touches the source or an event. Children are processes of the same interpreter: `inorder.worker.child`.
"""

from __future__ import annotations

import logging
import selectors
import threading
import time

import msgspec

from inorder.errors import InorderError, UsageError
from inorder.observe.meter import Snapshot, added, left_behind
from inorder.worker.child import SPARE_S, Order
from inorder.worker.process import Process, cause
from inorder.worker.settings import Settings

log = logging.getLogger("inorder.worker")

TICK_S = 0.1
"""Longest time until a death or a wish to stop is seen."""
FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 10.0
"""Bounds of the wait before a restart; doubled for each death in a row."""
STEADY_S = 30.0
"""A process that lived this long has put the deaths before it behind it."""
FALSE_STARTS = 3
"""So many failures to start in a row, of one child, end the run; before any has started, one that says why does."""


class Place:
    """One place in the group, and the process that fills it at present."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.name = order.settings.worker
        self.process: Process | None = None
        self.done = False
        self.deaths = 0
        self.false_starts = 0
        self.start_at = 0.0


class Supervisor:
    """Runs `workers` processes of the consumer that `target` names."""

    def __init__(
        self,
        target: str,
        settings: Settings,
        workers: int,
        log_level: str,
        drain_s: float,
        watched: bool = False,
        otel: bool = False,
    ) -> None:
        self.restarts = 0
        """How many processes have died and been replaced, or are about to be."""
        self._left = Snapshot()
        """What processes that have ended had counted."""
        self._counting = threading.Lock()
        """Held while a process goes from those that run to those that have ended, and while both are looked at."""
        self.tallies: list[int] = []
        """The rows of counts of all processes of this run, the dead ones included."""
        self._drain_s = drain_s
        self._until_idle = settings.until_idle_s is not None
        self._stopping = False
        self._kill_at: float | None = None
        self._clean = True
        self._works = False
        self._fatal: InorderError | None = None
        self._selector = selectors.DefaultSelector()
        each = [msgspec.structs.replace(settings, worker=str(number)) for number in range(1, workers + 1)]
        orders = [Order(target=target, settings=mine, log_level=log_level, watched=watched, otel=otel) for mine in each]
        self._places = [Place(order) for order in orders]

    @property
    def pids(self) -> list[int]:
        """The processes that run at present."""
        return [place.process.pid for place in self._places if place.process is not None]

    def counted(self) -> tuple[list[Snapshot], Snapshot]:
        """What the processes that run, and poll, counted last, and what those had counted that have ended.

        From any thread; each process is in one of the two, or counters would go back.
        """
        with self._counting:
            running = (place.process for place in self._places)
            return [process.numbers() for process in running if process is not None and process.up], self._left

    def stop(self) -> None:
        """Let every process finish what runs, and return from `run`. May be called from a signal handler."""
        self._stopping = True

    def kill(self) -> None:
        """End every process at once. May be called from a signal handler."""
        for place in self._places:
            if place.process is not None:
                place.process.kill()

    def run(self) -> bool:
        """Until stopped, or until every process has ended by itself because the stream was idle.

        Returns whether everything that ran was finished within the limit. Raises what keeps a process from starting.
        """
        try:
            while not all(place.done for place in self._places):
                self._turn()
        finally:
            self.kill()
            for place in self._places:
                if place.process is not None:
                    place.process.close()
            self._selector.close()
        if self._fatal is not None:
            raise self._fatal
        return self._clean

    def _turn(self) -> None:
        if self._stopping:
            self._press()
        for place in self._places:
            if place.process is None and not place.done:
                self._fill(place)
        for key, _ in self._selector.select(TICK_S):
            self._listen(key.data, key.data.process)
        for place in self._places:
            process = place.process
            if process is not None and not process.alive:
                self._listen(place, process)
                self._bury(place, process)

    def _fill(self, place: Place) -> None:
        if self._stopping:
            place.done = True
        elif place.start_at <= time.monotonic():
            try:
                place.process = Process(place.name, place.order)
            except OSError as error:  # the machine has no more processes, or no memory: that may pass
                place.deaths += 1
                self._false_start(place, str(error))
                self._postpone(place, f"cannot be started: {error}")
                return
            self._selector.register(place.process.stdout, selectors.EVENT_READ, place)

    def _press(self) -> None:
        """Ask for an end; then, past the limit, see to it."""
        now = time.monotonic()
        if self._kill_at is None:
            self._kill_at = now + self._drain_s + SPARE_S
            for place in self._places:
                if place.process is not None:
                    place.process.terminate()
        elif now > self._kill_at:
            log.error("workers did not end within %g s and are killed", self._drain_s + SPARE_S)
            self._kill_at = float("inf")
            self._clean = False
            self.kill()

    def _listen(self, place: Place, process: Process) -> None:
        counted, up = process.tally is not None, process.up
        if not process.listen():
            self._unregister(process)
        if process.tally is not None and not counted:
            self.tallies.append(process.tally)
        if process.up and not up:
            self._works = True
            place.false_starts = 0
            log.info("worker %s is up, process %d", place.name, process.pid)

    def _unregister(self, process: Process) -> None:
        if process.stdout.fileno() in self._selector.get_map():
            self._selector.unregister(process.stdout)

    def _bury(self, place: Place, process: Process) -> None:
        """A process has ended: was that its end, or is another to take its place?"""
        self._unregister(process)
        code = process.close()
        with self._counting:
            place.process = None
            self._left = added([self._left, left_behind(process.numbers())])
        if self._stopping:
            # One that had not got as far as its signals dies of the SIGTERM, with nothing begun.
            self._clean = self._clean and (code == 0 or process.tally is None)
            place.done = True
        elif process.ended == "idle" and self._until_idle:
            self._clean = self._clean and code == 0
            place.done = True
        else:
            self._again(place, process, process.error or process.ended or cause(code))

    def _again(self, place: Place, process: Process, why: str) -> None:
        if process.usage:
            self._give_up(UsageError(why))
        elif not process.up:
            if process.error is not None and not self._works:
                self._give_up(InorderError(why))
            self._false_start(place, why)
        now = time.monotonic()
        self.restarts += 1
        place.deaths = 1 if now - process.started_at > STEADY_S else place.deaths + 1
        self._postpone(place, f"has ended: {why}")

    def _false_start(self, place: Place, why: str) -> None:
        place.false_starts += 1
        if place.false_starts == FALSE_STARTS:
            self._give_up(InorderError(f"worker {place.name} could not start, {FALSE_STARTS} times in a row: {why}"))

    def _postpone(self, place: Place, what: str) -> None:
        """Let a place stay empty for a while, the longer the more deaths there were."""
        wait_s = min(FIRST_BACKOFF_S * 2 ** (place.deaths - 1), LONGEST_BACKOFF_S)
        place.start_at = time.monotonic() + wait_s
        if not self._stopping:
            log.warning("worker %s %s; another takes its place in %g s", place.name, what, wait_s)

    def _give_up(self, error: InorderError) -> None:
        """End the run because of what trying again does not mend."""
        self._fatal = self._fatal or error
        self._stopping = True
