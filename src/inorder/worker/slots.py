"""A slot: one task that calls an async handler, again and again for as long as there is something to do.

A task for each event would cost more than all the rest. Each call has a context of its own, as in a task of its own.
Never compiled: a compiled coroutine passes on what it awaits, and the end of it, at several times the cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
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
    run: Run,
    call: Callable[[Run], Coroutine[Any, Any, Any]],
    over: Callable[[Run], bool],
    following: Callable[[], Run | None],
) -> None:
    """Make this call, and those that follow. Whoever makes a task of it notes that in `run` before it begins.

    `call` begins the handler's coroutine. `over` is told of a call that has ended, and says whether the slot goes on;
    `following`, what to call next, None if nothing.
    """
    await _calls(run, call, over, following)


@coroutine
def _calls(
    run: Run | None,
    call: Callable[[Run], Coroutine[Any, Any, Any]],
    over: Callable[[Run], bool],
    following: Callable[[], Run | None],
) -> Generator[Any, Any, None]:
    me = None if run is None else run.task
    quick = 0
    while run is not None:
        run.task, run.began_at = me, run.decided_at
        quick += 1
        try:
            handling = call(run)
            enter, send = copy_context().run, handling.send
            try:
                waits_for = enter(send, None)
                quick = 0
                while True:
                    thrown: BaseException | None = None
                    try:
                        yield waits_for
                    except GeneratorExit:
                        enter(handling.close)
                        raise
                    except BaseException as error:
                        thrown = error
                    waits_for = enter(send, None) if thrown is None else enter(handling.throw, thrown)
            except StopIteration:
                pass
        except asyncio.CancelledError:
            run.error = HandlerTimeout("was cancelled")
        except (Left, GeneratorExit):
            raise
        except BaseException as error:
            run.error = failure(error)
        if not over(run):
            return
        if quick >= QUICK_CALLS:
            quick = 0
            yield
        run = following()
