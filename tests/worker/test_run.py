"""A consumer started from the user's own program: what is opened is closed, and what the report says.

Pure: source, store and parts are played.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import inorder
from inorder.declaration import declaration_of
from inorder.worker import run as running
from inorder.worker.run import Worker, report
from inorder.worker.settings import Report, Settings
from tests.worker.consumers import FOLD, declare, nothing
from tests.worker.played import Alone, Seen


class Store:
    """What it counted, by tally."""

    def __init__(self) -> None:
        self.closed = 0
        self.tallied: dict[int, dict[str, int]] = {}

    def counts(self, tallies: Sequence[int]) -> dict[str, int]:
        found: dict[str, int] = {}
        for tally in tallies:
            for name, n in self.tallied.get(tally, {}).items():
                found[name] = found.get(name, 0) + n
        return found

    def held_count(self) -> int:
        return 11

    def parked_count(self) -> int:
        return 12

    def close(self) -> None:
        self.closed += 1


class Parts:
    """In place of `Assembled`."""

    fails: Exception | None = None
    breaks: Exception | None = None

    def __init__(self, scene: Scene, *given: Any, **named: Any) -> None:
        if self.fails is not None:
            raise self.fails
        self.given, self.named = given, named
        self.tally = 4
        self.control = scene.control
        self.loop = self
        self.idle: list[float | None] = []
        self.stopped = 0
        self._scene = scene

    def run(self, until_idle_s: float | None) -> bool:
        assert self.control.closed == 0
        self.idle.append(until_idle_s)
        self._scene.at += 4.0
        if self.breaks is not None:
            raise self.breaks
        return self.stopped == 0

    def stop(self) -> None:
        self.stopped += 1


class Scene:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source, self.control, self.look = Alone(), Store(), Store()
        self.opened: list[tuple[str, str]] = []
        self.made: list[Parts] = []
        self.at = 100.0
        self.function = declare(FOLD, nothing, lambda entry: None, name="balance")
        monkeypatch.setattr(running, "open_source", self._source)
        monkeypatch.setattr(running, "open_store", self._store)
        monkeypatch.setattr(running, "Assembled", self._assembled)
        monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: self.at))

    def _source(self, url: str, name: str) -> Alone:
        self.opened.append((url, name))
        return self.source

    def _store(self, url: str, name: str) -> Store:
        self.opened.append((url, name))
        return self.look

    def _assembled(self, *given: Any, **named: Any) -> Parts:
        self.made.append(Parts(self, *given, **named))
        return self.made[-1]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


SETTINGS = Settings(source="kafka://here/topic", store="sqlite:////there.db", until_idle_s=2.5)


def test_a_worker_is_made_of_what_it_was_told(scene: Scene) -> None:
    seen = Seen()
    worker = Worker(scene.function, SETTINGS, print, seen)
    (parts,) = scene.made
    declared, settings, source, open_store = parts.given
    assert (declared, settings, source) == (declaration_of(scene.function), SETTINGS, scene.source)
    assert parts.named == {"on_poll": print, "observer": seen}
    assert open_store() is scene.look
    assert scene.opened == [("kafka://here/topic", "balance"), ("sqlite:////there.db", "balance")]
    assert worker.tally == 4


def test_a_worker_runs_until_it_is_idle_or_stopped_and_closes_its_store(scene: Scene) -> None:
    worker = Worker(scene.function, SETTINGS)
    (parts,) = scene.made
    assert worker.run()
    assert (parts.idle, scene.control.closed) == ([2.5], 1)
    scene.control.closed = 0
    worker.stop()
    assert (parts.stopped, worker.run()) == (1, False)


def test_a_worker_that_dies_closes_its_store(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Parts, "breaks", ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        Worker(scene.function, SETTINGS).run()
    assert scene.control.closed == 1


def test_a_worker_that_cannot_be_put_together_leaves_its_group(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Parts, "fails", inorder.UsageError("no such store"))
    with pytest.raises(inorder.UsageError, match="no such store"):
        Worker(scene.function, SETTINGS)
    assert scene.source.closed


COUNTS = {4: {"received": 10, "applied": 7, "duplicate": 2, "replayed": 1, "released": 3, "retries": 5}}


def test_a_run_says_what_became_of_what_it_received(scene: Scene) -> None:
    scene.look.tallied = COUNTS | {9: {"received": 1_000}}
    said = inorder.run(scene.function, source="file:here", store="sqlite:///x.db", concurrency=3, until_idle_s=0.5)
    assert scene.made[0].given[1] == Settings(
        source="file:here", store="sqlite:///x.db", concurrency=3, until_idle_s=0.5
    )
    assert (said.stream, said.received, said.released, said.retries) == ("balance", 10, 3, 5)
    assert {name: n for name, n in said.outcomes.items() if n} == {"applied": 7, "duplicate": 2, "replayed": 1}
    assert {"held", "parked", "late", "dead_lettered"} <= said.outcomes.keys(), "each outcome has its line"
    assert (said.held_now, said.parked_keys) == (11, 12)
    assert (said.elapsed_s, said.events_per_s) == (4.0, 2.5)
    assert scene.look.closed == 1


def test_a_store_stays_the_same_wherever_a_handler_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "b #%.jsonl").write_text('{"id":"1","account":"a","version":1,"amount":5}\n')
    monkeypatch.chdir(tmp_path)

    @inorder.handler(key="account", version="version", id="id")
    def move(entry: dict[str, Any]) -> None:
        os.chdir(tmp_path / "elsewhere")

    said = inorder.run(move, source="b #%.jsonl", store="sqlite:///b%20%23%25.db", until_idle_s=0)
    assert (said.received, said.outcomes["applied"]) == (1, 1)
    assert (tmp_path / "b #%.db").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_report_that_fails_closes_its_store_too(scene: Scene) -> None:
    scene.look.counts = lambda tallies: (_ for _ in ()).throw(inorder.Unreachable("away"))  # type: ignore[method-assign]
    with pytest.raises(inorder.Unreachable):
        inorder.run(scene.function, source="file:here")
    assert scene.look.closed == 1


def said(store: Store, tallies: list[int], elapsed_s: float) -> Report:
    return report(declaration_of(declare(FOLD, nothing, lambda entry: None)), store, tallies, elapsed_s)


def test_a_report_is_of_these_tallies_together() -> None:
    store = Store()
    store.tallied = COUNTS | {5: {"received": 2, "applied": 2}}
    found = said(store, [4, 5], 3.00049)
    assert (found.received, found.outcomes["applied"]) == (12, 9)
    assert (found.elapsed_s, found.events_per_s) == (3.0, 4.0)
    assert said(store, [4], 3.0).events_per_s == 3.3
    nothing_yet = said(store, [], 0.0)
    assert (nothing_yet.received, nothing_yet.released, nothing_yet.retries) == (0, 0, 0)
    assert set(nothing_yet.outcomes.values()) == {0}
    assert nothing_yet.events_per_s == 0.0
