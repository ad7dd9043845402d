"""What all processes of a run have counted, asked for by another thread while one of them ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from inorder.cli import run
from inorder.declaration import declaration_of
from inorder.observe.meter import Snapshot, added
from inorder.worker import supervisor as supervising
from tests.worker.consumers import declare, nothing
from tests.worker.supervised import COUNTER, Make, Scene, scenes

MEANWHILE_S = 0.3
"""How long one thread gives another that may have to wait for it."""


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    return scenes(monkeypatch)


def asking(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> Callable[[], float]:
    """What a page would say that all processes of a scene have counted."""
    monkeypatch.setattr(run, "Supervisor", lambda *given: scene.supervisor)
    declared = declaration_of(declare("fold", nothing, lambda entry: None))
    made = run._several("bank:balance", declared, scene.settings, 2, "info", True, False)

    def ask() -> float:
        workers = made.snapshots()
        return added([*workers.running, *workers.ended]).value(COUNTER)

    return ask


def two_at_work(make: Make) -> Scene:
    scene = make(2)
    scene.begin()
    for process, counted in zip(scene.processes, (3, 4), strict=True):
        process.counted = counted
    return scene


def test_what_is_asked_while_a_process_is_buried_does_not_leave_it_out(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = two_at_work(make)
    ask = asking(monkeypatch, scene)
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.append(ask()))

    def slowly(snapshots: list[Snapshot]) -> Snapshot:
        thread.start()
        thread.join(MEANWHILE_S)
        return added(snapshots)

    monkeypatch.setattr(supervising, "added", slowly)
    scene.processes[0].dies(1)
    scene.turn()
    thread.join()
    assert found == [7.0]


def test_what_is_asked_while_a_process_is_buried_does_not_count_it_twice(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = two_at_work(make)
    ask = asking(monkeypatch, scene)
    first, numbers = scene.processes[0], scene.processes[0].numbers
    thread = threading.Thread(target=scene.turn)

    def slowly() -> Snapshot:
        first.numbers = numbers  # type: ignore[method-assign]
        found = numbers()
        first.dies(1)
        thread.start()
        thread.join(MEANWHILE_S)
        return found

    first.numbers = slowly  # type: ignore[method-assign]
    assert ask() == 7.0
    thread.join()
    assert ask() == 7.0
