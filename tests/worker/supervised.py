"""A supervisor whose processes, pipes and clock are played."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from inorder.observe.meter import Number, Snapshot
from inorder.observe.metrics import TABLE, Kind
from inorder.worker import supervisor as supervising
from inorder.worker.child import Order
from inorder.worker.settings import Settings
from inorder.worker.supervisor import (
    TICK_S,
    Supervisor,
)

DRAIN_S = 4.0
COUNTER = next(metric for metric in TABLE if metric.kind is Kind.COUNTER)
GAUGE = next(metric for metric in TABLE if metric.kind is Kind.GAUGE)


class Process:
    """One that does what a test says. What it has said is heard when its parent listens."""

    def __init__(self, name: str, order: Order, number: int, at: float) -> None:
        self.name, self.order, self.pid, self.started_at = name, order, 1_000 + number, at
        self.tally: int | None = None
        self.up = False
        self.ended: str | None = None
        self.error: str | None = None
        self.usage = False
        self.stdout = SimpleNamespace(fileno=lambda: number)
        self.alive = True
        self.code = 0
        self.closed = self.pipe_open = False
        self.log: list[str] = []
        self.counted = 0
        self.unheard: dict[str, Any] = {}
        self.on_terminate: Callable[[], None] = lambda: None

    def says(self, **news: Any) -> None:
        self.unheard |= news

    def works(self) -> None:
        """It has started, and polls."""
        self.says(tally=self.pid, up=True)

    def dies(self, code: int = 0, **news: Any) -> None:
        self.says(**news)
        self.alive, self.code = False, code

    def listen(self) -> bool:
        self.log.append("heard")
        assert not self.closed
        for name, value in self.unheard.items():
            setattr(self, name, value)
        self.unheard = {}
        return self.alive or self.pipe_open

    def numbers(self) -> Snapshot:
        return Snapshot(
            numbers=[Number(COUNTER.name, (), float(self.counted)), Number(GAUGE.name, (), 5.0)], polled_s=self.counted
        )

    def terminate(self) -> None:
        self.log.append("terminated")
        self.on_terminate()

    def kill(self) -> None:
        self.log.append("killed")
        self.dies(-9)

    def close(self) -> int:
        assert not self.alive, "it would be waited for"
        self.log.append("closed")
        self.closed = True
        return self.code


class Selector:
    """Who has something to say. Time goes by while it is waited for."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.registered: dict[int, Any] = {}
        self.closed = False
        self.turns = 0
        self.meanwhile: Callable[[int], None] = lambda turn: None
        self.deaf = False
        """What is said comes after it was looked for."""

    def register(self, stdout: Any, event: int, place: Any) -> None:
        assert event == selectors.EVENT_READ
        assert stdout.fileno() not in self.registered
        self.registered[stdout.fileno()] = place

    def unregister(self, stdout: Any) -> None:
        del self.registered[stdout.fileno()]

    def get_map(self) -> dict[int, Any]:
        return self.registered

    def select(self, timeout_s: float) -> list[tuple[Any, int]]:
        assert timeout_s == TICK_S
        self.scene.at += timeout_s
        self.turns += 1
        assert self.turns < 10_000, "it does not end"
        self.meanwhile(self.turns)
        return [
            (SimpleNamespace(data=place), 1)
            for place in list(self.registered.values())
            if not self.deaf and (place.process.unheard or not place.process.alive)
        ]

    def close(self) -> None:
        self.closed = True


class Scene:
    """A supervisor of so many workers."""

    def __init__(self, workers: int = 1, until_idle_s: float | None = None) -> None:
        self.at = 100.0
        self.processes: list[Process] = []
        self.selector = Selector(self)
        self.settings = Settings(source="kafka://here/topic", until_idle_s=until_idle_s)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(selectors, "DefaultSelector", lambda: self.selector)
            self.supervisor = Supervisor("bank:balance", self.settings, workers, "debug", DRAIN_S, True, True)

    def start(self, name: str, order: Order) -> Process:
        self.processes.append(Process(name, order, len(self.processes), self.at))
        return self.processes[-1]

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.supervisor._turn()

    def begin(self) -> None:
        """All processes start, and work."""
        self.turn()
        for process in self.processes:
            process.works()
        self.turn()

    def wait(self, seconds: float) -> int:
        """Turns for so long. Returns how many processes have been started."""
        end = self.at + seconds
        while self.at < end - TICK_S / 2:
            self.turn()
        return len(self.processes)

    @property
    def last(self) -> Process:
        return self.processes[-1]

    def run(self) -> bool:
        """To its end."""
        return self.supervisor.run()


Make = Callable[..., Scene]


def scenes(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes scenes whose processes and time are played."""

    def made(*given: Any) -> Scene:
        scene = Scene(*given)
        monkeypatch.setattr(supervising, "Process", scene.start)
        monkeypatch.setattr(supervising, "time", SimpleNamespace(monotonic=lambda: scene.at))
        return scene

    return made
