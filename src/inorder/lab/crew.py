"""The processes of one consumer group: started, restarted when they are killed, revived when they stand still.

It only ever signals processes that it started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from inorder.errors import InorderError
from inorder.lab.disorder import Class
from inorder.lab.fates import Board, Met, met
from inorder.lab.runlog import now
from inorder.lab.worker import Assignment

THAW_S = 8.0
"""Longest time that a worker stands still, if nobody takes its partitions over."""


class Crew:
    """`workers` processes with the same assignment. `tell` hears what befalls them."""

    def __init__(self, assignment: Assignment, workers: int, tell: Callable[[str], None]) -> None:
        self.name = assignment.crew
        self.killed: Met | None = None
        self.frozen: Met | None = None
        self._assignment = assignment
        self._folder = Path(assignment.folder)
        self._workers = workers
        self._tell = tell
        self._board = Board(self._folder, self.name)
        self._processes: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
        self._closing = False
        self._thawed = False

    def start(self) -> None:
        """Start all of them."""
        for number in range(1, self._workers + 1):
            self._start(str(number), 1)

    def owns(self, partitions: int) -> bool:
        """Whether so many partitions have an owner."""
        return len(set().union(*(posted.partitions for posted in self._board.owners().values()))) == partitions

    def look(self) -> None:
        """See to those that died or stand still. Call it often. Raises `InorderError` when one fails."""
        for (worker, life), process in list(self._processes.items()):
            code = process.poll()
            if code is None:
                continue
            self._release(worker, life)
            if code == -signal.SIGKILL and self.killed is None:
                self.killed = met(self._folder, self.name, Class.KILL)
                self._tell(f"{self.name}: worker {worker} killed, and started again")
                self._start(worker, life + 1)
            elif code != 0:
                last = self._last_words(worker)
                raise InorderError(f"worker {worker} of the {self.name} crew ended with code {code}: {last}")
        self._revive()

    def close(self) -> None:
        """There will be nothing more: each process ends when the stream is at its end."""
        self._closing = True
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.close()

    @property
    def size(self) -> int:
        """How many processes there are at present."""
        return len(self._processes)

    @property
    def ended(self) -> bool:
        """Whether all processes have ended."""
        return not self._processes

    def kill(self) -> None:
        """End all processes at once."""
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _start(self, worker: str, life: int) -> None:
        mine = msgspec.structs.replace(self._assignment, worker=worker, life=life)
        command = [sys.executable, "-P", "-m", "inorder.lab.worker"]
        with (self._folder / f"{self.name}-{worker}.err").open("ab") as errors:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=errors, stderr=errors, bufsize=0)
        self._processes[worker, life] = process
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead already, which the next look at it will show
            process.stdin.write(msgspec.json.encode(mine) + b"\n")
        if self._closing:
            process.stdin.close()

    def _release(self, worker: str, life: int) -> None:
        process = self._processes.pop((worker, life))
        assert process.stdin is not None
        process.stdin.close()

    def _revive(self) -> None:
        """Whoever stands still goes on when others have all that it had: now it is a zombie."""
        if self._thawed:
            return
        if self.frozen is None:
            self.frozen = met(self._folder, self.name, Class.FREEZE)
            if self.frozen is not None:
                self._tell(f"{self.name}: worker {self.frozen.worker} stands still")
                self._start(str(self._workers + 1), 1)
            return
        frozen, taken = self.frozen, set[int]()
        for who, posted in self._board.owners().items():
            if who in self._processes and who != (frozen.worker, frozen.life) and posted.at > frozen.at:
                taken |= posted.partitions
        if taken >= set(frozen.partitions) or now() - frozen.at > THAW_S:
            os.kill(frozen.pid, signal.SIGCONT)
            self._thawed = True
            self._tell(f"{self.name}: worker {frozen.worker} goes on, a zombie")

    def _last_words(self, worker: str) -> str:
        lines = (self._folder / f"{self.name}-{worker}.err").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"
