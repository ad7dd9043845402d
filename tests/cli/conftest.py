"""The command in this process, as a user calls it, with whatever it changes in the process put back."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from inorder.cli import main
from inorder.worker import worker as loop
from tests.cli.process import Running

CONSUMERS = Path(__file__).with_name("consumers.py")


class Said(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as one JSON document."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Said]
Start = Callable[..., Running]


@pytest.fixture
def inorder(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """`inorder("run", …)` in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "END_CHECK_S", 0.02)
    monkeypatch.setattr(loop, "POLL_S", 0.02)
    root, own = logging.getLogger(), logging.getLogger("inorder")
    before = root.handlers[:], root.level, own.level, sys.path[:], set(sys.modules)

    def call(*arguments: object) -> Said:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Said(int(code), out, err)

    yield call
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])
    sys.path[:] = before[3]
    for name in set(sys.modules) - before[4]:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file == str(CONSUMERS) or file.startswith(str(tmp_path)):
            del sys.modules[name]


def events(accounts: int, each: int) -> list[dict[str, Any]]:
    """Events of some accounts, taking turns. The amount of each is its version."""
    return [
        {"id": f"{account}-{version}", "account": f"a{account:02}", "version": version, "amount": 100 + version}
        for version in range(1, each + 1)
        for account in range(accounts)
    ]


def expected(accounts: int, each: int) -> list[dict[str, Any]]:
    """What `inorder state` prints for them, whatever the order they came in."""
    amounts = list(range(101, 101 + each))
    return [{"key": f"a{n:02}", "version": each, "state": {"amounts": amounts}} for n in range(accounts)]


def write_lines(path: Path, found: Sequence[object]) -> Path:
    """One line each; bytes as they are, anything else as JSON."""
    lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in found]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def add_up(report: dict[str, Any]) -> None:
    """received = sum of outcomes."""
    assert report["received"] == sum(report["outcomes"].values()), report


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start("run", …)` in a process of its own, which is ended after the test."""
    started: list[Running] = []

    def begin(*arguments: object, **options: Any) -> Running:
        started.append(Running(tmp_path, *arguments, **options))
        return started[-1]

    yield begin
    for one in started:
        one.end()
