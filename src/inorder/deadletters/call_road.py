"""The road of a letter whose handler has no `tx`: its effects are elsewhere, so the handler runs between transactions.

The key is claimed before the handler is called, and what it came to is written after, under the same claim. In order,
at least once: when the process dies in between, the letter is still open, and the handler is called again.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

from inorder.context import Context
from inorder.core.changes import Changes
from inorder.core.effect import Outage
from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.planner import Planner
from inorder.core.replaying import Verdict
from inorder.core.retry import ErrorClass
from inorder.core.words import message
from inorder.deadletters.letters import Unreadable
from inorder.deadletters.results import Result
from inorder.deadletters.road import BaseRoad, Behind, Gone, Tried, Warrant, outcomes
from inorder.declaration import Declaration
from inorder.errors import HandlerTimeout
from inorder.ports import Clock
from inorder.stores.letter_rows import PlanLetter
from inorder.stores.rows import LetterRow
from inorder.worker.blame import failure


class CallRoad(BaseRoad):
    """For handlers without `tx`."""

    def __init__(
        self, declared: Declaration, planner: Planner, store: Any, tally: int, clock: Clock, by: Warrant
    ) -> None:
        super().__init__(declared, planner, store, tally, clock, by)
        self._barred: dict[tuple[str, int], Exception] = {}
        self._caller = _Caller(declared)

    @property
    def barred(self) -> dict[tuple[str, int], Exception]:
        """See `BaseRoad`."""
        return self._barred

    def letter(self, chosen: PlanLetter) -> Tried:
        """Put one letter through. Raises `Outage` and `Unreachable`: then the letter is still open."""
        try:
            event = self.transact(lambda tx, changes: self._claim(tx, chosen, changes))
            if isinstance(event, Tried):
                return event
            error = self._call(event, attempt=1)
            if error is not None and self.planner.classify(error) is ErrorClass.INFRASTRUCTURE:
                self.release(event.key)
                raise Outage(message(error)) from error
            return self.transact(lambda tx, changes: self._finish(tx, chosen, event, error, changes))
        except Gone:
            return self.gone(chosen.letter)

    def release(self, key: str) -> None:
        """Let go of a claim. What waits is left to the workers, and a letter stays as it is."""
        if key not in self.claims:
            return

        def go(tx: Any, changes: Changes) -> None:
            entity = self.load(key)
            if entity.waiting is not None and entity.waiting.due_at == self.claims[key]:
                self.rules.unclaim(entity, changes, self.clock.now())
                self.write(tx, changes)

        self.transact(go)
        del self.claims[key]

    def _claim(self, tx: Any, chosen: PlanLetter, changes: Changes) -> Event | Tried:
        row, event = self.read(chosen)
        if isinstance(event, Unreadable):
            return self.unreadable(tx, row, event)
        entity, now = self.load(event.key), self.clock.now()
        verdict = self.rules.judge(entity, event, now, self.claims.get(event.key))
        if verdict is not Verdict.APPLY:
            return self.settle(tx, row, event, verdict, changes)
        until = self.rules.claim(entity, event.version, changes, now)
        self.write(tx, changes)
        self._claimed(event.key, until)
        return event

    def _finish(
        self, tx: Any, chosen: PlanLetter, event: Event, error: BaseException | None, changes: Changes
    ) -> Tried:
        row, _ = self.read(chosen)
        entity, now = self.load(event.key), self.clock.now()
        if not self._ours(entity):
            return self._lost(tx, row, event)
        if error is not None:
            self.rules.unclaim(entity, changes, now)
            self.write(tx, changes)
            self._claimed(event.key, None)
            return self.failed(tx, row, event, error)
        claim = self.rules.applied(entity, event, changes, now)
        tried = self.settle(tx, row, event, Verdict.APPLY, changes)
        self._claimed(event.key, claim)
        return tried

    def _lost(self, tx: Any, row: LetterRow, event: Event) -> Tried:
        detail = "the handler ran past the claim of its key, and may have taken effect; the letter stays"
        tried = Tried(Result.BUSY, detail, event.key, event.version)
        self.note(tx, row.id, tried)
        self._claimed(event.key, None)
        return tried

    def drain(self, key: str, most: int, below: int | None = None) -> Behind:
        """Decide the first event that waits for a key. Never more than one: it may take long."""
        found = self.transact(lambda tx, changes: self._next(tx, key, below, changes))
        if isinstance(found, Behind):
            return found
        event, attempt = found
        error = self._call(event, attempt)
        if error is not None and self.planner.classify(error) is ErrorClass.INFRASTRUCTURE:
            raise Outage(message(error)) from error
        return self.transact(lambda tx, changes: self._over(tx, event, error, changes))

    def _next(self, tx: Any, key: str, below: int | None, changes: Changes) -> tuple[Event, int] | Behind:
        entity, now = self.load(key), self.clock.now()
        if not self.rules.open(entity, now, self.claims.get(key)):
            self._claimed(key, None)
            return Behind({}, None)
        events = self.waiting_events(entity, 1, below)
        if not events and below is not None:
            return Behind({}, None)
        attempts = entity.waiting.attempts if entity.waiting is not None else 0
        ready = bool(events) and self.planner.admit(entity, events[0], changes, now)
        if ready:
            until = self.rules.claim(entity, events[0].version, changes, now)
            self.write(tx, changes)
            self._claimed(key, until)
            return events[0], attempts + 1
        return self._closed(tx, entity, changes, now)

    def _over(self, tx: Any, event: Event, error: BaseException | None, changes: Changes) -> Behind:
        entity, now = self.load(event.key), self.clock.now()
        if not self._ours(entity) or not self.rules.open(entity, now, self.claims[event.key]):
            self._claimed(event.key, None)
            return Behind({}, None)
        if error is None:
            self.planner.applied(entity, event, changes)
        else:
            self.planner.failed(entity, event, error, changes, now)
        return self._closed(tx, entity, changes, now)

    def _closed(self, tx: Any, entity: Entity, changes: Changes, now: float) -> Behind:
        self.planner.look_ahead(entity, changes, now)
        found = self.rules.close(entity, changes, now)
        self.write(tx, changes)
        self._claimed(entity.key, found[0] if found else None)
        return Behind(outcomes(changes), found[1] if found else None)

    def _ours(self, entity: Entity) -> bool:
        return entity.waiting is not None and entity.waiting.due_at == self.claims.get(entity.key)

    def _call(self, event: Event, attempt: int) -> BaseException | None:
        barred = self._barred.pop((event.key, event.version), None)
        fence = self.store.fence_of(event.slice.partition)
        return barred or self._caller.call(event, attempt, fence)


class _Caller:
    """Calls a handler within its limit, in a thread of its own where it is not async."""

    def __init__(self, declared: Declaration) -> None:
        self._declared = declared

    def call(self, event: Event, attempt: int, fence: int) -> BaseException | None:
        """What the handler raised, if it did."""
        declared, limit_s = self._declared, self._declared.limits.handler_s
        argument = [event.payload] if declared.batch > 1 else event.payload
        extra = {"context": self._context(event, attempt, fence)} if declared.wants_context else {}
        work: Callable[[], Any]
        if declared.is_async:

            async def within() -> None:
                try:
                    await asyncio.wait_for(declared.function(argument, **extra), limit_s)
                except TimeoutError:
                    raise HandlerTimeout(f"ran for more than {limit_s:g} s") from None

            def work() -> None:
                asyncio.run(within())
        else:

            def work() -> None:
                if inspect.isawaitable(declared.function(argument, **extra)):
                    raise TypeError("returned an awaitable; declare the handler with async def")

        return _within(work, limit_s + (1.0 if declared.is_async else 0.0), limit_s)

    def _context(self, event: Event, attempt: int, fence: int) -> Context:
        return Context(
            stream=self._declared.name,
            key=event.key,
            version=event.version,
            id=event.id,
            attempt=attempt,
            fence=fence,
            partition=str(event.slice.partition),
        )


def _within(work: Callable[[], None], patience_s: float, limit_s: float) -> BaseException | None:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(failure(error))

    thread = threading.Thread(target=run, name="inorder-replay-call", daemon=True)
    thread.start()
    thread.join(patience_s)
    if thread.is_alive():
        return HandlerTimeout(f"ran for more than {limit_s:g} s")
    return raised[0] if raised else None
