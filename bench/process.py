"""One arm in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from bench.arms.task import Report, Task

ROOT = Path(__file__).resolve().parent.parent
LONGEST_S = 1800.0
TAIL = 2_000


class BenchError(RuntimeError):
    """An arm did not do what it was started for."""


class Process:
    """`with Process("inorder", task) as process: report = process.report()`. It is ended with the block."""

    def __init__(self, program: str, task: Task) -> None:
        self._program = program
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the block of this object)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.arms", program, msgspec.json.encode(task).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            text=True,
        )
        self.owned = 0
        """Partitions that it has, as far as it has said."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def listen(self) -> None:
        """Take in the next line about what it owns."""
        self.owned = msgspec.json.decode(self._line(), type=dict[str, int])["owned"]

    def open_gate(self) -> None:
        """Let it begin."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def report(self) -> Report:
        """Wait for its end, and return what it found."""
        line = self._line()
        while line.startswith('{"owned"'):
            line = self._line()
        if self._process.wait(LONGEST_S):
            raise self._failed()
        return msgspec.json.decode(line, type=Report)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(LONGEST_S)
            raise self._failed()
        return line

    def _failed(self) -> BenchError:
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace")[-TAIL:]
        return BenchError(f"the arm {self._program} ended with {self._process.returncode}:\n{text}")
