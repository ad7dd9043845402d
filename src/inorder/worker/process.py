"""A process that the supervisor has started, and what it says."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import IO

import msgspec

from inorder.observe.meter import Snapshot
from inorder.worker.child import News, Order


class Process:
    """One run of `inorder.worker.child`. `alive` turns false at its end; then `close` is due."""

    def __init__(self, name: str, order: Order) -> None:
        self.started_at = time.monotonic()
        self.tally: int | None = None
        """Its row of counts in the store, as soon as it has one."""
        self._numbers = Snapshot()
        self._heard_at = self.started_at
        self.up = False
        """Whether it has ever polled."""
        self.ended: str | None = None
        """How it says that it ended by itself: "idle" or "stopped"."""
        self.error: str | None = None
        self.usage = False
        """Whether the error is one that trying again will not mend."""
        # -P: nothing but the consumer's own module may come from the working directory.
        command = [sys.executable, "-P", "-m", "inorder.worker.child", name]
        with _not_interrupted():
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._stdin, self.stdout = _both(self._process)
        self._unread = b""
        os.set_blocking(self.stdout.fileno(), False)
        with contextlib.suppress(BrokenPipeError):  # dead already, as the next look at it will show
            self._stdin.write(msgspec.json.encode(order) + b"\n")

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def listen(self) -> bool:
        """Take in what it has said since. Returns whether it may say more."""
        while data := self.stdout.read(65_536):
            *lines, self._unread = (self._unread + data).split(b"\n")
            for line in lines:
                self._heard(msgspec.json.decode(line, type=News))
        return data is None

    def numbers(self) -> Snapshot:
        """What it has counted, as far as it has said so."""
        since_s = time.monotonic() - self._heard_at
        return msgspec.structs.replace(self._numbers, polled_s=self._numbers.polled_s + since_s)

    def _heard(self, news: News) -> None:
        if news.numbers is not None:
            self._numbers, self._heard_at = news.numbers, time.monotonic()
        self.tally = news.tally or self.tally
        self.up = news.up or self.up
        self.ended = news.ended or self.ended
        self.error = news.error or self.error
        self.usage = news.usage or self.usage

    def terminate(self) -> None:
        """Ask it to finish what runs and to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def close(self) -> int:
        """Wait for its end, and release what is left of it; returns its exit code."""
        code = self._process.wait()
        self._stdin.close()
        self.stdout.close()
        return code


def cause(code: int) -> str:
    """An exit code in words."""
    try:
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    except ValueError:
        return f"killed by signal {-code}"


@contextlib.contextmanager
def _not_interrupted() -> Iterator[None]:
    """What is started within is not reached by Ctrl-C, which is for the supervisor, before it says so itself."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _both(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a child was started without pipes")
    return process.stdin, process.stdout
