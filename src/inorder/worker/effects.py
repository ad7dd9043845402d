"""The user's function as an effect of the planner: one class for each kind that runs inside a batch."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from enum import Enum
from typing import Any

from mypy_extensions import mypyc_attr

from inorder.codecs.payload import checker, decoder, encoder
from inorder.core.effect import Abort, Effect
from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.words import describe
from inorder.declaration import Declaration
from inorder.errors import Fenced, Mismatch, Unreachable, UsageError
from inorder.ports import Transaction
from inorder.worker.blame import failure
from inorder.worker.pool import LEAVING_S, close_loop


class Manner(Enum):
    """How the handlers of a batch share a transaction."""

    TOGETHER = "together"
    """Statements go out without waiting for each other: a failure may be anybody's."""
    SINGLY = "singly"
    """Each waits for its answer: a failure is the fault of the event that is being handled, and undoes the batch."""
    CAREFULLY = "carefully"
    """Each event has a savepoint: a failure undoes that event alone."""


class Redo(Abort):
    """A handler failed in a transaction that it shares with others, which are to be redone without it."""

    def __init__(self, event: Event | None, error: Exception) -> None:
        self.event = event
        self.error = error
        # Not its message, which may be one that cannot be read.
        super().__init__(describe(error))


class Cancelled(Abort):
    """What is being decided is not needed any more."""


class StoreFailed(Abort):
    """The store failed under a handler, which is not the event's fault."""

    def __init__(self, error: Fenced | Mismatch | Unreachable) -> None:
        self.error = error


class Finisher:
    """Runs an async function to its end on a loop of its own, in the thread that asks."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def finish(self, awaitable: Awaitable[Any]) -> Any:
        """The result of `awaitable`."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()

        async def wrapped() -> Any:
            return await awaitable

        task = self._loop.create_task(wrapped())
        try:
            return self._loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt):
            if task.done():
                task.exception()  # which so counts as seen
            else:
                # Raised in a task of the handler's own, it ends the loop before the handler, which must never go on.
                task.cancel()
                with suppress(SystemExit, KeyboardInterrupt):
                    self._loop.run_until_complete(asyncio.wait({task}, timeout=LEAVING_S))
            raise

    def wake(self) -> None:
        """From another thread: what is thrown into the thread that waits here shall be seen at once."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # closed meanwhile: it has been seen
                loop.call_soon_threadsafe(lambda: None)

    def close(self) -> None:
        """Cancel what was left on the loop, a handler that hung or what it had begun, and do without the loop."""
        loop = self._loop
        if loop is None or loop.is_running():  # a thread that was told to end is in it still
            return
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            with suppress(SystemExit, KeyboardInterrupt):
                loop.run_until_complete(asyncio.wait(left, timeout=LEAVING_S))
        for task in left:
            if task.done() and not task.cancelled():
                task.exception()  # which so counts as seen: nobody waits for it
        close_loop(loop)


@mypyc_attr(allow_interpreted_subclasses=True)
class BatchEffect(Effect):
    """What effects inside a batch have in common. Events in `barred` fail with the error given, without being tried."""

    def __init__(self, declared: Declaration) -> None:
        self.function = declared.function
        self.finisher = Finisher() if declared.is_async else None
        self.barred: dict[tuple[str, int], Exception] = {}
        self._refused: set[tuple[str, int]] = set()
        self.failed = 0
        """Events whose failure cost a savepoint, and nobody else anything, in the batch at hand."""
        self.late = False
        """Whether an error came after all handlers, as at the commit: then each is asked for its own."""
        self.cancelled = False
        """Set from another thread: what is being decided is to end before its next event."""
        self.now_at: Event | None = None
        """The event whose handler is running: whoever watches can see that it hangs."""
        self.turns = 0
        """How often a batch has been begun. In the next one the same event has its whole time again."""

    def bar(self, event: Event) -> None:
        """Raise what this event is barred with, if it is."""
        at = (event.key, event.version)
        if at in self.barred:
            self._refused.add(at)
            raise self.barred[at]

    def blame(self, redo: Redo) -> None:
        """Bar the event that a batch is redone without. Raises `redo` where none is known to be at fault."""
        if redo.event is None:
            raise redo
        self.barred[redo.event.key, redo.event.version] = redo.error

    def bars(self, events: Iterable[Event]) -> bool:
        """Whether any of these events is barred."""
        return bool(self.barred) and any((event.key, event.version) in self.barred for event in events)

    def close(self) -> None:
        """Nothing more is applied: do without the loop of an async function."""
        if self.finisher is not None:
            self.finisher.close()

    def written(self) -> None:
        """What barred events came to is in the store: they may be tried again."""
        for at in self._refused:
            self.barred.pop(at, None)
        self._refused.clear()


@mypyc_attr(allow_interpreted_subclasses=True)
class FoldEffect(BatchEffect):
    """A fold: the state is kept in the entity, decoded, and written by the store as JSON."""

    def __init__(self, declared: Declaration) -> None:
        super().__init__(declared)
        self._stream = declared.name
        self._classes = checker(declared.state)
        self._expected = getattr(declared.state, "__name__", str(declared.state))
        self._plain = self._classes[0] if len(self._classes) == 1 else None
        self._decode = decoder(declared.state)
        self._payload = decoder(declared.payload)
        self._encode = encoder(declared.state)

    def loaded(self, entity: Entity) -> None:
        """Decode the state of an entity that was just read from the store. Raises `UsageError` if it is another's."""
        try:
            entity.state = None if entity.stored_state is None else self._decode(entity.stored_state)
        except Exception as error:
            raise UsageError(
                f"stream {self._stream}: the state of key {entity.key} in the store is no {self._expected}: {error}: "
                "give this consumer another name= or another store, or the state type that it was written with"
            ) from error

    def encode(self, entity: Entity) -> bytes | None:
        """The state as the store keeps it."""
        try:
            return None if entity.state is None else self._encode(entity.state)
        except Exception as error:
            if not entity.applied:
                raise
            # Which of its events made it so is not known; the last one is the first to be doubted.
            raise Redo(entity.applied[-1], TypeError(f"returned a state that JSON cannot hold: {error}")) from error

    def apply(self, entity: Entity, event: Event) -> None:
        """Fold one event into the state. Raises TypeError when the function returns another type than it says."""
        if self.cancelled:
            raise Cancelled
        self.now_at = event
        if self.barred:
            self.bar(event)
        try:
            state = self.function(entity.state, event.payload)
            entity.state = state if type(state) is self._plain else self._checked(state)
        except Exception:
            raise
        except BaseException as error:
            raise failure(error) from None

    def _checked(self, state: Any) -> Any:
        if self.finisher is not None:
            state = self.finisher.finish(state)
        if not isinstance(state, self._classes):
            raise TypeError(f"returned {type(state).__name__}, not {self._expected}")
        return state

    def undo(self, entity: Entity) -> None:
        """Fold again from the stored state: the failed call may have changed the state in place. So may those before it
        have changed their payloads, above all where a payload has become the state.
        """
        self.loaded(entity)
        for event in entity.applied:
            try:
                event.payload = self._payload(event.slice.values[event.index] or b"")
                self.apply(entity, event)
            except Exception as error:
                # It went well before: whatever has changed since, all is decided anew with this one failed.
                raise Redo(event, error) from error


