"""The user's function within a batch: what it returns, raises or leaves behind, and whose failure that is.

Pure: no store, no thread.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import msgspec
import pytest

import inorder
from inorder.core.entity import Entity
from inorder.core.event import Event, Partition, Record, Slice
from inorder.declaration import declaration_of
from inorder.errors import Fenced, HandlerExit, Mismatch, Unreachable, UsageError
from inorder.ports import Transaction
from inorder.worker.effects import (
    AsyncTransaction,
    BatchEffect,
    Finisher,
    FoldEffect,
    Manner,
    Redo,
    StoreFailed,
    TxEffect,
)
from inorder.worker.pool import Left, throw
from tests.worker.consumers import Entry, Seen

NAMED: dict[str, Any] = {"key": "key", "version": "version", "id": "id", "name": "stream"}
HERE = Partition("topic", 0)


@cache
def event(version: int, key: str = "a") -> Event:
    """Always the same."""
    entry = Entry(key, version, f"{key}{version}")
    piece = Slice.of(HERE, [Record(HERE, 0, b"k", msgspec.json.encode(entry))])
    return Event(key, version, entry.id, 1, entry, piece, 0)


def adding(act: Callable[[Entry], Any] = lambda entry: None) -> FoldEffect:
    """A fold that changes its state in place, and then does this."""

    @inorder.fold(**NAMED)
    def fold(state: Seen | None, entry: Entry) -> Seen:
        found = state or Seen([])
        found.versions.append(entry.version)
        other = act(entry)
        return found if other is None else other

    return FoldEffect(declaration_of(fold))


def later(act: Callable[[Entry], Any] = lambda entry: None) -> FoldEffect:
    """The same, async."""

    @inorder.fold(**NAMED)
    async def fold(state: Seen | None, entry: Entry) -> Seen:
        await asyncio.sleep(0)
        found = state or Seen([])
        found.versions.append(entry.version)
        other = act(entry)
        return found if other is None else other

    return FoldEffect(declaration_of(fold))


def raising(error: BaseException) -> Callable[[Entry], Any]:
    def act(_: Entry) -> None:
        raise error

    return act


both = pytest.mark.parametrize("made", [adding, later], ids=["fold", "async fold"])


# Folds.


@both
def test_a_fold_goes_from_the_stored_state_to_the_next(made: Callable[..., FoldEffect]) -> None:
    effect, entity = made(), Entity("a", stored_state=b'{"versions":[1]}')
    effect.loaded(entity)
    for version in (2, 3):
        effect.apply(entity, event(version))
    assert entity.state == Seen([1, 2, 3])
    assert effect.encode(entity) == b'{"versions":[1,2,3]}'
    assert effect.now_at == event(3)
    nobody = Entity("b")
    effect.loaded(nobody)
    assert (nobody.state, effect.encode(nobody)) == (None, None)


@both
def test_what_a_failed_fold_did_to_its_state_is_undone(made: Callable[..., FoldEffect]) -> None:
    effect = made(lambda entry: raising(ValueError("no"))(entry) if entry.version == 3 else None)
    entity = Entity("a", stored_state=b'{"versions":[1]}')
    effect.loaded(entity)
    effect.apply(entity, event(2))
    entity.applied.append(event(2))
    with pytest.raises(ValueError, match="no"):
        effect.apply(entity, event(3))
    assert entity.state == Seen([1, 2, 3])
    effect.undo(entity)
    assert entity.state == Seen([1, 2])


def test_a_fold_that_fails_where_it_did_not_before_is_a_failure_of_that_event() -> None:
    away: list[Exception] = []

    def act(entry: Entry) -> None:
        if away:
            raise away[0]

    effect, entity = adding(act), Entity("a")
    effect.apply(entity, event(1))
    entity.applied.append(event(1))
    away.append(inorder.Unavailable("away"))
    with pytest.raises(inorder.Unavailable):
        effect.apply(entity, event(2))
    with pytest.raises(Redo) as raised:
        effect.undo(entity)
    assert (raised.value.event, raised.value.error) == (event(1), away[0])


@both
def test_a_fold_that_returns_another_type_has_failed(made: Callable[..., FoldEffect]) -> None:
    entity = Entity("a")
    with pytest.raises(TypeError, match=r"^returned int, not Seen$"):
        made(lambda entry: 5).apply(entity, event(1))
    assert entity.state is None


def test_a_fold_may_return_a_class_that_is_derived_from_its_state() -> None:
    class More(Seen):
        """With nothing more."""

    entity = Entity("a")
    adding(lambda entry: More([9])).apply(entity, event(1))
    assert entity.state == More([9])


def test_a_state_of_several_types_may_be_any_of_them() -> None:
    @inorder.fold(**NAMED)
    def fold(state: int | str | None, entry: Entry) -> int | str:
        return entry.version if entry.version < 3 else cast(int, str(entry.version) if entry.version < 4 else 4.5)

    effect, entity = FoldEffect(declaration_of(fold)), Entity("a")
    for version, expected in ((2, 2), (3, "3")):
        effect.apply(entity, event(version))
        assert entity.state == expected
    with pytest.raises(TypeError, match="returned float"):
        effect.apply(entity, event(4))


@both
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["exit", "interrupt"])
def test_a_fold_that_wants_to_end_the_process_has_failed(made: Callable[..., FoldEffect], error: BaseException) -> None:
    effect = made(raising(error))
    found: list[BaseException] = []

    def work() -> None:
        try:
            effect.apply(Entity("a"), event(1))
        except BaseException as raised:
            found.append(raised)

    thread = threading.Thread(target=work)  # as handlers are: Ctrl-C is the main thread's
    thread.start()
    thread.join()
    assert [type(one) for one in found] == [HandlerExit]


def test_a_state_that_was_written_with_another_type_is_a_mistake_of_the_users() -> None:
    with pytest.raises(UsageError, match=r"stream stream: the state of key a in the store is no Seen: .*another name="):
        adding().loaded(Entity("a", stored_state=b"[1]"))


def test_a_state_that_json_cannot_hold_is_blamed_on_the_last_event() -> None:
    effect, entity = adding(lambda entry: Seen([cast(int, object())])), Entity("a")
    for version in (1, 2, 3):
        effect.apply(entity, event(version))
        entity.applied.append(event(version))
    with pytest.raises(Redo) as raised:
        effect.encode(entity)
    assert raised.value.event == event(3)
    assert isinstance(raised.value.error, TypeError)
    assert "JSON cannot hold" in str(raised.value)
    entity.applied.clear()
    with pytest.raises(TypeError):
        effect.encode(entity)


# Events that are barred.


@pytest.mark.parametrize("effect", [adding(), later()], ids=["fold", "async fold"])
def test_a_barred_event_fails_untried_until_that_is_written(effect: FoldEffect) -> None:
    error = ValueError("cannot be read")
    effect.barred = {("a", 2): error, ("b", 2): error}
    entity = Entity("a")
    effect.apply(entity, event(1))
    with pytest.raises(ValueError, match="cannot be read"):
        effect.apply(entity, event(2))
    assert entity.state == Seen([1])
    with pytest.raises(ValueError, match="cannot be read"):
        effect.apply(entity, event(2))
    effect.written()
    assert effect.barred == {("b", 2): error}, "that one was not met yet"
    effect.apply(entity, event(2))
    assert entity.state == Seen([1, 2])
    effect.barred["a", 2] = error
    effect.written()
    assert ("a", 2) in effect.barred, "it is barred anew"


# Handlers with tx.


class Tx:
    """A transaction that notes its savepoints and statements."""

    def __init__(self) -> None:
        self.noted: list[Any] = []
        self.spoiled = False
        self.connection = "the driver's"

    def execute(self, statement: str, parameters: Any = ()) -> Any:
        self.noted.append((statement, parameters))
        return "cursor"

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        self.noted.append("savepoint")
        try:
            yield
        except BaseException:
            self.noted.append("undone")
            raise
        self.noted.append("kept")


def posting(act: Callable[[Entry], Any] = lambda entry: None) -> TxEffect:
    @inorder.handler(**NAMED)
    def post(entry: Entry, tx: inorder.Transaction) -> None:
        tx.execute("insert", (entry.key, entry.version))
        return act(entry)  # type: ignore[no-any-return]

    return TxEffect(declaration_of(post))


def posting_later(act: Callable[[Entry], Any] = lambda entry: None) -> TxEffect:
    @inorder.handler(**NAMED)
    async def post(entry: Entry, tx: inorder.AsyncTransaction) -> None:
        await asyncio.sleep(0)
        assert await tx.execute("insert", (entry.key, entry.version)) == "cursor"
        assert tx.connection == "the driver's"
        act(entry)

    return TxEffect(declaration_of(post))


either = pytest.mark.parametrize("made", [posting, posting_later], ids=["tx", "async tx"])
WRITTEN = ("insert", ("a", 1))


def within(effect: TxEffect, manner: Manner = Manner.TOGETHER) -> Tx:
    tx = Tx()
    effect.tx, effect.manner = cast(Transaction, tx), manner
    return tx


@either
@pytest.mark.parametrize("manner", Manner)
def test_a_handler_writes_in_the_transaction_and_with_care_under_a_savepoint(
    made: Callable[..., TxEffect], manner: Manner
) -> None:
    effect = made()
    assert effect.manner is Manner.TOGETHER, "until somebody says otherwise"
    tx = within(effect, manner)
    effect.apply(Entity("a"), event(1))
    careful = manner is Manner.CAREFULLY
    assert tx.noted == (["savepoint", WRITTEN, "kept"] if careful else [WRITTEN])
    assert (effect.now_at, effect.failed) == (event(1), 0)
    assert effect.encode(Entity("a")) is None


@either
@pytest.mark.parametrize("manner", [Manner.TOGETHER, Manner.SINGLY])
def test_a_failure_in_a_shared_transaction_is_everybodys(made: Callable[..., TxEffect], manner: Manner) -> None:
    effect = made(raising(ValueError("no")))
    within(effect, manner)
    with pytest.raises(Redo) as raised:
        effect.apply(Entity("a"), event(1))
    assert (raised.value.event, str(raised.value.error), effect.failed) == (event(1), "no", 0)
    assert str(raised.value) == "ValueError: no"


@either
def test_a_failure_under_a_savepoint_is_of_its_event_alone(made: Callable[..., TxEffect]) -> None:
    effect = made(raising(ValueError("no")))
    tx = within(effect, Manner.CAREFULLY)
    for count in (1, 2):
        with pytest.raises(ValueError, match="no"):
            effect.apply(Entity("a"), event(1))
        assert effect.failed == count
    assert tx.noted == ["savepoint", WRITTEN, "undone"] * 2


@either
@pytest.mark.parametrize("manner", Manner)
@pytest.mark.parametrize("error", [Fenced([]), Mismatch(["a"]), Unreachable("away")], ids=["fenced", "old", "away"])
def test_that_the_store_failed_is_not_the_events_fault(
    made: Callable[..., TxEffect], manner: Manner, error: Fenced | Mismatch | Unreachable
) -> None:
    effect = made(raising(error))
    within(effect, manner)
    with pytest.raises(StoreFailed) as raised:
        effect.apply(Entity("a"), event(1))
    assert (raised.value.error, effect.failed) == (error, 0)
    assert str(raised.value) == str(error)


@either
def test_a_handler_that_goes_on_after_a_failed_statement_has_failed(made: Callable[..., TxEffect]) -> None:
    effect = made()
    for manner in Manner:
        within(effect, manner).spoiled = True
        with pytest.raises(Redo, match="went on as if it had not"):
            effect.apply(Entity("a"), event(1))


def test_a_sync_handler_that_returns_an_awaitable_has_failed() -> None:
    loop = asyncio.new_event_loop()
    effect = posting(lambda entry: loop.create_future())
    within(effect, Manner.CAREFULLY)
    with pytest.raises(TypeError, match="declare the handler with async def"):
        effect.apply(Entity("a"), event(1))
    loop.close()


def test_whatever_else_a_handler_with_tx_returns_is_no_matter() -> None:
    effect = posting(lambda entry: 5)
    tx = within(effect, Manner.CAREFULLY)
    effect.apply(Entity("a"), event(1))
    assert WRITTEN in tx.noted


def test_a_handler_with_tx_that_is_barred_is_not_called() -> None:
    effect = posting()
    tx = within(effect)
    effect.barred = {("a", 1): ValueError("cannot be read")}
    with pytest.raises(ValueError, match="cannot be read"):
        effect.apply(Entity("a"), event(1))
    assert tx.noted == []
    effect.apply(Entity("a"), event(2))
    assert tx.noted == [("insert", ("a", 2))]


@either
def test_a_handler_that_wants_to_end_the_process_has_failed(made: Callable[..., TxEffect]) -> None:
    effect = made(raising(SystemExit(3)))
    within(effect, Manner.CAREFULLY)
    with pytest.raises(HandlerExit, match="SystemExit"):
        effect.apply(Entity("a"), event(1))
    assert effect.failed == 1


def test_nothing_is_read_or_undone_of_a_state_that_is_the_users_own() -> None:
    effect, entity = posting(), Entity("a", stored_state=b"whatever")
    effect.loaded(entity)
    effect.undo(entity)
    assert entity.state is None


def test_an_async_transaction_passes_everything_on() -> None:
    tx = Tx()
    found = AsyncTransaction(cast(Transaction, tx))
    assert asyncio.run(found.execute("select", (1,))) == "cursor"
    assert asyncio.run(found.execute("select")) == "cursor"
    assert (tx.noted, found.connection) == ([("select", (1,)), ("select", ())], "the driver's")


# Async functions, run to their end.


def test_an_async_function_is_run_on_one_loop_again_and_again() -> None:
    finisher, loops = Finisher(), list[object]()

    async def answer() -> int:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return 5

    assert [finisher.finish(answer()), finisher.finish(answer())] == [5, 5]
    assert loops[0] is loops[1]


def test_a_sync_handler_has_no_loop() -> None:
    assert (posting().finisher, adding().finisher) == (None, None)
    assert isinstance(posting_later().finisher, Finisher)
    assert isinstance(BatchEffect(declaration_of(posting_later().function)).finisher, Finisher)


def leave(finisher: Finisher, call: Coroutine[Any, Any, Any], entered: threading.Event) -> None:
    """A thread that waits for a handler is told to end, and does."""

    def work() -> None:
        with pytest.raises(Left):
            finisher.finish(call)

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(30)
    throw(Left, thread)
    finisher.wake()
    thread.join(30)
    assert not thread.is_alive()


def test_what_is_thrown_at_a_thread_that_waits_is_seen_when_it_is_woken() -> None:
    finisher, entered = Finisher(), threading.Event()
    finisher.wake()

    async def waits() -> None:
        entered.set()
        await asyncio.sleep(60)

    leave(finisher, waits(), entered)
    finisher.close()


def test_that_a_handler_exits_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def exits() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        Finisher().finish(exits())
    gc.collect()
    assert caplog.text == "", "nobody complains that it was not looked at"


def test_a_handler_whose_own_task_exits_is_ended_before_that_is_told() -> None:
    finisher, ended = Finisher(), list[str]()

    async def exits() -> None:
        raise SystemExit(3)

    async def handler() -> None:
        task = asyncio.ensure_future(exits())
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append("cleaned up")
            with pytest.raises(SystemExit):
                task.result()

    with pytest.raises(SystemExit):
        finisher.finish(handler())
    assert ended == ["cleaned up"]

    async def fine() -> int:
        return 5

    assert finisher.finish(fine()) == 5, "the loop is of use still"


def test_a_handler_that_does_not_end_when_it_is_told_to_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inorder.worker.effects.LEAVING_S", 0.01)
    finisher, tasks = Finisher(), list[Any]()

    async def exits() -> None:
        raise KeyboardInterrupt

    async def deaf() -> None:
        tasks.append(asyncio.ensure_future(exits()))
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if len(tasks) > 1:
                    raise

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        finisher.finish(deaf())
    assert time.monotonic() - began < 30
    tasks[0].exception()
    tasks.append(None)
    finisher.close()


def test_what_outlasts_its_time_is_closed_with_the_loop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("inorder.worker.effects.LEAVING_S", 0.01)
    finisher, left, closed = Finisher(), list[Any](), list[str]()

    async def outlasts() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            try:
                await asyncio.sleep(60)
            finally:
                closed.append("here")

    async def leaves_one_behind() -> None:
        left.append(asyncio.ensure_future(outlasts()))
        await asyncio.sleep(0)

    finisher.finish(leaves_one_behind())
    finisher.close()
    assert closed == ["here"]
    left.clear()
    gc.collect()
    assert caplog.text == ""


def test_what_was_left_on_the_loop_is_ended_with_it(caplog: pytest.LogCaptureFixture) -> None:
    finisher, entered, ended = Finisher(), threading.Event(), list[str]()

    async def waits(name: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.001)
            ended.append(name)

    async def hangs() -> None:
        its_own = asyncio.ensure_future(waits("its own task"))
        other = asyncio.ensure_future(fails())
        await asyncio.sleep(0)
        entered.set()
        await waits("the handler")
        await its_own
        await other

    async def fails() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise Unreachable("the store is gone")

    leave(finisher, hangs(), entered)
    loop = finisher._loop
    finisher.close()
    finisher.close()
    finisher.wake()
    gc.collect()
    assert loop is not None
    assert loop.is_closed()
    assert sorted(ended) == ["its own task", "the handler"]
    assert caplog.text == "", "no task was destroyed while it was pending"


def test_a_loop_that_somebody_is_in_is_not_closed() -> None:
    finisher = Finisher()

    async def closes() -> int:
        finisher.close()
        await asyncio.sleep(0)
        return 5

    assert finisher.finish(closes()) == 5
    finisher.close()


def test_a_loop_that_is_closed_just_now_needs_no_waking() -> None:
    finisher = Finisher()
    finisher._loop = asyncio.new_event_loop()
    finisher._loop.close()
    finisher.wake()
