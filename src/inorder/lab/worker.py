"""One worker process of an experiment: `python -m inorder.lab.worker`, started by a crew.

Standard input brings one line of JSON, an `Assignment`. When it ends, nothing more will be produced, or the parent
is dead: the worker finishes what there is, and ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import cast

import msgspec

from inorder.lab.accounts import DEPLOYED, STREAM, consumer
from inorder.lab.disorder import Class
from inorder.lab.fates import Board, Fates, Met
from inorder.lab.naive import Bank, NaiveConsumer
from inorder.lab.runlog import RunLog, now, path_of
from inorder.lab.watching import Watch, WatchedSource, WatchedStore
from inorder.ports import Store
from inorder.wiring import open_source, open_store

IDLE_S = 0.2
"""How long a worker waits for more, at the end of the stream."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is to do."""

    crew: str
    """"naive" or "inorder"."""
    worker: str = ""
    life: int = 0
    folder: str
    source: str
    store: str
    """A URL for inorder, a file for the naive consumer."""
    order: str = "strict"
    marks: dict[Class, int]


def main() -> int:
    """Run one worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends its crews
    assignment = msgspec.json.decode(sys.stdin.buffer.readline(), type=Assignment)
    _Process(assignment).run()
    return 0


class _Process:
    def __init__(self, assignment: Assignment) -> None:
        self._mine = assignment
        folder = Path(assignment.folder)
        who = assignment.crew, assignment.worker, assignment.life
        board = Board(folder, assignment.crew)
        self._owned: set[int] = set()

        def owns(partitions: set[int]) -> None:
            self._owned = set(partitions)
            board.post(*who[1:], partitions)

        def me() -> Met:
            return Met(now(), *who[1:], os.getpid(), sorted(self._owned))

        self._log = RunLog(path_of(folder, *who))
        self._fates = Fates(folder, assignment.crew, assignment.marks, me)
        source = open_source(assignment.source, assignment.crew)
        self._source = WatchedSource(source, self._log, self._fates, owns)
        threading.Thread(target=self._listen, name="parent", daemon=True).start()

    def run(self) -> None:
        """Until the end of the stream."""
        mine = self._mine
        if mine.crew == "naive":
            bank = Bank(Path(mine.store))
            NaiveConsumer(self._source, bank, DEPLOYED, self._log, self._fates).run()
            bank.close()
        else:
            self._run_inorder()

    def _run_inorder(self) -> None:
        from inorder.declaration import declaration_of
        from inorder.worker.assemble import Assembled
        from inorder.worker.settings import Settings

        mine = self._mine
        settings = Settings(source=mine.source, store=mine.store, worker=mine.worker)
        watch = Watch(self._log, self._fates, self._source.calm)

        def open_watched() -> Store:
            return cast("Store", WatchedStore(open_store(mine.store, STREAM), watch))

        declared = declaration_of(consumer(DEPLOYED, mine.order))
        parts = Assembled(declared, settings, self._source, open_watched, witness=watch.witness)
        parts.loop.run(IDLE_S)
        parts.control.close()

    def _listen(self) -> None:
        while os.read(0, 1024):
            pass
        self._source.closing = True


if __name__ == "__main__":
    sys.exit(main())
