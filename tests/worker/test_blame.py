"""What dead letters tell of a failure: where in the user's code it was, and which version of that code."""

from __future__ import annotations

import threading
import traceback
from pathlib import Path
from zlib import crc32

import pytest

import inorder
from inorder.core.effect import Abort, Outage
from inorder.errors import HandlerExit
from inorder.worker import blame
from inorder.worker.pool import Left


def raised(error: BaseException) -> BaseException:
    """An exception with a traceback."""
    try:
        raise error
    except BaseException as found:
        return found


def on_thread(error: BaseException) -> BaseException:
    found: list[BaseException] = []
    thread = threading.Thread(target=lambda: found.append(blame.failure(error)))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize(
    "error", [ValueError("no"), Outage("away"), Abort(), Left()], ids=lambda one: type(one).__name__
)
def test_failures_and_what_comes_from_outside_stay_what_they_are(error: BaseException) -> None:
    assert blame.failure(error) is error
    assert on_thread(error) is error


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit()], ids=lambda one: type(one).__name__)
def test_what_would_end_more_than_its_event_fails_its_event(error: BaseException) -> None:
    error = raised(error)
    found = blame.failure(error)
    assert isinstance(found, HandlerExit)
    assert str(found).startswith(f"raised {type(error).__name__}")
    assert found.__traceback__ is error.__traceback__, "it says where"


def test_an_interrupt_is_the_main_threads_and_nobody_elses() -> None:
    error = KeyboardInterrupt()
    assert blame.failure(error) is error
    assert isinstance(on_thread(error), HandlerExit)
    assert isinstance(blame.failure(SystemExit()), HandlerExit)


def within_the_package(function: object) -> object:
    """The same, as code of a file of the package."""
    space: dict[str, object] = {"function": function}
    path = Path(inorder.__file__).parent / "worker" / "anything.py"
    exec(compile("def call():\n    return function()", str(path), "exec"), space)
    return space["call"]


def compiled(function: object) -> object:
    """The same, as code of a compiled module."""
    space: dict[str, object] = {"function": function}
    exec(compile("def call():\n    return function()", "inorder/worker/anything.py", "exec"), space)
    return space["call"]


def user_code() -> None:
    inner()


def inner() -> None:
    raise ValueError("in the user's code")


def explained(call: object) -> str:
    try:
        call()  # type: ignore[operator]
    except ValueError as error:
        error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
        return blame.explain(error)
    raise AssertionError


def test_the_way_through_the_package_is_left_out() -> None:
    for way in (within_the_package(user_code), compiled(user_code), within_the_package(compiled(user_code))):
        told = explained(way)
        assert "anything.py" not in told
        assert "in user_code" in told
        assert "in inner" in told
        assert told.endswith("ValueError: in the user's code\n")


def test_what_the_user_calls_of_the_package_is_told() -> None:
    def user() -> None:
        within_the_package(inner)()  # type: ignore[operator]

    told = explained(user)
    assert "in user" in told
    assert "anything.py" in told


def test_a_failure_within_the_package_alone_is_told_whole() -> None:
    space: dict[str, object] = {}
    exec(compile("def call():\n    raise ValueError('ours')", "inorder/worker/anything.py", "exec"), space)
    told = explained(space["call"])
    assert "anything.py" in told
    assert "ValueError: ours" in told
    assert blame.explain(ValueError("never raised")) == "ValueError: never raised\n"


def test_of_a_long_traceback_the_end_is_kept() -> None:
    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise ValueError("x" * 2_000 + "the end")

    told = explained(lambda: deep(1))
    assert len(told) < blame.CHARACTERS
    error = raised(ValueError("y" * 5_000 + "the end"))
    told = blame.explain(error)
    assert len(told) == blame.CHARACTERS
    assert told.endswith("the end\n")


def test_a_traceback_that_cannot_be_formatted_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> list[str]:
        raise SystemError

    monkeypatch.setattr(traceback, "format_exception", fails)
    assert blame.explain(ValueError("no")) == "ValueError: no"


def test_the_version_of_the_code_is_the_one_named_or_a_print_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(blame.VARIABLE, raising=False)
    here = Path(__file__)
    expected = f"{here.name} {crc32(here.read_bytes()):08x}"
    assert blame.code_version(user_code) == expected

    def wrapper() -> None: ...

    wrapper.__wrapped__ = user_code  # type: ignore[attr-defined]
    wrapper.__code__ = wrapper.__code__.replace(co_filename="/nowhere.py")
    assert blame.code_version(wrapper) == expected, "of what is wrapped"
    monkeypatch.setenv(blame.VARIABLE, "release 7")
    assert blame.code_version(user_code) == "release 7"
    monkeypatch.setenv(blame.VARIABLE, "")
    assert blame.code_version(user_code) == expected


def test_code_without_a_file_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(blame.VARIABLE, raising=False)
    space: dict[str, object] = {}
    exec(compile("def nowhere(): ...", "<typed>", "exec"), space)
    assert blame.code_version(space["nowhere"]) is None  # type: ignore[arg-type]
    assert blame.code_version(len) is None