@mypyc_attr(allow_interpreted_subclasses=True)
class TxEffect(BatchEffect):
    """A handler with `tx`."""

    def __init__(self, declared: Declaration) -> None:
        super().__init__(declared)
        self.tx: Transaction | None = None
        self.manner = Manner.TOGETHER

    def loaded(self, entity: Entity) -> None:
        """Nothing: the state is in the user's own tables."""

    def encode(self, entity: Entity) -> bytes | None:
        """Nothing: the state is in the user's own tables."""
        return None

    def apply(self, entity: Entity, event: Event) -> None:
        """Call the handler, within the transaction that will also write the version."""
        self.now_at = event
        if self.barred:
            self.bar(event)
        tx = self.tx
        assert tx is not None
        try:
            if self.manner is Manner.CAREFULLY:
                with tx.savepoint():
                    self._checked(event, tx)
            else:
                self._checked(event, tx)
        except (Fenced, Mismatch, Unreachable) as error:
            raise StoreFailed(error) from error
        except Exception as error:
            if self.manner is Manner.CAREFULLY and not tx.spoiled:
                self.failed += 1
                raise
            raise Redo(event, error) from error

    def undo(self, entity: Entity) -> None:
        """Nothing: the savepoint has undone what the handler wrote."""

    def _checked(self, event: Event, tx: Transaction) -> None:
        self._call(event, tx)
        if tx.spoiled:
            # Found at once: where nothing is left of a transaction, what comes next would be committed by itself.
            raise RuntimeError("a statement failed, and the handler went on as if it had not")
        if self.late and self.manner is not Manner.TOGETHER:
            tx.check()

    def _call(self, event: Event, tx: Transaction) -> None:
        try:
            if self.finisher is not None:
                self.finisher.finish(self.function(event.payload, tx=AsyncTransaction(tx)))
            else:
                returned = self.function(event.payload, tx=tx)
                if returned is not None and inspect.isawaitable(returned):
                    raise TypeError("returned an awaitable; declare the handler with async def")
        except Exception:
            raise
        except BaseException as error:
            raise failure(error) from None


class AsyncTransaction:
    """The transaction of an async handler. Statements are short and local, so they run as they are."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    @property
    def connection(self) -> Any:
        """The driver's own connection, in this transaction."""
        return self._tx.connection

    async def execute(self, statement: str, parameters: Any = ()) -> Any:
        """Run one statement; returns the driver's cursor."""
        return self._tx.execute(statement, parameters)
