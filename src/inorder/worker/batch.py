"""Runs folds and handlers with `tx`: many events a transaction, in one thread beside the poll loop.

While this thread waits for the store to commit, the poll loop decodes what comes next.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.effect import NoRoom
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition
from inorder.core.order import Outcome
from inorder.core.planner import Planner
from inorder.errors import Fenced, InorderError, Mismatch
from inorder.observe.nobody import NOBODY
from inorder.ports import Clock, Observer, Store, Transaction
from inorder.worker.ahead import Ahead, Batch, Follow, Helper, TooEarly, nobody_follows
from inorder.worker.cache import Cache
from inorder.worker.effects import FoldEffect, Manner, Redo, StoreFailed, TxEffect
from inorder.worker.job import Job, Turn
from inorder.worker.reading_back import read_back, renew
from inorder.worker.timers import Timers

log = logging.getLogger("inorder.worker")

HELD_AT_ONCE = 1000
"""Held events of one key read back at once. More of them follow in the next transaction."""

SHARED_S = 10.0
"""How long a worker of a queue reads every entity anew after it found one changed: other workers have turns too."""

MANY_FAILURES = 4
"""Failing events of one batch that are found by redoing it. More of them are worth a savepoint for each event."""

Witness = Callable[[Event, Outcome], None]


class Batches:
    """Decides jobs and writes what follows, one transaction a job in the common case."""

    def __init__(
        self,
        planner: Planner,
        effect: FoldEffect | TxEffect,
        codec: JsonCodec,
        store: Store,
        tally: int,
        clock: Clock,
        witness: Witness | None = None,
        queue: bool = False,
        observer: Observer = NOBODY,
        helper: Helper | None = None,
    ) -> None:
        self.observer = observer
        self._helper = helper
        self._ahead: Ahead | None = None
        self._planner = planner
        self._queue = queue
        self._shared_until = 0.0
        self.effect = effect
        self._codec = codec
        self._store = store
        self._tally = tally
        self._clock = clock
        self._witness = witness
        self.cache = Cache(planner.limits.cache_bytes)
        self.timers = Timers()
        self._careful = {False: False, True: False}
        """Whether many events failed last time, of those that are new and of those that come back: so will more."""
        self.aside: list[tuple[NoRoom, Job]] = []
        """What was taken out of jobs for want of room, to be tried again when there is some."""

    def forget(self) -> None:
        """Keep nothing in memory: as a worker begins."""
        self.cache.clear()
        self.timers = Timers()
        self.effect.barred.clear()

    def close(self) -> None:
        """Nothing more is decided."""
        self.discard()
        if self._helper is not None:
            self._helper.close()
        self.effect.close()

    def abandon(self) -> None:
        """From another thread: whatever hangs is to end as soon as it can."""
        if self._helper is not None:
            self._helper.abandon()
        if self.effect.finisher is not None:
            self.effect.finisher.wake()

    def run(  # noqa: PLR0912  # one branch for each thing that may come of it
        self, job: Job, due: list[str], fences: Mapping[Partition, int], follow: Follow = nobody_follows
    ) -> dict[Partition, int]:
        """Bring a job and the keys that are due to their outcomes, durably.

        Returns the partitions that turned out to be lost, with the fence that was refused: what came from them was
        left out. Raises `Unreachable` and `Outage` when nothing can be done at present; then nothing was written, and
        the call is to be repeated.

        While a fold's batch is written, what `follow` returns is decided by the helper, if there is one. That is to be
        run next, or discarded.
        """
        if due and job.pieces and isinstance(self.effect, TxEffect):
            # What failed before may fail again, which would undo and redo all that shares its transaction.
            return self.run(Job(), due, fences) | self.run(job, [], fences)
        lost: dict[Partition, int] = {}
        manner, failures = Manner.CAREFULLY if self._careful[bool(due)] else Manner.TOGETHER, 0
        named: list[tuple[str, int]] = []
        self.effect.late = False
        while True:
            try:
                self._once(job, due, {p: f for p, f in fences.items() if p not in lost}, manner, follow)
            except Redo as redo:
                self._forget(job, due)
                if redo.event is None:
                    self._ask_each(redo, manner)
                alone = manner is not Manner.TOGETHER or isinstance(self.effect, FoldEffect)
                if redo.event is not None and alone:
                    # Known by name: the others can go together once more, and this one fails without being tried.
                    place = redo.event.key, redo.event.version
                    self.effect.barred[place] = redo.error
                    named.append(place)
                    failures += 1
                    careful = failures >= MANY_FAILURES or manner is Manner.CAREFULLY
                    manner = Manner.CAREFULLY if careful else Manner.TOGETHER
                else:
                    manner = Manner.SINGLY
            except Mismatch as error:
                log.log(logging.DEBUG if self._queue else logging.INFO, "%s; read again", error)
                self._shared_until = self._clock.now() + SHARED_S
                self.observer.outdated()
                self._forget(job, due)
            except NoRoom as error:
                self._forget(job, due)
                self._put_aside(job, error)
            except Fenced as error:
                log.warning("%s; its events are left to the new owner", error)
                self.observer.fenced(len(error.partitions))
                asked = {**fences, **job.fences}
                lost.update((partition, asked[partition]) for partition in error.partitions)
                self.cache.clear()
                job.without(lost)
            except StoreFailed as error:
                self.cache.clear()
                if not isinstance(error.error, Mismatch):
                    raise error.error from error
            except BaseException:
                # An outage too: what was barred because the handler said so is to be tried again.
                self.cache.clear()
                for place in named:
                    self.effect.barred.pop(place, None)
                raise
            else:
                self._careful[bool(due)] = manner is Manner.CAREFULLY and self.effect.failed >= MANY_FAILURES
                self.effect.written()
                return lost

    def _ask_each(self, redo: Redo, manner: Manner) -> None:
        """An error came after all handlers: whose it is shall be known. Raises it where each has been asked already."""
        if self.effect.late and manner is not Manner.TOGETHER:
            raise redo.error from redo
        self.effect.late = True

    def _put_aside(self, job: Job, error: NoRoom) -> None:
        """Leave out of a job what came from a partition since an event that finds no room."""
        aside = job.split(error.partition, error.first)
        for event in aside.events:
            self.effect.barred.pop((event.key, event.version), None)
        for at, (before, behind) in enumerate(self.aside):
            if before.partition == error.partition:
                # Taken out of this job too, and with it the slices of what is taken out now.
                aside.absorb(behind)
                del self.aside[at]
                break
        self.aside.append((error, aside))

    def _forget(self, job: Job, due: list[str]) -> None:
        self.cache.drop(event.key for event in job.events)
        self.cache.drop(due)

    def _once(self, job: Job, due: list[str], fences: Mapping[Partition, int], manner: Manner, follow: Follow) -> None:
        effect = self.effect
        effect.failed = 0
        batch = self._decided_ahead(job) or self._read(job, due, fences)
        if isinstance(effect, TxEffect):
            with self._late_errors(), self._store.transaction() as tx:
                effect.tx, effect.manner = tx, manner
                with tx.together() if manner is Manner.TOGETHER else nullcontext():
                    self._decide(batch)
                self._write(batch, tx)
        else:
            if not batch.decided:
                self._decide(batch)
            self._write_and_look_ahead(batch, follow)
        if self._planner.room is not None:
            self._planner.room.written(batch.changes)
        told, early = self.timers.all(), batch.early
        self.timers.note({key: early[key] for key in early if key not in told} | batch.changes.waits)
        if batch.changes:
            self.observer.committed(batch.changes, batch.deciding_s, time.monotonic() - batch.writing_at)

    def _write_and_look_ahead(self, batch: Batch, follow: Follow) -> None:
        """Write a batch, and decide the next one meanwhile, as if this were written."""
        try:
            self._look_ahead(batch, follow)
            if batch.changes:
                with self._store.transaction() as tx:
                    self._write(batch, tx)
        except BaseException:
            self.discard()
            raise

    def _look_ahead(self, before: Batch, follow: Follow) -> None:
        if self._helper is not None and not self.aside and (turn := follow()) is not None:
            ahead = Ahead(turn.job)
            self._helper.submit(lambda: ahead.decide(lambda: self._decide_ahead(ahead, turn, before)))
            self._ahead = ahead

    def _decide_ahead(self, ahead: Ahead, turn: Turn, before: Batch) -> None:
        """In the helper's thread. Until it is through, nobody else uses the cache."""
        try:
            ahead.batch = batch = self._read(turn.job, turn.due, turn.fences, before)
        except TooEarly:
            return
        except Exception:
            self._forget(turn.job, turn.due)
            raise
        if self.effect.bars(batch.events):
            # They are let off when what they came to is written, and it is not known yet what else they come to.
            self._forget(turn.job, turn.due)
            return
        self._decide(batch)
        if not ahead.wanted:
            batch.rows = self._store.pack(batch.rows, batch.changes)

    def _decided_ahead(self, job: Job) -> Batch | None:
        """What was decided of this job while the one before it was written."""
        ahead = self._ahead
        if ahead is None:
            return None
        batch = ahead.decided() if ahead.job is job else None
        if batch is None:
            self.discard()
        self._ahead = None
        return batch

    def discard(self) -> None:
        """Forget what was decided ahead: what it rests on was not written, or is ours no longer."""
        ahead = self._ahead
        if ahead is not None:
            self.effect.cancelled = True
            ahead.decided()
            self.effect.cancelled = False
            if ahead.batch is not None:
                self.cache.drop(ahead.batch.keys)
            self._ahead = None

    @contextmanager
    def _late_errors(self) -> Iterator[None]:
        """An error that comes after all handlers, at the end of their statements or at the commit, is no event's in
        particular.
        """
        try:
            yield
        except InorderError:
            raise
        except Exception as error:
            raise Redo(None, error) from error

    def _read(self, job: Job, due: list[str], fences: Mapping[Partition, int], before: Batch | None = None) -> Batch:
        """A batch, with all that the store knows of it. Raises `TooEarly` if `before` is to be written first."""
        now, began = self._clock.now(), time.monotonic()
        if self._queue and now < self._shared_until:
            self._forget(job, due)
        batch = Batch(job, due, Changes(self._tally, self._witness, self.observer.watches), now)
        batch.changes.preceding = None if before is None else before.changes
        self.cache.drop(self.cache.changed(due if before is None else before.leaves_alone(due), now, fences))
        batch.entities, missing = self.cache.find(batch.keys)
        if before is not None and len(before.leaves_alone(missing)) < len(missing):
            raise TooEarly
        if missing:
            self._load(missing, batch.entities)
        waking = [entity for entity in map(batch.entities.__getitem__, due) if entity.at_home(fences)]
        if not self._queue:
            # Who said that these were due may have known less than the store does.
            batch.early = {one.key: one.waiting for one in waking if not one.due(now)}
        batch.fences = self._checked(job, waking, fences)
        awake = {entity.key for entity in waking if self._planner.wake(entity, batch.changes, now)}
        self._set_going(batch, awake)
        if awake:
            held = self._store.held_together(sorted(awake), HELD_AT_ONCE)
            if before is not None:
                held = before.held_after(held, awake)
            batch.events = read_back(self._codec, held, self.effect.barred) + batch.events
        if job.decided:
            renew(self._codec, job.events, self.effect.barred)
        job.decided = True
        batch.deciding_s = time.monotonic() - began
        return batch

    def _set_going(self, batch: Batch, awake: set[str]) -> None:
        """Add the keys whose missing version has come: what waits for it is decided with it. What finds no place in the
        batch is due at once, and follows in the next one.
        """
        places = self._planner.limits.poll_events
        for event in batch.events:
            entity = batch.entities[event.key]
            if not self._planner.sets_going(entity, event) or event.key in awake:
                continue
            held = min(len(entity.held), HELD_AT_ONCE)
            if held <= places:
                places -= held
                self._planner.set_going(entity, event)
                awake.add(event.key)

    def _decide(self, batch: Batch) -> None:
        began = time.monotonic()
        self.effect.turns += 1
        try:
            self._planner.decide(batch.entities, batch.events, self.effect, batch.changes, batch.now)
        finally:
            # From here on the store works, not a handler: whoever watches for hanging ones must not see one.
            self.effect.now_at = None
        for found in batch.malformed:
            self._planner.malformed(found, batch.changes, batch.now)
        batch.changes.preceding = None
        batch.rows = batch.changes.rows(self.effect.encode, self._planner.guard.remembered)
        self.cache.grew(batch.changes.grown)
        batch.decided = True
        batch.deciding_s += time.monotonic() - began

    @staticmethod
    def _write(batch: Batch, tx: Transaction) -> None:
        batch.writing_at = time.monotonic()
        if batch.changes:
            tx.write(batch.rows, batch.changes, batch.fences)

    def _load(self, keys: list[str], into: dict[str, Entity]) -> None:
        loaded = self._store.load(keys)
        for key in keys:
            entity = loaded.get(key) or Entity(key, self._planner.guard.baseline)
            self.effect.loaded(entity)
            self.cache.keep(entity)
            into[key] = entity

    def _checked(self, job: Job, waking: list[Entity], fences: Mapping[Partition, int]) -> dict[Partition, int]:
        """The fences that this job's writes stand under: of where its events came from, and of the keys it wakes."""
        checked = job.fences
        for entity in waking:
            home = entity.waiting.home if entity.waiting else None
            if home is not None:
                checked[home] = fences[home]
        return checked
