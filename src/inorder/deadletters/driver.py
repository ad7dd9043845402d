"""Replays a plan: several keys at once, one event of a key at a time, paced, and stopped by what goes wrong.

Everything that has happened is in the store: a plan that was interrupted, by a signal or a crash, is simply run again.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import msgspec

from inorder.core.effect import Outage
from inorder.core.order import Order
from inorder.core.words import describe
from inorder.deadletters.pace import Pace
from inorder.deadletters.results import Drained, Result
from inorder.deadletters.road import Road, Tried
from inorder.declaration import Declaration
from inorder.errors import InorderError, Unreachable
from inorder.ports import Clock
from inorder.stores.letter_rows import PlanLetter

log = logging.getLogger("inorder.replay")

Answer = TypeVar("Answer")

AT_ONCE = 100
"""Events that are drained in one transaction."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a replay is run. Each limit says what happens when it is reached."""

    rate: float | None = None
    """Events a second, those that wait behind letters included."""
    canary: int = 0
    """So many keys go first. If one of their letters fails, nothing more is tried."""
    concurrency: int = 1
    """Keys at once."""
    max_failures: int | None = None
    """After so many letters that failed, nothing more is tried."""
    max_lag: int = 1_000
    """While the live stream is further behind, the replay stands still."""
    patience_s: float = 60.0
    """For how long the store, or what the handler needs, may be away before the replay gives up."""


class Lane:
    """The letters of one key, in order, and what came of them."""

    __slots__ = ("due_at", "key", "letters")

    def __init__(self, key: str | None, letters: Iterable[PlanLetter]) -> None:
        self.key = key
        self.letters = deque(letters)
        self.due_at = 0.0

    def __lt__(self, other: Lane) -> bool:
        return self.due_at < other.due_at


