"""A handler and nothing else: as many calls at once, of the same function, without broker, store or order.

What timers, threads and the event loop cost on this machine is not the library's to gain.
"""

from __future__ import annotations

import asyncio
import threading

from bench import consumers
from bench.arms.task import Clock, Report, Task
from bench.workload import Entry
from inorder.declaration import declaration_of
from inorder.worker.child import dedicate
from inorder.worker.turning import new_loop

ENTRY = Entry(id="id", entity="entity", version=1, amount=1)


def run(task: Task) -> Report:
    """Call the handler once for each event."""
    declared, clock = declaration_of(getattr(consumers, task.consumer)), Clock(task)
    dedicate(declared.in_threads)
    handler, turns = declared.function, iter(range(task.events))

    def calls() -> None:
        for _ in turns:
            handler(ENTRY)

    async def awaits() -> None:
        for _ in turns:
            await handler(ENTRY)

    async def together() -> None:
        await asyncio.gather(*(awaits() for _ in range(task.concurrency)))

    clock.first()
    if declared.in_threads:
        threads = [threading.Thread(target=calls) for _ in range(task.concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        loop = new_loop()
        loop.run_until_complete(together())
        loop.close()
    clock.durable(task.events)
    return clock.report()
