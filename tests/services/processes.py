"""Processes, ports and directories of services. Every process leads its own group, writes its output to a log
file, and is watched by a guardian process that ends it if this program dies first."""

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Below the range that outgoing connections take ports from: a stopped broker finds its own free again.
PORTS = range(20_000, 32_000)
LOG_TAIL_BYTES = 4_000

Process = subprocess.Popen[bytes]
Command = list[str | Path]


class ServiceError(RuntimeError):
    """A service did not start, or did not do what it was asked to."""


class _Guardian:
    """This program's end of the pipe to guardian.py, started with the first service."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Process | None = None
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._leave)

    def tell(self, line: str) -> None:
        with self._lock:
            if self._process is None:
                script = Path(__file__).with_name("guardian.py")
                self._process = subprocess.Popen(
                    [sys.executable, "-I", str(script)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            assert self._process.stdin is not None
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def close(self) -> None:
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
                self._process.wait()
            self._process = None

    def _leave(self) -> None:
        """A forked child must not hold the pipe open after its parent has died."""
        self._lock = threading.Lock()
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.returncode = 0  # not this program's child: nothing to wait for


_guardian = _Guardian()
_given_ports: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on, given once per program."""
    for port in random.sample(PORTS, 200):
        if port in _given_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given_ports.add(port)
        return port
    raise ServiceError(f"no free port found in {PORTS}")


def work_directory(service: str) -> Path:
    directory = tempfile.mkdtemp(prefix=f"inorder-{service}-")
    _guardian.tell(f"remove {directory}")
    return Path(directory)


@contextmanager
def scratch_directory(purpose: str) -> Iterator[Path]:
    directory = work_directory(purpose)
    try:
        yield directory
    finally:
        remove(directory)


def remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


def start(
    command: Command,
    log: Path,
    *,
    user: int | None = None,
    last_signal: int = signal.SIGKILL,
) -> Process:
    """Start a service. `last_signal` is how the guardian ends it if this program dies."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    _guardian.tell(f"watch {process.pid} {int(last_signal)}")
    return process


def end(process: Process, number: int = signal.SIGTERM, *, timeout_s: float = 30.0) -> None:
    """Send the signal and wait; past the time limit, kill."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)  # a paused process would not hear the signal
        process.send_signal(number)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    _guardian.tell(f"forget {process.pid}")


def run(command: Command, *, user: int | None = None, cwd: Path | None = None) -> None:
    """Run a preparing step to its end; its output is shown only if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        check=False,
    )
    if done.returncode:
        raise ServiceError(f"{command[0]} failed with {done.returncode}:\n{done.stdout.decode(errors='replace')}")


def wait_until(
    ready: Callable[[], bool],
    what: str,
    *,
    process: Process | None = None,
    log: Path | None = None,
    timeout_s: float,
) -> None:
    """Wait for a condition; if the process ends first or the time is up, raise with the end of its log."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > deadline:
            why = f"exited with {process.returncode}" if process and ended else f"not after {timeout_s:g} s"
            raise ServiceError(f"{what}: {why}{tail(log) if log else ''}")
        time.sleep(0.02)


def tail(log: Path) -> str:
    text = log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
    return f"; the end of its log:\n{text}" if text else "; its log is empty"


def listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
