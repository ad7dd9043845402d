"""A handler that fails: tried again, then a dead letter and a parked key; all other keys go on."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import inorder
from inorder.worker import blame
from tests.worker.bench import Bench, entries
from tests.worker.conftest import kinds
from tests.worker.consumers import Act, Entry, Seen


def failing(key: str, version: int, error: type[Exception] = ValueError, times: int = 1_000_000) -> Act:
    """A handler that fails with this event, the first so many times."""
    calls = Counter[tuple[str, int]]()

    def act(entry: Entry) -> None:
        calls[entry.key, entry.version] += 1
        if (entry.key, entry.version) == (key, version) and calls[key, version] <= times:
            raise error(f"no {key} {version}")

    return act


def test_an_event_that_fails_at_first_is_tried_again_and_takes_effect_in_order(bench: Bench) -> None:
    bench.produce(*entries("a", 1, 2, 3, 4), *entries("b", 1, 2))
    bench.work(bench.declare(failing("a", 2, times=1)))
    assert bench.effects() == {"a": [1, 2, 3, 4], "b": [1, 2]}
    assert bench.outcomes() == {"applied": 6}
    assert bench.dead() == []
    assert bench.waiting("a") == []


def test_an_event_that_always_fails_becomes_a_dead_letter_and_parks_its_key_alone(bench: Bench) -> None:
    bench.produce(*entries("a", 1, 2, 3, 4), *entries("b", 1, 2, 3))
    bench.work(bench.declare(failing("a", 2)))
    assert bench.effects() == {"a": [1], "b": [1, 2, 3]}
    assert bench.dead() == [("a", 2, "failed")]
    (row,) = bench.letters()
    assert row.letter.attempts == 3
    assert row.letter.detail == "ValueError: no a 2"
    assert row.letter.event_id == "a-2"
    assert row.letter.record.value is not None
    assert bench.parked() == ["a"]
    assert bench.waiting("a") == [3, 4]
    assert bench.committed(), "what waits is kept in the store, not in the broker"


def test_events_that_come_for_a_parked_key_wait_behind_the_dead_letter(bench: Bench) -> None:
    bench.produce(*entries("a", 1))
    bench.work(bench.declare(failing("a", 1)))
    bench.produce(*entries("a", 2, 3, 2), *entries("b", 1))
    bench.work(bench.declare())
    assert bench.effects() == {"b": [1]}
    assert bench.waiting("a") == [2, 3]
    assert bench.outcomes() == {"applied": 1, "dead_lettered": 1, "parked": 2, "duplicate": 1}


def test_each_event_is_tried_as_often_as_declared(bench: Bench) -> None:
    retry = inorder.Retry(attempts=2, delay_s=0.01)
    bench.produce(*entries("a", 1), *entries("b", 1))
    bench.work(bench.declare(failing("a", 1), retry=retry))
    assert [row.letter.attempts for row in bench.letters()] == [2]
    assert bench.count("retries") == 1
    assert bench.effects() == {"b": [1]}


def test_poison_is_given_up_on_at_once(bench: Bench) -> None:
    bench.produce(*entries("a", 1, 2, 3), *entries("b", 1))
    bench.work(bench.declare(failing("a", 2, inorder.Poison)))
    assert bench.effects() == {"a": [1], "b": [1]}
    assert [(row.letter.version, row.letter.attempts) for row in bench.letters()] == [(2, 1)]
    assert bench.count("retries") == 0
    assert bench.parked() == ["a"]


def test_many_keys_that_fail_for_ever_do_not_hold_up_the_others(bench: Bench) -> None:
    sick = [f"sick-{number}" for number in range(20)]
    well = [f"well-{number}" for number in range(20)]
    bench.produce(*[entry for pair in zip(sick, well, strict=True) for key in pair for entry in entries(key, 1, 2, 3)])

    def act(entry: Entry) -> None:
        if entry.key in sick and entry.version == 2:
            raise ValueError

    bench.work(bench.declare(act))
    assert bench.effects() == {**{key: [1] for key in sick}, **{key: [1, 2, 3] for key in well}}
    assert bench.parked() == sorted(sick)


def test_a_failure_in_the_middle_of_a_batch_costs_only_its_own_key(bench: Bench) -> None:
    for version in range(1, 31):
        bench.produce(*[entry for key in "abcd" for entry in entries(key, version)], partition=0)
    bench.work(bench.declare(failing("c", 17)))
    assert bench.effects() == {key: list(range(1, 17 if key == "c" else 31)) for key in "abcd"}


def test_retries_of_several_keys_go_on_side_by_side(bench: Bench) -> None:
    keys = [f"key-{number}" for number in range(10)]
    calls = Counter[tuple[str, int]]()

    def act(entry: Entry) -> None:
        calls[entry.key, entry.version] += 1
        if entry.version == 2 and calls[entry.key, 2] <= 2:
            raise ValueError

    bench.produce(*[entry for key in keys for entry in entries(key, 1, 2, 3)])
    bench.work(bench.declare(act, retry=inorder.Retry(attempts=4, delay_s=0.02)))
    assert bench.effects() == {key: [1, 2, 3] for key in keys}
    assert bench.dead() == []


def test_what_cannot_be_read_becomes_a_dead_letter_and_stops_nothing(bench: Bench) -> None:
    bench.produce(
        *entries("a", 1), b"not JSON", b'{"key": "a", "version": -1, "id": "x"}', *entries("a", 2), partition=0
    )
    bench.work(bench.declare())
    assert bench.effects() == {"a": [1, 2]}
    assert [row.letter.reason for row in bench.letters()] == ["malformed", "malformed"]
    assert bench.letters()[0].letter.record.value == b"not JSON"
    assert [row.letter.key for row in bench.letters()] == [None, "a"], "found by its key, where that can be read"
    assert bench.outcomes() == {"applied": 2, "dead_lettered": 2}


def test_without_strict_order_a_failed_event_need_not_stop_its_key(bench: Bench) -> None:
    bench.produce(*entries("a", 1, 2, 3))
    bench.work(bench.declare(failing("a", 2), order="latest", park=False))
    assert bench.effects() == {"a": [1, 3]}
    assert bench.dead() == [("a", 2, "failed")]
    assert bench.parked() == []


@kinds("tx", "async tx")
def test_what_a_failed_attempt_wrote_is_undone(bench: Bench) -> None:
    @inorder.handler(key="key", version="version", id="id", name="stream", retry=inorder.Retry(attempts=2, delay_s=0.0))
    def post(entry: Entry, tx: inorder.Transaction) -> None:
        tx.execute("INSERT INTO ledger (key, version) VALUES (?, ?)", (entry.key, entry.version))
        if entry.version == 2:
            raise ValueError

    bench.produce(*entries("a", 1, 2), *entries("b", 1))
    bench.work(post)
    assert bench.effects() == {"a": [1], "b": [1]}
    assert bench.dead() == [("a", 2, "failed")]


@kinds("fold", "async fold")
def test_a_fold_that_changes_its_state_in_place_and_then_fails_leaves_no_trace(bench: Bench) -> None:
    @inorder.fold(key="key", version="version", id="id", name="stream", retry=inorder.Retry(attempts=2, delay_s=0.0))
    def fold(state: Seen | None, entry: Entry) -> Seen:
        state = state or Seen([])
        state.versions.append(entry.version)
        if entry.version == 3:
            raise ValueError
        return state

    bench.produce(*entries("a", 1, 2))
    bench.work(fold)
    bench.produce(*entries("a", 3, 4))
    bench.work(fold)
    assert bench.effects() == {"a": [1, 2]}


def _wrong_fold(**options: Any) -> Callable[..., Any]:
    @inorder.fold(**options)
    def fold(state: Seen | None, entry: Entry) -> Seen:
        if entry.key == "a":
            return "a string"  # type: ignore[return-value]
        return Seen([*(state.versions if state else ()), entry.version])

    return fold


def _wrong_async_fold(**options: Any) -> Callable[..., Any]:
    @inorder.fold(**options)
    async def fold(state: Seen | None, entry: Entry) -> Seen:
        if entry.key == "a":
            return None  # type: ignore[return-value]
        return Seen([*(state.versions if state else ()), entry.version])

    return fold


@pytest.mark.parametrize(
    ("bench", "wrong", "detail"),
    [
        ("fold", _wrong_fold, "TypeError: returned str, not Seen"),
        ("async fold", _wrong_async_fold, "TypeError: returned NoneType, not Seen"),
    ],
    indirect=["bench"],
)
def test_a_fold_that_returns_the_wrong_type_fails(
    bench: Bench, wrong: Callable[..., Callable[..., Any]], detail: str
) -> None:
    bench.produce(*entries("a", 1, 2), *entries("b", 1, 2))
    bench.work(wrong(key="key", version="version", id="id", name="stream", retry=inorder.Retry(attempts=2, delay_s=0)))
    assert bench.effects() == {"b": [1, 2]}
    assert [(row.letter.attempts, row.letter.detail) for row in bench.letters()] == [(2, detail)]
    assert bench.parked() == ["a"]


class Later:
    """Something to await, as a lambda around an async function returns."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@kinds("tx", "call")
