"""A process of the supervisor's, as its parent sees it: what it is told, and what is made of what it says.

Pure: the other end of its pipes is played.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from inorder.observe.meter import Snapshot
from inorder.worker import process as processes
from inorder.worker.child import News, Order
from inorder.worker.process import Process, cause
from inorder.worker.settings import Settings

ORDER = Order(target="bank:balance", settings=Settings(source="file:x", worker="3"), log_level="info", watched=True)


class Started:
    """In place of a child: its pipes, and what it was told by its parent."""

    def __init__(self, command: list[str], dead: bool = False, without: Sequence[str] = (), **options: Any) -> None:
        self.command, self.options = command, options
        ours, self._theirs = os.pipe()
        self.stdout = os.fdopen(ours, "rb", buffering=0) if "stdout" not in without else None
        self.stdin = Taking(dead) if "stdin" not in without else None
        self.pid, self.code = 4711, 0
        self.told: list[str] = []
        self.ended = False

    def says(self, *news: News | bytes) -> None:
        os.write(self._theirs, b"".join(one if isinstance(one, bytes) else encoded(one) for one in news))

    def ends(self, code: int = 0) -> None:
        os.close(self._theirs)
        self._theirs, self.ended, self.code = -1, True, code

    def poll(self) -> int | None:
        return self.code if self.ended else None

    def terminate(self) -> None:
        self.told.append("terminate")

    def kill(self) -> None:
        self.told.append("kill")

    def wait(self) -> int:
        self.told.append("wait")
        return self.code

    def close(self) -> None:
        if self._theirs >= 0:
            os.close(self._theirs)
        if self.stdout is not None:
            self.stdout.close()


class Taking:
    """Standard input of a child."""

    def __init__(self, dead: bool) -> None:
        self.dead, self.taken, self.closed = dead, b"", False

    def write(self, data: bytes) -> int:
        if self.dead:
            raise BrokenPipeError
        self.taken += data
        return len(data)

    def close(self) -> None:
        self.closed = True


def encoded(news: News) -> bytes:
    return msgspec.json.encode(news) + b"\n"


class Scene:
    def __init__(self) -> None:
        self.at = 50.0
        self.children: list[Started] = []
        self.given: dict[str, Any] = {}
        self.blocked: set[int] = set()
        """The signals that do not reach a child as it starts."""

    def start(self, **given: Any) -> tuple[Process, Started]:
        self.given = given
        made = Process("3", ORDER)
        return made, self.children[-1]

    def popen(self, command: list[str], **options: Any) -> Started:
        self.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        self.children.append(Started(command, **self.given, **options))
        return self.children[-1]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    found = Scene()
    monkeypatch.setattr(processes, "subprocess", SimpleNamespace(Popen=found.popen, PIPE="a pipe"))
    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=lambda: found.at))
    yield found
    for child in found.children:
        child.close()


def test_a_child_is_started_with_its_name_and_told_what_to_run(scene: Scene) -> None:
    process, child = scene.start()
    assert child.command == [sys.executable, "-P", "-m", "inorder.worker.child", "3"]
    assert child.options == {"stdin": "a pipe", "stdout": "a pipe", "bufsize": 0}
    assert child.stdin is not None
    assert child.stdin.taken.endswith(b"\n"), "its end would be a wish to stop"
    assert msgspec.json.decode(child.stdin.taken, type=Order) == ORDER
    assert not child.stdin.closed
    assert (process.pid, process.alive, process.started_at) == (4711, True, 50.0)
    assert (process.tally, process.up, process.ended, process.error, process.usage) == (None, False, None, None, False)


def test_ctrl_c_does_not_reach_a_child_that_has_not_said_what_it_makes_of_it(scene: Scene) -> None:
    scene.start()
    assert scene.blocked == {signal.SIGINT}
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set(), "and the supervisor hears of it"


def test_a_child_that_died_at_once_is_no_error_yet(scene: Scene) -> None:
    process, child = scene.start(dead=True)
    child.ends(9)
    assert not process.alive
    assert not process.listen()
    assert process.close() == 9


@pytest.mark.parametrize("without", ["stdin", "stdout"])
def test_a_child_without_pipes_is_a_bug(scene: Scene, without: str) -> None:
    with pytest.raises(RuntimeError, match="without pipes"):
        scene.start(without=[without])


def test_what_a_child_says_adds_up(scene: Scene) -> None:
    process, child = scene.start()
    assert process.listen(), "nothing yet"
    child.says(News(tally=8))
    assert process.listen()
    assert (process.tally, process.up) == (8, False)
    child.says(News(up=True), News(ended="idle"))
    process.listen()
    assert (process.tally, process.up, process.ended, process.error) == (8, True, "idle", None)
    child.says(News(error="no such topic", usage=True))
    process.listen()
    child.says(News())
    process.listen()
    assert (process.error, process.usage, process.ended, process.up) == ("no such topic", True, "idle", True)


def test_a_line_that_comes_in_pieces_is_read_when_it_is_whole(scene: Scene) -> None:
    process, child = scene.start()
    line = encoded(News(tally=8)) + encoded(News(up=True))
    child.says(line[:5])
    assert process.listen()
    child.says(line[5:-3])
    process.listen()
    assert (process.tally, process.up) == (8, False)
    child.says(line[-3:])
    child.ends()
    assert not process.listen(), "it will say no more"
    assert process.up, "its last words count"
    assert not process.alive


def test_more_than_can_be_read_at_once_is_read_to_its_end(scene: Scene) -> None:
    process, child = scene.start()
    rest = News(error="x" * 40_000)
    child.says(rest)
    child.says(News(tally=9))
    process.listen()
    assert (process.tally, len(process.error or "")) == (9, 40_000)


def test_numbers_grow_old_until_others_come(scene: Scene) -> None:
    process, child = scene.start()
    scene.at += 2.0
    assert process.numbers() == Snapshot(polled_s=2.0)
    scene.at += 1.0
    child.says(News(numbers=Snapshot(effects=5, polled_s=0.25)))
    process.listen()
    scene.at += 4.0
    child.says(News(tally=9))
    process.listen()
    assert process.numbers() == Snapshot(effects=5, polled_s=4.25), "a sign of life is told, not guessed"


def test_a_child_is_asked_to_end_or_ended(scene: Scene) -> None:
    process, child = scene.start()
    process.terminate()
    process.kill()
    assert child.told == ["terminate", "kill"]


def test_what_is_left_of_a_child_is_released_when_it_has_ended(scene: Scene) -> None:
    process, child = scene.start()
    child.ends(3)
    assert process.close() == 3
    assert child.told == ["wait"]
    assert child.stdin is not None
    assert child.stdin.closed
    assert process.stdout.closed


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "exit code 0"),
        (9, "exit code 9"),
        (-signal.SIGKILL, "killed by SIGKILL"),
        (-signal.SIGHUP, "killed by SIGHUP"),
        (-250, "killed by signal 250"),
    ],
)
def test_an_exit_code_in_words(code: int, said: str) -> None:
    assert cause(code) == said
