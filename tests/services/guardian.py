"""Outlives the program that started it by a moment, to end the services and remove the directories it left.

Run as a script with a pipe as its standard input. Lines: `watch PID SIGNAL`, `forget PID`, `remove PATH`.
When the pipe closes, for whatever reason, SIGKILL included, it ends what is still watched. It starts nothing.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress

GRACE_S = 1.0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def send(pid: int, number: int) -> None:
    with suppress(OSError):  # it ended by itself
        os.killpg(pid, number)


def end(watched: dict[int, int]) -> None:
    for pid, number in watched.items():
        send(pid, number)
    deadline = time.monotonic() + GRACE_S
    while any(map(alive, watched)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in watched:
        send(pid, signal.SIGKILL)


def main() -> None:
    watched: dict[int, int] = {}
    directories: list[str] = []
    for line in sys.stdin:
        verb, _, rest = line.rstrip("\n").partition(" ")
        if verb == "watch":
            pid, number = rest.split()
            watched[int(pid)] = int(number)
        elif verb == "forget":
            watched.pop(int(rest), None)
        elif verb == "remove":
            directories.append(rest)
    end(watched)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
