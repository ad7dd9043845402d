"""Threads that do nothing by themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Pool:
    """In the place of `inorder.worker.pool.Pool`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.tasks: list[Callable[[], None]] = []
        self.left: list[threading.Thread] = []
        self.closed = False

    def submit(self, task: Callable[[], None]) -> None:
        self.tasks.append(task)

    def leave(self, thread: threading.Thread) -> None:
        self.left.append(thread)

    def close(self) -> None:
        self.closed = True

    def work(self) -> None:
        """One of the threads does what comes next."""
        self.tasks.pop(0)()

    def work_all(self) -> None:
        """They do all that there is, and nothing that comes meanwhile."""
        for _ in range(len(self.tasks)):
            self.work()