def test_a_handler_that_returns_an_awaitable_fails(bench: Bench) -> None:
    right = bench.declare()
    declare = inorder.handler(
        key="key", version="version", id="id", name="stream", retry=inorder.Retry(attempts=2, delay_s=0)
    )

    def post(entry: Entry, tx: inorder.Transaction) -> Any:
        return Later() if entry.key == "a" else right(entry, tx)

    def call(entry: Entry) -> Any:
        return Later() if entry.key == "a" else right(entry)

    bench.produce(*entries("a", 1, 2), *entries("b", 1, 2))
    bench.work(declare(post if bench.kind == "tx" else call))
    assert bench.effects() == {"b": [1, 2]}
    assert [row.letter.detail for row in bench.letters()] == [
        "TypeError: returned an awaitable; declare the handler with async def"
    ]


def test_a_state_that_json_cannot_hold_is_its_events_fault(tmp_path: Path) -> None:
    class Step(msgspec.Struct):
        id: str
        key: str
        version: int

    @inorder.fold(key="key", version="version", id="id", retry=inorder.Retry(attempts=2, delay_s=0.01))
    def odd(state: dict[str, Any] | None, step: Step) -> dict[str, Any]:
        return {"n": step.version, "odd": 1j if (step.key, step.version) == ("a", 3) else 1}

    steps = [Step(f"{key}-{version}", key, version) for version in (1, 2, 3) for key in "abc"]
    file = tmp_path / "steps.jsonl"
    file.write_bytes(b"\n".join(map(msgspec.json.encode, steps)))
    report = inorder.run(odd, source=str(file), store=f"sqlite:///{tmp_path}/s.db", until_idle_s=0.1)
    assert (report.outcomes["applied"], report.outcomes["dead_lettered"], report.parked_keys) == (8, 1, 1)


