"""A demo that is ended early leaves no process and no file."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.demo.command import start


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ended_by_a_signal(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = start(tmp_path, "--events", "20000", "--workers", "2")
    while not list(tmp_path.glob("*/inorder-1-1.log")) or len(children(process.pid)) < 4:
        assert process.poll() is None
        time.sleep(0.05)
    workers = children(process.pid)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert len(workers) >= 4
    assert [pid for pid in workers if alive(pid)] == []
    assert list(tmp_path.iterdir()) == []
