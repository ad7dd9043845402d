"""The command as a process of its own, with what it says at hand while it runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 20.0


class Running:
    """`inorder ARGUMENTS` in `folder`."""

    def __init__(self, folder: Path, *arguments: object, stdin: int = subprocess.DEVNULL) -> None:
        self._out, self._err = (folder / f"{name}-{uuid.uuid4()}" for name in ("out", "err"))
        command = [sys.executable, "-m", "inorder.cli", *map(str, arguments)]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(command, cwd=folder, stdin=stdin, stdout=out, stderr=err)

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def workers(self) -> list[int]:
        """The processes that came up, in the order they did."""
        return [int(pid) for pid in re.findall(r"is up, process (\d+)", self.err)]

    def until(self, true: Callable[[], object]) -> None:
        """Wait for something that this process will bring about."""
        wait_until(lambda: true() or self.process.poll() is not None)
        assert true(), self.err

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def code(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(PATIENCE_S)

    def end(self) -> None:
        """Leave nothing of it behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.workers:
            if runs(pid):
                os.kill(pid, signal.SIGKILL)


def wait_until(true: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not true() and time.monotonic() < until:
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether there is such a process, and it is more than a zombie nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return status.stdout.strip()[:1] not in {"", "Z"}