def leave(entry: Entry) -> None:
    sys.exit(3)


def interrupt(entry: Entry) -> None:
    raise KeyboardInterrupt


def end(entry: Entry) -> None:
    raise LeavesNobodyBehind("enough")


class LeavesNobodyBehind(BaseException):
    """As libraries have that would not be caught."""


@pytest.mark.parametrize(
    ("act", "detail"),
    [
        (leave, "HandlerExit: raised SystemExit: 3"),
        (interrupt, "HandlerExit: raised KeyboardInterrupt"),
        (end, "HandlerExit: raised LeavesNobodyBehind: enough"),
    ],
)
def test_a_handler_that_wants_to_end_the_process_has_failed_and_the_worker_goes_on(
    bench: Bench, act: Act, detail: str
) -> None:
    bench.produce(*entries("a", 1, 2), *entries("b", 1, 2))
    bench.work(bench.declare(lambda entry: act(entry) if entry.key == "a" else None))
    assert bench.effects() == {"b": [1, 2]}
    (row,) = bench.letters()
    assert (row.letter.key, row.letter.attempts, row.letter.detail) == ("a", 3, detail)
    assert f"in {act.__name__}" in (row.letter.error or "")
    assert bench.waiting("a") == [2]


@kinds("async fold", "async tx", "async call")
def test_an_exit_in_a_task_that_a_handler_has_started_is_the_failure_of_its_event(bench: Bench) -> None:
    went_on: list[str] = []

    async def leaves() -> None:
        await asyncio.sleep(0.001)
        sys.exit(3)

    async def act(entry: Entry) -> None:
        if entry.key == "a":
            task = asyncio.create_task(leaves())
            try:
                await asyncio.sleep(0.05)
                await task
            finally:
                assert task.exception() is not None
        went_on.append(entry.key)

    bench.produce(*entries("a", 1), *entries("b", 1))
    bench.work(bench.declare(act))
    assert bench.effects() == {"b": [1]}
    assert [row.letter.detail for row in bench.letters()] == ["HandlerExit: raised SystemExit: 3"]
    assert set(went_on) == {"b"}


@kinds("fold")
def test_a_traceback_that_cannot_be_shown_costs_no_more_than_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> str:
        raise SystemError("as Python 3.11 may say while it looks for its carets")

    monkeypatch.setattr(blame, "traceback", SimpleNamespace(format_exception=fails))
    bench.produce(*entries("a", 1), *entries("b", 1))
    bench.work(bench.declare(failing("a", 1)))
    assert [row.letter.error for row in bench.letters()] == ["ValueError: no a 1"]
    assert bench.effects() == {"b": [1]}


class Speechless(inorder.Unavailable):
    """Its message cannot be read."""

    def __str__(self) -> str:
        raise KeyError("message")


@pytest.mark.parametrize("error", [inorder.Unavailable(), Speechless()], ids=["none", "not readable"])
def test_an_outage_without_a_message_is_named_all_the_same(
    bench: Bench, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    away = [error] * 4

    def act(entry: Entry) -> None:
        if away:
            raise away.pop()

    bench.produce(*entries("a", 1))
    bench.work(bench.declare(act))
    assert bench.effects() == {"a": [1]}
    assert f"paused: {type(error).__name__}" in caplog.text
