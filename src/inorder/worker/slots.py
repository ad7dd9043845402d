"""A slot: one task that calls an async handler, again and again for as long as there is something to do.

A task for each event would cost more than all the rest. Each call has a context of its own, as in a task of its own.
Never compiled: a compiled coroutine passes on what it awaits, and the end of it, at several times the cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import copy_context
from types import coroutine
from typing import Any

from inorder.errors import HandlerTimeout
from inorder.worker.blame import failure
from inorder.worker.pool import Left
from inorder.worker.running import Run

QUICK_CALLS = 16
"""So many calls of one slot may end without having waited for anything, before all others have a turn."""


async def slot(
    first: Run,
    call: Callable[[Run], Coroutine[Any, Any, Any]],
    over: Callable[[Run], bool],
    following: Callable[[], Run | None],
) -> None:
    """Make this call, and those that follow.

    `call` begins the handler's coroutine. `over` is told of a call that has ended, and says whether the slot goes on;
    `following`, what to call next, None if nothing.
    """
    # A task takes a coroutine, and what is below, which passes on what handlers wait for, is a generator.
    await _calls(first, call, over, following)


@coroutine
def _calls(
    first: Run,
    call: Callable[[Run], Coroutine[Any, Any, Any]],
    over: Callable[[Run], bool],
    following: Callable[[], Run | None],
) -> Generator[Any, Any, None]:
    me, quick = asyncio.current_task(), 0
    run: Run | None = first
    while run is not None:
        run.task, run.began_at = me, run.decided_at
        quick += 1
        waits_for = thrown = None
        try:
            handler = call(run)
            enter, send = copy_context().run, handler.send
            try:
                waits_for = enter(send, None)
                quick = 0
                while True:
                    thrown = None
                    try:
                        yield waits_for
                    except GeneratorExit:
                        # The loop is closed: what the handler still has to say of it is nobody's business.
                        with suppress(BaseException):
                            enter(handler.close)
                        raise
                    except BaseException as error:
                        thrown = error
                    waits_for = enter(send, None) if thrown is None else enter(handler.throw, thrown)
            except StopIteration:
                pass
        except asyncio.CancelledError:
            run.error = HandlerTimeout("was cancelled")
        except (Left, GeneratorExit):
            raise
        except BaseException as error:
            run.error = failure(error)
        finally:
            # An error knows this frame: that would be a cycle, and keep what the handler had until garbage is searched.
            waits_for = thrown = None
        if not over(run):
            return
        if quick >= QUICK_CALLS:
            quick = 0
            yield
        run = following()
