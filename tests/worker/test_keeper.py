"""A store that is asked from an event loop: in one thread, with patience, and let go of at the end.

Nothing here takes time: the pauses are played.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from inorder.core.changes import Changes
from inorder.errors import Mismatch, Unreachable
from inorder.worker import keeper as keeping
from inorder.worker.keeper import Keeper
from inorder.worker.runner import FIRST_PAUSE_S, LONGEST_PAUSE_S
from tests.worker.bench import PATIENCE_S
from tests.worker.played import HERE, Seen


class Store:
    """Answers with what it was asked, or fails so often before."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.threads: set[str] = set()
        self.fails: list[Exception] = []
        self.meanwhile: Callable[[], Any] = lambda: None

    def _do(self, what: str) -> None:
        self.log.append(what)
        self.threads.add(threading.current_thread().name)
        if self.fails:
            raise self.fails.pop(0)
        self.meanwhile()

    def load(self, keys: Any) -> Any:
        self._do(f"load {keys}")
        return {"loaded": keys}

    def held(self, key: str, most: int) -> Any:
        self._do(f"held {key} {most}")
        return ["held", key, most]

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        self._do("begin")
        yield SimpleNamespace(write=lambda *given: self.log.append(f"write {given}"))
        self._do("commit")

    def abandon(self) -> None:
        self.log.append("abandoned")

    def close(self) -> None:
        self._do("closed")


class Scene:
    def __init__(self) -> None:
        self.store, self.seen = Store(), Seen()
        given: Any = self.store
        self.keeper = Keeper(given, self.seen)
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    found = Scene()
    played = SimpleNamespace(get_running_loop=asyncio.get_running_loop, sleep=found.sleep)
    monkeypatch.setattr(keeping, "asyncio", played)
    yield found
    found.keeper._thread.shutdown(wait=False)


def test_each_question_is_asked_in_the_stores_own_thread_and_answered(scene: Scene) -> None:
    async def ask() -> list[Any]:
        loaded, held = await asyncio.gather(scene.keeper.load(["a"]), scene.keeper.held("a", 5))
        return [loaded, held]

    assert asyncio.run(ask()) == [{"loaded": ["a"]}, ["held", "a", 5]]
    assert [name.startswith("inorder-store") for name in scene.store.threads] == [True], "one thread"
    assert scene.seen.told == [("store", None)] * 2


def test_what_is_written_is_written_in_a_transaction(scene: Scene) -> None:
    changes = Changes(0)
    rows: Any = ["row"]
    asyncio.run(scene.keeper.write(rows, changes, {HERE: 7}))
    assert scene.store.log == ["begin", f"write {(rows, changes, {HERE: 7})}", "commit"]


def test_a_store_that_is_away_is_asked_until_it_answers(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.store.fails = [Unreachable("store: away")] * 8
    assert asyncio.run(scene.keeper.held("a", 5)) == ["held", "a", 5]
    assert scene.pauses == pytest.approx([FIRST_PAUSE_S * 2**n for n in range(6)] + [LONGEST_PAUSE_S] * 2)
    assert scene.seen.told == [("store", "store: away")] * 8 + [("store", None)]
    assert caplog.text.count("paused: store: away") == 8


def test_a_commit_whose_answer_was_lost_is_made_again_whole(scene: Scene) -> None:
    cut = [True]

    def lose() -> None:
        if scene.store.log[-1] == "commit" and cut:
            cut.clear()
            raise Unreachable("the answer was lost")

    scene.store.meanwhile = lose
    asyncio.run(scene.keeper.write([], Changes(0), {}))
    assert [one.split()[0] for one in scene.store.log] == ["begin", "write", "commit"] * 2


def test_a_refusal_is_for_whoever_asked(scene: Scene) -> None:
    scene.store.fails = [Mismatch(["a"])]
    with pytest.raises(Mismatch):
        asyncio.run(scene.keeper.write([], Changes(0), {}))
    assert (scene.pauses, scene.seen.told) == ([], [])


def busy(scene: Scene) -> threading.Event:
    """The store is in the middle of something, until this is set."""
    began, go = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go.wait(PATIENCE_S)
        scene.store.log.append("through")

    scene.keeper._thread.submit(work)
    assert began.wait(PATIENCE_S)
    return go


def test_a_store_is_closed_when_it_is_through_with_what_it_does(scene: Scene) -> None:
    go = busy(scene)
    threading.Timer(0.05, go.set).start()
    scene.keeper.close()
    assert scene.store.log == ["through", "closed"]
    assert [name.startswith("inorder-store") for name in scene.store.threads] == [True]


def test_what_is_being_done_may_end_before_a_store_is_abandoned(scene: Scene) -> None:
    go = busy(scene)
    threading.Timer(0.05, go.set).start()
    scene.keeper.abandon()
    assert scene.store.log == ["through", "abandoned"]


def test_a_store_is_abandoned_whatever_it_does(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "ENDING_S", 0.01)
    go = busy(scene)
    abandoning = threading.Thread(target=scene.keeper.abandon, daemon=True)
    abandoning.start()
    abandoning.join(PATIENCE_S / 2)
    try:
        assert not abandoning.is_alive(), "it waits for what hangs"
        assert scene.store.log == ["abandoned"]
        with pytest.raises(RuntimeError):
            scene.keeper._thread.submit(print)
    finally:
        go.set()
