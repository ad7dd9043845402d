"""How calls of a handler begin, end, and are given up on: in slots of an event loop, and in threads.

Pure: time is played, see `tests.worker.lanes`, and so are the threads: what one is given runs when the test says so.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

import inorder
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Record, Slice
from inorder.declaration import declaration_of
from inorder.errors import HandlerExit
from inorder.worker import calls as calling
from inorder.worker.calls import QUICK_CALLS, Calls, Run
from inorder.worker.pool import Left
from tests.worker.consumers import Entry
from tests.worker.lanes import HERE, THERE, played

NAMED: dict[str, Any] = {"key": "key", "version": "version", "id": "id", "name": "stream"}


class Pool:
    """Threads that do nothing by themselves."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.tasks: list[Callable[[], None]] = []
        self.left: list[threading.Thread] = []
        self.closed = False

    def submit(self, task: Callable[[], None]) -> None:
        self.tasks.append(task)

    def leave(self, thread: threading.Thread) -> None:
        self.left.append(thread)

    def close(self) -> None:
        self.closed = True

    def work(self) -> None:
        """One of the threads does what comes next."""
        self.tasks.pop(0)()


def run(key: str, *versions: int, partition: Partition = HERE, held: bool = False, since: float = 1_000.0) -> Run:
    piece = Slice.of(partition, [Record(partition, version, b"", b"") for version in versions])
    receiver = (1, "held") if held else None
    events = [
        Event(key, version, f"id{version}", 1, Entry(key, version, ""), piece, at, receiver)
        for at, version in enumerate(versions)
    ]
    return Run(Entity(key), events, 0, 4, partition, 7, since)


class Caller:
    """Calls with what is queued, and what they tell."""

    def __init__(self, function: Callable[..., Any], most: int = 2, pool: Pool | None = None) -> None:
        self.queue: list[Run] = []
        self.over: list[Run] = []
        self.failed: list[BaseException] = []
        self.breaks: Exception | None = None
        loop = asyncio.get_running_loop()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(calling, "Pool", lambda most: pool)
            self.calls = Calls(declaration_of(function), most, loop, self._begin, self._over, self.failed.append)
        if pool is not None:
            pool.most = most

    def start(self, *runs: Run) -> None:
        self.queue += runs
        self.calls.fill()

    def _begin(self) -> Run | None:
        return self.queue.pop(0) if self.queue else None

    def _over(self, run: Run) -> None:
        if self.breaks is not None:
            raise self.breaks
        assert run not in self.calls.runs
        self.over.append(run)

    def errors(self) -> list[str | None]:
        return [None if one.error is None else type(one.error).__name__ for one in self.over]