class Driver:
    """Runs the lanes of a plan. `make_road` opens a road for each thread; `tell` hears of each letter."""

    def __init__(
        self,
        declared: Declaration,
        options: Options,
        make_road: Callable[[], Road],
        pace: Pace,
        stop: threading.Event,
        clock: Clock,
        claims: dict[str, float],
        tell: Callable[[PlanLetter, Tried], None],
    ) -> None:
        self._options = options
        self._make_road = make_road
        self._pace = pace
        self._stop = stop
        self._clock = clock
        self._claims = claims
        self._tell = tell
        self._stops_key = declared.parks or declared.order is Order.STRICT
        self._condition = threading.Condition()
        self._ready: deque[Lane] = deque()
        self._later: list[Lane] = []
        self._running = 0
        self._failures = 0
        self._canary = False
        self._error: InorderError | None = None
        self.drained = Drained()
        self.stopped: str | None = None

    def run(self, lanes: list[Lane]) -> None:
        """Replay these. Raises `Unreachable` when something stayed away for too long."""
        first, rest = lanes[: self._options.canary], lanes[self._options.canary :]
        self._canary = True
        self._run(first)
        self._canary = False
        if rest and not self._over:
            if first:
                log.info("the canary is through")
            self._run(rest)
        if self.stopped is None and self._stop.is_set():
            self.stopped = "interrupted"
        self.release_all()
        if self._error is not None:
            raise self._error

    def _run(self, lanes: list[Lane]) -> None:
        self._ready.extend(lanes)
        most = min(self._options.concurrency, len(lanes))
        threads = [threading.Thread(target=self._work, name=f"inorder-replay-{n}", daemon=True) for n in range(most)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                # In short waits, so that a signal reaches the main thread.
                thread.join(0.2)
        self._ready.clear()
        self._later.clear()

    def _work(self) -> None:
        try:
            road = self._patiently(self._make_road)
            if road is None:
                return
            try:
                while (lane := self._next()) is not None:
                    self._one(road, lane)
            finally:
                road.close()
        except InorderError as error:
            self._fail(error)
        except BaseException as error:
            self._fail(InorderError(f"the replay failed: {describe(error)}"))
            raise

    def _fail(self, error: InorderError) -> None:
        with self._condition:
            self._error = self._error or error
            self._halt(str(error))

    def _halt(self, why: str) -> None:
        with self._condition:
            if self.stopped is None:
                self.stopped = why
            self._condition.notify_all()

    @property
    def _over(self) -> bool:
        return self.stopped is not None or self._stop.is_set()

    def _next(self) -> Lane | None:
        """The next lane to run; None when there is nothing left to do."""
        with self._condition:
            while not self._over:
                now = self._clock.now()
                if self._later and self._later[0].due_at <= now:
                    self._running += 1
                    return heapq.heappop(self._later)
                if self._ready:
                    self._running += 1
                    return self._ready.popleft()
                if not self._running and not self._later:
                    return None
                self._condition.wait(min(0.2, self._later[0].due_at - now) if self._later else 0.2)
            return None

    def _one(self, road: Road, lane: Lane) -> None:
        """Put the letters of a key through, and what waits behind them."""
        again: float | None = None
        try:
            again = self._letters(road, lane)
        finally:
            if again is None and lane.key is not None:
                self._release(road, lane.key)
            with self._condition:
                self._running -= 1
                if again is not None:
                    lane.due_at = again
                    heapq.heappush(self._later, lane)
                self._condition.notify_all()

    def release_all(self) -> None:
        """Leave what was claimed and not drained to the workers."""
        if not self._claims:
            return
        road = self._make_road()
        try:
            for key in list(self._claims):
                self._release(road, key)
        finally:
            road.close()

    def _release(self, road: Road, key: str) -> None:
        try:
            road.release(key)
        except Unreachable as error:
            log.warning("key %s goes on by itself when the claim of it has ended: %s", key, error)

    def _letters(self, road: Road, lane: Lane) -> float | None:
        """Returns when the lane is to be run again, if it is: when a retry is due."""
        while lane.letters and not self._over:
            letter = lane.letters[0]
            if lane.key is not None and letter.version is not None:
                due_at = self._drain(road, lane.key, letter.version)
                if due_at is not None:
                    return due_at
            if not self._pace.turn():
                return None
            tried = self._patiently(partial(road.letter, letter))
            if tried is None:
                return None
            lane.letters.popleft()
            lane.key = lane.key if lane.key is not None else tried.key
            self._tell(letter, tried)
            if not self._count(tried) or (tried.result is Result.FAILED and self._stops_key):
                break
        if lane.key is not None and not self._over:
            return self._drain(road, lane.key, None)
        return None

    def _drain(self, road: Road, key: str, below: int | None) -> float | None:
        """Decide what waits for a key. Returns when to go on, if an event is to be retried."""
        while not self._over:
            ready = self._patiently(partial(road.ready, key, below))
            most = self._pace.turns(min(ready, AT_ONCE)) if ready else 0
            behind = self._patiently(partial(road.drain, key, most, below)) if most else None
            if behind is None:
                return None
            with self._condition:
                self.drained.add(behind.counts)
            if behind.due_at is None:
                return None
            if behind.due_at > self._clock.now():
                return behind.due_at
        return None

    def _count(self, tried: Tried) -> bool:
        """Whether the replay goes on after this letter."""
        if tried.result.final:
            return True
        with self._condition:
            self._failures += tried.result is Result.FAILED or tried.result is Result.UNREADABLE
            if self._canary:
                self._halt("a letter of the canary failed")
            elif self._options.max_failures is not None and self._failures >= self._options.max_failures:
                self._halt(f"{self._failures} letters failed")
        return not self._over

    def _patiently(self, work: Callable[[], Answer]) -> Answer | None:
        """Do it, again and again while the store or what the handler needs is away. None: stopped."""
        pause_s, until = FIRST_PAUSE_S, time.monotonic() + self._options.patience_s
        while True:
            try:
                return work()
            except (Outage, Unreachable) as error:
                if time.monotonic() > until:
                    raise Unreachable(f"gave up after {self._options.patience_s:g} s: {error}") from error
                log.warning("paused: %s", error)
                if self._stop.wait(pause_s):
                    return None
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
