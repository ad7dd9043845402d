"""Group commits of lanes: one at a time, in the store's own thread. Never decides anything.

Commits, claims and the question whether all is ours take turns: what one of them finds is told before the next begins.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from inorder.core.changes import Changes
from inorder.core.engine import Unit
from inorder.core.event import Partition
from inorder.core.planner import Planner
from inorder.core.waiting import Waiting
from inorder.errors import Fenced, InorderError, Mismatch
from inorder.ports import Observer
from inorder.worker.claims import Claims
from inorder.worker.group import Group, Groups
from inorder.worker.keeper import Keeper
from inorder.worker.known import Known

log = logging.getLogger("inorder.worker")

CONFIRM_EVERY_S = 1.0
"""A worker that has not heard from the store for so long asks it whether its partitions are still its own before it
starts another handler: a process that was stopped and goes on must not repeat what its successor has done."""

COMMIT_EVERY_S = 0.01
"""Least time between the beginnings of two commits. Where the disk is fast, more of them would only take the processor
from handlers. The first one after a while begins at once, and so does the last one when nothing runs."""

BUSY = 20_000.0
BUSY_EVERY_S = 0.04
"""The same where more than so many events a second are decided: a row for each of the keys that are busiest then stands
for several events, and the processor is what handlers wait for."""


class Commits:
    """`spawn` runs a coroutine on the loop. Whoever makes it sets its `loop` and the callbacks before it is used: they
    say what a commit, or its refusal, means."""

    def __init__(
        self,
        planner: Planner,
        keeper: Keeper,
        groups: Groups,
        known: Known,
        claims: Claims | None,
        observer: Observer,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._planner = planner
        self._keeper = keeper
        self._groups = groups
        self._known = known
        self._claims = claims
        self._observer = observer
        self._spawn = spawn
        self._confirmed_at = time.monotonic()
        self._confirming = False
        self._apart_s = 0.0
        """Least time from the last one to the next. Of a queue always 0: a message that is settled keeps its group from
        all workers until it is deleted."""
        self._began_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.turns = asyncio.Lock()
        """Held by whoever writes. Who asks first is first, however many commits there are to be."""
        self._begun = False
        self.loop: asyncio.AbstractEventLoop
        self.writing = False
        """Whether a group is being written."""
        self.count = 0
        """How many groups have been, refused ones too."""
        self.more: Callable[[], bool]
        """Whether more is about to be decided."""
        self.waking: Callable[[], Iterable[str]]
        """The keys that are being woken: claims on them begin anew with a commit."""
        self.through: Callable[[Mapping[str, Waiting | None], list[Unit]], None]
        """A commit is through: how its keys wait, and what is settled."""
        self.refused: Callable[[Group, Mapping[Partition, int]], None]
        """Nothing of a group was written; these partitions are lost."""
        self.outdated: Callable[[], None]
        """Before that, where somebody else has changed an entity."""
        self.go: Callable[[], None]

    @property
    def busy(self) -> bool:
        """Whether something is being written, or about to be."""
        return self._begun or self.turns.locked()

    def soon(self) -> None:
        """Commit what is decided by the end of this turn of the loop, or when it is time for another commit."""
        if self._begun or not self._groups.now.changes:
            return
        if self._timer is not None:
            if self.more():
                return
            self._timer.cancel()
            self._timer = None
        else:
            wait_s = self._began_at + self._apart_s - time.monotonic()
            if wait_s > 0 and self.more():
                self._timer = self.loop.call_later(wait_s, self._due)
                return
        self._begin()

    def _due(self) -> None:
        self._timer = None
        if not self._begun and self._groups.now.changes:
            self._begin()

    def _begin(self) -> None:
        self._begun = True
        self._spawn(self._commit())

    def confirmed(self, now: float) -> bool:
        """Whether the store has been heard from of late. If not, it is asked, and `go` is called then."""
        if now - self._confirmed_at <= CONFIRM_EVERY_S:
            return True
        if not self._confirming:
            self._confirming = True
            self._spawn(self._confirm())
        return False

    async def _commit(self) -> None:
        async with self.turns:
            self.writing = True
            try:
                await self._write()
            finally:
                self._begun = self.writing = False
                self.count += 1
        self.go()

    async def _write(self) -> None:
        group = self._groups.take()
        changes = group.changes
        self._groups.writing = changes.entities
        fences = self._groups.fences(group)
        waits = dict(changes.waits)
        renewed = self._claims.renew(self.waking(), changes) if self._claims else {}
        rows = changes.rows(lambda entity: None, self._planner.guard.remembered)
        began = time.monotonic()
        if self._claims is None:
            busy = len(group.events) > BUSY * (began - self._began_at)
            self._apart_s = BUSY_EVERY_S if busy else COMMIT_EVERY_S
        self._began_at = began
        refusal: InorderError | None = None
        try:
            await self._keeper.write(rows, changes, fences)
        except (Mismatch, Fenced) as error:
            refusal = error
        finally:
            self._groups.writing = {}
        if isinstance(refusal, Fenced):
            self._fenced(refusal, group, fences)
        elif refusal is not None:
            log.log(logging.INFO if self._claims is None else logging.DEBUG, "%s; decided again", refusal)
            self.outdated()
            self._observer.outdated()
            self.refused(group, {})
        else:
            self._confirmed_at = time.monotonic()
            if self._planner.room is not None:
                self._planner.room.written(changes)
            if self._claims is not None:
                self._claims.confirm(renewed)
            self._observer.committed(changes, None, self._confirmed_at - began)
            self.through(waits, self._groups.settle(group))

    async def _confirm(self) -> None:
        # Not beside a commit: were it refused, what is being written would be taken for what is known.
        async with self.turns:
            fences = dict(self._known.fences)
            try:
                await self._keeper.write([], Changes(0), fences)
            except Fenced as error:
                self._fenced(error, self._groups.take(), fences)
            finally:
                self._confirming = False
            self._confirmed_at = time.monotonic()
        self.go()

    def _fenced(self, error: Fenced, group: Group, fences: Mapping[Partition, int]) -> None:
        log.warning("%s; its events are left to the new owner", error)
        self._observer.fenced(len(error.partitions))
        self.refused(group, {partition: fences[partition] for partition in error.partitions})