class Doors:
    """Handlers that wait, each until its own door is opened."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.tasks: list[object] = []
        self.doors: dict[str, asyncio.Future[None]] = {}
        self.cut: list[str] = []

    def closed(self, *keys: str) -> None:
        for key in keys:
            self.doors[key] = asyncio.get_running_loop().create_future()

    def handler(self) -> Callable[..., Any]:
        @inorder.handler(**NAMED)
        async def enter(entry: Entry) -> None:
            self.entered.append(entry.key)
            self.tasks.append(asyncio.current_task())
            if entry.key in self.doors:
                try:
                    await self.doors[entry.key]
                except asyncio.CancelledError:
                    self.cut.append(entry.key)
                    raise

        return enter


async def turns(n: int = 20) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


# Slots.


@played
async def test_only_so_many_calls_run_and_each_that_ends_makes_room_for_the_next() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=2)
    doors.closed("a", "b", "c")
    it.start(run("a", 1), run("b", 1), run("c", 1), run("d", 1))
    await turns()
    assert (doors.entered, it.calls.running, it.over) == (["a", "b"], 2, [])
    doors.doors["a"].set_result(None)
    await turns()
    assert (doors.entered, it.calls.running, it.errors()) == (["a", "b", "c"], 2, [None])
    for key in "bc":
        doors.doors[key].set_result(None)
    await turns()
    assert (doors.entered, it.calls.running, it.errors()) == (["a", "b", "c", "d"], 0, [None] * 4)
    assert len(set(map(id, doors.tasks))) == 2, "a slot goes on to the next call"
    assert not it.calls._slots


@played
async def test_what_a_handler_raises_is_the_failure_of_its_call_alone() -> None:
    @inorder.handler(**NAMED)
    async def fails(entry: Entry) -> None:
        if entry.key == "later":
            await asyncio.sleep(1.0)
        if entry.key != "good":
            raise SystemExit(3) if entry.key == "exits" else ValueError(entry.key)

    it = Caller(fails, most=1)
    it.start(*(run(key, 1) for key in ("at once", "later", "exits", "good")))
    await asyncio.sleep(2.0)
    assert it.errors() == ["ValueError", "ValueError", HandlerExit.__name__, None]
    assert it.failed == []


@played
async def test_a_handler_goes_on_with_the_outcome_of_what_it_waits_for() -> None:
    told: list[object] = []

    @inorder.handler(**NAMED)
    async def waits(entry: Entry) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        loop.call_later(0.1, future.set_result, 5)
        told.append(await future)
        failing: asyncio.Future[int] = loop.create_future()
        loop.call_later(0.1, failing.set_exception, ValueError("caught"))
        try:
            await failing
        except ValueError as error:
            told.append(str(error))
        await asyncio.sleep(0)
        told.append(entry.key)

    it = Caller(waits)
    it.start(run("a", 1))
    await asyncio.sleep(1.0)
    assert (told, it.errors()) == ([5, "caught", "a"], [None])


mark: ContextVar[str] = ContextVar("mark", default="unset")


@played
async def test_each_call_has_a_context_of_its_own_from_its_beginning_to_its_end() -> None:
    found: list[tuple[str, str]] = []

    @inorder.handler(**NAMED)
    async def marks(entry: Entry) -> None:
        before = mark.get()
        mark.set(entry.key)
        await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)
        found.append((before, mark.get()))

    it = Caller(marks, most=1)
    it.start(run("a", 1), run("b", 1))
    await asyncio.sleep(1.0)
    assert found == [("unset", "a"), ("unset", "b")]


@played
async def test_a_slot_whose_calls_never_wait_lets_the_others_have_a_turn() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=1)
    seen: list[int] = []
    it.start(*(run(f"k{n}", 1) for n in range(3 * QUICK_CALLS)))
    while len(doors.entered) < 3 * QUICK_CALLS:
        await asyncio.sleep(0)
        seen.append(len(doors.entered))
    assert seen[:3] == [QUICK_CALLS, 2 * QUICK_CALLS, 3 * QUICK_CALLS]


@played
async def test_a_call_that_waited_was_a_turn_for_the_others() -> None:
    entered: list[str] = []

    @inorder.handler(**NAMED)
    async def handle(entry: Entry) -> None:
        entered.append(entry.key)
        if entry.key == "waits":
            await asyncio.sleep(1.0)

    it = Caller(handle, most=1)
    before = [run(f"a{n}", 1) for n in range(QUICK_CALLS - 1)]
    it.start(*before, run("waits", 1), *(run(f"b{n}", 1) for n in range(QUICK_CALLS + 5)))
    await asyncio.sleep(1.0)
    await asyncio.sleep(0)
    assert len(entered) >= 2 * QUICK_CALLS, "as many again, from there on"


@played
async def test_a_handler_that_is_cancelled_by_others_has_failed() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=1)
    doors.closed("a")
    it.start(run("a", 1), run("b", 1))
    await turns()
    (slot,) = it.calls._slots
    slot.cancel()
    await turns()
    assert it.errors() == ["HandlerTimeout", None]
    assert str(it.over[0].error) == "was cancelled"
    assert doors.tasks[0] is not doors.tasks[1], "the next call would be hit by what is meant for this one"


@played
async def test_an_error_of_inorders_own_in_a_slot_is_told() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=1)
    it.breaks = RuntimeError("broken")
    it.start(run("a", 1))
    await turns()
    assert it.failed == [it.breaks]
    assert not it.calls._slots


@played
async def test_a_slot_that_is_left_behind_ends_in_silence() -> None:
    @inorder.handler(**NAMED)
    async def left(_: Entry) -> None:
        raise Left

    it = Caller(left)
    it.start(run("a", 1))
    await turns()
    assert (it.failed, it.over, it.calls._slots) == ([], [], set())


@played
async def test_a_loop_that_ends_closes_the_handlers_that_wait() -> None:
    ended: list[str] = []

    @inorder.handler(**NAMED)
    async def waits(entry: Entry) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(entry.key)

    it = Caller(waits)
    one = run("a", 1)
    slot = it.calls._slot(one)
    one.task = asyncio.current_task()
    it.calls.runs.add(one)
    slot.send(None)
    slot.close()
    assert (ended, it.over) == (["a"], [])


# Calls that take too long.


@played
async def test_a_call_that_is_late_is_given_up_on_and_what_becomes_of_it_means_nothing() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=2)
    doors.closed("a", "b")
    late, intime = run("a", 1), run("b", 1, since=1_009.0)
    it.start(late, intime)
    await turns()
    for _ in range(3):
        await asyncio.sleep(4.0)
        found = it.calls.late(10.0)
        assert found == ([late] if asyncio.get_running_loop().time() > 1_010.0 else [])
    assert it.calls.runs == {intime}
    await turns()
    assert (doors.cut, it.over) == (["a"], []), "its task is cancelled, and not asked"
    assert it.calls.late(10.0) == [], "it is told once"
    it.start(run("c", 1))
    await turns()
    assert doors.entered == ["a", "b", "c"], "its place is free"


@played
async def test_the_second_call_of_a_slot_is_given_up_on_like_the_first() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=1)
    doors.closed("b")
    late = run("b", 1, since=900.0)
    it.start(run("a", 1), late)
    await turns()
    assert doors.tasks[0] is doors.tasks[1]
    assert it.calls.late(50.0) == [late]
    await turns()
    assert doors.cut == ["b"]


@played
async def test_a_call_that_ignores_that_it_was_given_up_on_starts_no_other_when_it_ends() -> None:
    over = asyncio.Event()
    entered: list[str] = []

    @inorder.handler(**NAMED)
    async def deaf(entry: Entry) -> None:
        entered.append(entry.key)
        while entry.key == "a" and not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    it = Caller(deaf, most=1)
    it.start(run("a", 1, since=900.0))
    await turns()
    assert len(it.calls.late(50.0)) == 1
    await turns()
    it.queue.append(run("b", 1))
    over.set()
    await turns()
    assert (entered, it.over) == (["a"], [])
    it.calls.fill()
    await turns()
    assert entered == ["a", "b"]


@played
async def test_time_in_which_nobody_could_look_is_not_held_against_a_call() -> None:
    """The process was stopped, or a handler had the loop to itself."""
    doors = Doors()
    it = Caller(doors.handler())
    doors.closed("a")
    it.start(run("a", 1))
    await asyncio.sleep(4.0)
    assert it.calls.late(10.0) == []
    await asyncio.sleep(100.0)
    assert it.calls.late(10.0) == []
    for _ in range(2):
        await asyncio.sleep(4.0)
        found = it.calls.late(10.0)
    assert len(found) == 1, "four seconds before and eight after"


@played
async def test_a_little_more_than_half_of_the_limit_is_a_time_in_which_nobody_looked() -> None:
    doors = Doors()
    it = Caller(doors.handler())
    doors.closed("a")
    it.start(run("a", 1))
    await asyncio.sleep(5.5)
    assert it.calls.late(10.0) == []
    await asyncio.sleep(5.0)
    assert it.calls.late(10.0) == []
    await asyncio.sleep(5.0)
    assert it.calls.late(10.0) == []
    await asyncio.sleep(0.5)
    assert len(it.calls.late(10.0)) == 1


@played
async def test_at_half_of_the_limit_time_counts() -> None:
    doors = Doors()
    it = Caller(doors.handler())
    doors.closed("a")
    it.start(run("a", 1))
    await asyncio.sleep(5.0)
    assert it.calls.late(10.0) == []
    await asyncio.sleep(5.0)
    assert it.calls.late(10.0) == [], "just in time"
    await asyncio.sleep(0.1)
    assert len(it.calls.late(10.0)) == 1


@played
async def test_calls_that_are_closed_are_cut_short_and_told_of_no_more() -> None:
    doors = Doors()
    it = Caller(doors.handler())
    doors.closed("a")
    it.start(run("a", 1))
    await turns()
    it.calls.close()
    await turns()
    assert (doors.cut, it.over, it.calls.running) == (["a"], [], 0)


# What is asked of calls.


@played
async def test_whose_calls_are_running() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=3)
    doors.closed("a", "b")
    it.start(run("a", 1, 2, held=True), run("a", 3), run("b", 1, partition=THERE, held=True))
    await turns()
    assert [it.calls.of({HERE}), it.calls.of({THERE}), it.calls.of({HERE, THERE})] == [True, True, True]
    assert [it.calls.coming_back(key) for key in "abc"] == [2, 1, 0]
    doors.doors["b"].set_result(None)
    await turns()
    assert [it.calls.of({HERE}), it.calls.of({THERE}), it.calls.of({HERE, THERE})] == [True, False, True]
    assert it.calls.coming_back("b") == 0


@played
async def test_the_event_whose_handler_has_the_loop_is_seen_from_outside() -> None:
    seen: list[tuple[str, int] | None] = []

    def look() -> None:
        event = it.calls.current()
        seen.append(None if event is None else (event.key, event.version))

    @inorder.handler(**NAMED)
    async def handle(entry: Entry) -> None:
        look()
        await asyncio.sleep(0.1)
        look()

    it = Caller(handle, most=2)
    it.start(run("a", 3, 4), run("b", 1))
    await asyncio.sleep(0.05)
    look()
    await asyncio.sleep(0.1)
    assert seen == [("a", 3), ("b", 1), None, ("a", 3), ("b", 1)]


@played
async def test_while_handlers_run_in_threads_none_has_the_loop() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), pool=pool)
    it.start(run("a", 1))
    found: list[object] = []
    asyncio.get_running_loop().call_soon(lambda: found.append(it.calls.current()))
    await turns(2)
    assert found == [None]


# Events that fail without being tried.


@played
async def test_a_barred_event_fails_untried_once_and_others_go_on() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=1)
    error = ValueError("cannot be read")
    it.calls.barred["a", 1] = error
    first, second = run("a", 1), run("b", 1)
    assert [it.calls.bars(one.events[0]) for one in (first, second)] == [True, False]
    it.start(first, second)
    assert it.over == [], "not while whoever asked is still at it"
    await turns()
    assert (it.over, doors.entered) == ([first, second], ["b"])
    assert (first.error, second.error, it.calls.barred) == (error, None, {})
    it.start(run("a", 1))
    await turns()
    assert doors.entered == ["b", "a"]


@played
async def test_a_barred_event_is_known_by_its_key_and_its_version() -> None:
    doors = Doors()
    it = Caller(doors.handler(), most=4)
    it.calls.barred["a", 1] = ValueError()
    it.start(run("a", 2), run("b", 1), run("a", 1))
    await turns()
    assert sorted(doors.entered) == ["a", "b"]
    assert sorted(it.errors(), key=str) == [None, None, "ValueError"]


# Threads.


def sync(act: Callable[[Entry], Any]) -> Callable[..., Any]:
    @inorder.handler(**NAMED)
    def handle(entry: Entry) -> None:
        return act(entry)  # type: ignore[no-any-return]

    return handle


@played
async def test_sync_handlers_are_given_to_threads_and_told_of_on_the_loop() -> None:
    entered: list[str] = []
    pool = Pool(0)
    it = Caller(sync(lambda entry: entered.append(entry.key)), most=2, pool=pool)
    runs = [run(key, 1) for key in "abc"]
    it.start(*runs)
    assert (pool.most, len(pool.tasks), it.calls.running) == (2, 2, 2)
    pool.work()
    pool.work()
    assert (entered, it.over) == (["a", "b"], []), "the thread itself tells nobody"
    await turns(2)
    assert (it.over, len(pool.tasks)) == (runs[:2], 1)
    pool.work()
    await turns(2)
    assert (entered, it.over, it.calls.running) == (["a", "b", "c"], runs, 0)
    assert [one.error for one in runs] == [None] * 3


@played
async def test_what_ends_in_threads_meanwhile_is_told_in_one_go() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), most=3, pool=pool)
    it.start(*(run(key, 1) for key in "abc"))
    calls = 0
    tell = it.calls._tell

    def counted() -> None:
        nonlocal calls
        calls += 1
        tell()

    it.calls._tell = counted  # type: ignore[method-assign]
    pool.work()
    pool.work()
    await turns(2)
    pool.work()
    await turns(2)
    assert (calls, len(it.over)) == (2, 3)


@played
async def test_what_a_sync_handler_raises_or_returns_wrongly_is_its_failure() -> None:
    def act(entry: Entry) -> Any:
        if entry.key == "exits":
            raise SystemExit(3)
        if entry.key == "awaitable":
            return asyncio.get_running_loop().create_future()
        raise ValueError("no")

    pool = Pool(0)
    it = Caller(sync(act), most=3, pool=pool)
    it.start(*(run(key, 1) for key in ("fails", "exits", "awaitable")))
    for _ in range(3):
        pool.work()
    await turns(2)
    assert it.errors() == ["ValueError", "HandlerExit", "TypeError"]
    assert "async def" in str(it.over[2].error)


@played
async def test_a_thread_that_is_told_to_end_is_not_taken_for_a_failure() -> None:
    def act(_: Entry) -> None:
        raise Left

    pool = Pool(0)
    it = Caller(sync(act), pool=pool)
    it.start(run("a", 1))
    with pytest.raises(Left):
        pool.work()
    await turns(2)
    assert it.over == []


@played
async def test_a_call_in_a_thread_counts_from_when_the_thread_began_with_it() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), pool=pool)
    one = run("a", 1)
    it.start(one)
    await asyncio.sleep(9.0)
    pool.work()
    assert (one.since, one.thread) == (1_009.0, threading.current_thread())


@played
async def test_a_thread_that_is_late_is_left_behind_and_what_it_ends_with_means_nothing() -> None:
    pool = Pool(0)
    one, other = run("a", 1), run("b", 1)

    def hangs(_: Entry) -> None:
        loop: Any = asyncio.get_running_loop()
        for found in ([], [], [one]):
            loop.now += 4.0
            assert it.calls.late(10.0) == found

    it = Caller(sync(hangs), most=1, pool=pool)
    it.start(one, other)
    pool.work()
    assert pool.left == [threading.current_thread()]
    await turns(2)
    assert (it.over, len(pool.tasks), it.calls.runs) == ([], 1, {other}), "its place is the next one's"


@played
async def test_a_call_that_has_ended_is_not_late_though_it_was_not_told_of_yet() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), pool=pool)
    one = run("a", 1)
    it.start(one)
    pool.work()
    one.since -= 100.0
    assert it.calls.late(10.0) == []
    await turns(2)
    assert it.over == [one]


@played
async def test_a_thread_does_not_begin_with_a_call_that_was_given_up_on() -> None:
    entered: list[str] = []
    pool = Pool(0)
    it = Caller(sync(lambda entry: entered.append(entry.key)), pool=pool)
    it.start(run("a", 1))
    it.calls.close()
    assert (pool.closed, pool.left) == (True, [])
    pool.work()
    await turns(2)
    assert (entered, it.over) == ([], [])


@played
async def test_a_worker_that_has_ended_before_its_handler_did_is_told_nothing() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), pool=pool)
    it.start(run("a", 1))
    loop = asyncio.new_event_loop()
    loop.close()
    it.calls._loop = loop
    pool.work()
    assert it.over == []


@played
async def test_an_error_of_inorders_own_after_a_thread_is_told() -> None:
    pool = Pool(0)
    it = Caller(sync(lambda entry: None), pool=pool)
    it.breaks = RuntimeError("broken")
    it.start(run("a", 1))
    pool.work()
    await turns(2)
    assert it.failed == [it.breaks]


# What a handler is given.


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("wants", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_handler_is_given_its_events_and_where_it_wants_its_context(batch: int, wants: bool, is_async: bool) -> None:
    given: list[Any] = []
    named: dict[str, Any] = NAMED | ({"batch": batch} if batch > 1 else {})
    payload: Any = list[Entry] if batch > 1 else Entry
    space: dict[str, Any] = {"given": given, "Payload": payload, "Context": inorder.Context}
    arguments = "event: Payload, context: Context" if wants else "event: Payload"
    noted = "(event, context)" if wants else "event"
    exec(f"{'async ' if is_async else ''}def handle({arguments}) -> None: given.append({noted})", space)
    function = inorder.handler(**named)(space["handle"])

    @played
    async def course() -> None:
        pool = None if is_async else Pool(0)
        it = Caller(function, pool=pool)
        it.start(run("a", *range(5, 5 + batch)))
        if pool is not None:
            pool.work()
        await turns()
        assert it.errors() == [None]

    course()
    [found] = given
    argument, context = found if wants else (found, None)
    entries = argument if batch > 1 else [argument]
    assert [(entry.key, entry.version) for entry in entries] == [("a", 5 + n) for n in range(batch)]
    if wants:
        assert context == inorder.Context(
            stream="stream", key="a", version=5, id="id5", attempt=4, fence=7, partition="topic/0"
        )
