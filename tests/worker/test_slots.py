"""Async handlers share tasks, one after the other, and do not notice: context, timeouts, cancellation are their own."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest

import inorder
from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.planner import Planner
from inorder.declaration import Declaration
from inorder.worker import turning
from inorder.worker.assemble import planner_for
from tests.worker.bench import Bench, entries, until
from tests.worker.conftest import kinds
from tests.worker.consumers import Entry

only = kinds("async call")


@pytest.fixture(autouse=True, params=["asyncio", "uvloop"])
def loop_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds on both."""
    if request.param == "asyncio":
        monkeypatch.setattr(turning, "uvloop", None)
    else:
        pytest.importorskip("uvloop")


mark: contextvars.ContextVar[int] = contextvars.ContextVar("mark", default=0)


def declared(bench: Bench, act: Callable[[Entry], Any], **options: Any) -> Callable[..., Any]:
    """A handler that calls `act` before it has waited for anything, unlike that of the bench."""

    @inorder.handler(key="key", version="version", id="id", name="stream", **options)
    async def handle(entry: Entry) -> None:
        await act(entry)
        bench.calls.note(entry)

    return handle


@only
@pytest.mark.parametrize("waits", [False, True])
def test_what_a_handler_sets_in_its_context_no_other_one_finds(bench: Bench, waits: bool) -> None:
    found: list[tuple[int, int]] = []
    tasks: set[Any] = set()

    async def act(entry: Entry) -> None:
        tasks.add(asyncio.current_task())
        before = mark.get()
        mark.set(entry.version)
        if waits:
            await asyncio.sleep(0.001)
        inner = await asyncio.create_task(_look()) if waits else mark.get()
        found.append((before, inner - entry.version))

    bench.produce(*entries("a", 1, 2, 3, 4, 5))
    bench.work(declared(bench, act), concurrency=1)
    assert found == [(0, 0)] * 5
    assert len(tasks) < 5, "tasks are shared, so the above says something"


async def _look() -> int:
    return mark.get()


@only
def test_a_handler_that_outlasts_its_worker_ends_in_its_own_context(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inorder.worker.lane_runner.LEAVING_S", 0.01)
    running, found = list[Entry](), list[int]()

    async def act(entry: Entry) -> None:
        mark.set(entry.version)
        running.append(entry)
        try:
            await asyncio.sleep(60)
        finally:
            try:
                await asyncio.sleep(60)
            finally:
                found.append(mark.get())

    bench.produce(*entries("a", 7))
    working = bench.start(declared(bench, act, baseline=6, limits=inorder.Limits(drain_s=0.0)))
    until("it runs", lambda: running)
    assert not working.stop()
    until("it was closed", lambda: found)
    assert found == [7]


@only
def test_timeouts_and_groups_of_a_handler_end_with_it(bench: Bench) -> None:
    async def act(entry: Entry) -> None:
        if entry.version == 2:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(60)
        elif entry.version == 3:
            with pytest.raises(ExceptionGroup):
                await _group()
        else:
            await asyncio.sleep(0.001)

    bench.produce(*entries("a", 1, 2, 3, 4))
    bench.work(declared(bench, act), concurrency=1)
    assert bench.effects() == {"a": [1, 2, 3, 4]}
    assert bench.outcomes() == {"applied": 4}
    assert bench.count("retries") == 0


async def _group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_fail())
        group.create_task(asyncio.sleep(60))


async def _fail() -> None:
    raise ValueError


@only
@pytest.mark.parametrize("at_once", [True, False])
def test_a_handler_that_cancels_its_own_task_hits_no_other_call(bench: Bench, at_once: bool) -> None:
    cancelled: list[int] = []

    async def act(entry: Entry) -> None:
        if entry.version == 2 and entry.version not in cancelled:
            cancelled.append(entry.version)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if not at_once:
                return
        await asyncio.sleep(0.001)

    bench.produce(*entries("a", 1, 2, 3), *entries("b", 1, 2, 3))
    bench.work(declared(bench, act, retry=inorder.Retry(attempts=3, delay_s=0.001)), concurrency=1)
    assert bench.effects() == {"a": [1, 2, 3], "b": [1, 2, 3]}
    assert bench.count("retries") == (1 if at_once else 0)
    assert bench.outcomes() == {"applied": 6}


@only
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_handler_that_wants_to_end_the_process_has_failed(bench: Bench, error: BaseException) -> None:
    async def act(entry: Entry) -> None:
        if entry.key == "bad":
            raise error

    bench.produce(*entries("bad", 1), *entries("good", 1, 2))
    bench.work(declared(bench, act, retry=inorder.Retry(attempts=1)))
    assert bench.effects() == {"good": [1, 2]}
    assert bench.dead() == [("bad", 1, "failed")]


@only
def test_calls_that_never_wait_let_those_that_do_go_on(bench: Bench) -> None:
    """All of these have a turn between two of the many."""
    turns: list[str] = []

    async def act(entry: Entry) -> None:
        turns.append(entry.key)
        if entry.key == "waits":
            for _ in range(5):
                await asyncio.sleep(0)
                turns.append("goes on")

    bench.produce(*entries("waits", 1), *[one for n in range(300) for one in entries(f"key-{n}", 1)], partition=0)
    bench.work(declared(bench, act), concurrency=2)
    assert turns.index("goes on") < 100
    last = len(turns) - 1 - turns[::-1].index("goes on")
    assert last < 250


@only
def test_an_error_in_what_a_call_came_to_ends_the_worker(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is inorder's own fault then: to go on would leave the key's lane standing for good."""

    class Broken(Planner):
        def applied(self, entity: Entity, event: Event, changes: Changes) -> None:
            raise RuntimeError("broken")

    def broken(declared: Declaration) -> Planner:
        it = planner_for(declared)
        return Broken(it.guard, it.retry, it.limits, it.parks, it.classify)

    monkeypatch.setattr("inorder.worker.assemble.planner_for", broken)
    bench.produce(*entries("a", 1))
    working = bench.start(bench.declare())
    until("it ends", lambda: working.ended)
    with pytest.raises(RuntimeError, match="broken"):
        working.stop()
