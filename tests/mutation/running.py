"""A process that has collected tests, and forks for each flaw: one test after another, to the first that fails.

Where the flaw is within functions, they are given its code in the fork. Where it is not, or a function has done its
work as modules were imported, a new process imports all of them with the flaw in it. No file is changed.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import pickle
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import hypothesis
import pytest

from tests.mutation.covering import Imported, Seen, covered
from tests.mutation.stating import stated
from tests.mutation.swapping import Functions, read_instead, swap_sql

ROOT = Path(__file__).resolve().parent.parent.parent
MOST_BYTES = 6 << 30
LONGEST_S = 90.0


@dataclass(frozen=True)
class Text:
    """What a file says instead of what it says."""

    path: Path
    text: str

    @property
    def module(self) -> str | None:
        """Its name, where it is code of the library."""
        if self.path.suffix != ".py":
            return None
        return ".".join(self.path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


class Planted(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Loads one module from another text than that of its file."""

    def __init__(self, module: str, path: str, text: str) -> None:
        self._module, self._path, self._text = module, path, text

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        """Ours, or nobody's."""
        if fullname != self._module:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=self._path)
        spec.has_location = True  # some look at their own __file__ while they are imported
        return spec

    def get_source(self, fullname: str) -> str:
        """The text with the flaw."""
        return self._text

    def get_code(self, fullname: str) -> CodeType:
        """Compiled under the name of the file, so that tracebacks point there."""
        return compile(self._text, self._path, "exec")


def plant_before_import(planted: Text) -> None:
    """Whoever imports the module, or reads the file, gets the other text."""
    if planted.module is not None:
        sys.meta_path.insert(0, Planted(planted.module, str(planted.path), planted.text))
        return
    read_instead(planted.path, planted.text)


@dataclass(frozen=True)
class Timed:
    """A test and the seconds it is expected to take."""

    name: str
    seconds: float


class House:
    """The process. It has imported everything, so a flaw costs a fork and the tests that see it."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._here, there = Pipe()

        def serve() -> None:
            self._here.close()
            _serve(arguments, there)

        self._child = _fork(serve)
        there.close()
        self.tests: frozenset[str] = self._receive()

    def covered(self, test: str) -> Seen | None:
        """Which lines of the library a test comes by. None: it fails or is skipped, so it says nothing."""
        self._here.send(("cover", test))
        found: Seen | None = self._receive()
        return found

    def can_swap(self, before: Text, after: Text) -> bool:
        """Whether the flaw is within functions that no import has called."""
        self._here.send(("can swap", before, after))
        return bool(self._receive())

    def catches(self, before: Text, after: Text, tests: Sequence[Timed]) -> str | None:
        """The first of the tests that fails with `after` for `before`."""
        self._here.send(("swap", before, after, tests))
        found: str | None = self._receive()
        return found

    def close(self) -> None:
        """Nothing more to ask."""
        self._here.close()
        os.waitpid(self._child, 0)

    def _receive(self) -> Any:
        try:
            return self._here.recv()
        except EOFError:
            sys.exit("the tests could not be collected")


def catches(after: Text, tests: Sequence[Timed]) -> str | None:
    """The same in a process of its own, which imports the module with the flaw in it."""
    files = list(dict.fromkeys(test.name.split("::")[0] for test in tests))

    def body(report: Connection) -> None:
        report.send(("import", 120))
        plant_before_import(after)
        if _pytest(files, _Once(tests, report)) != pytest.ExitCode.OK:
            os._exit(1)

    return _watched(body)


def _serve(arguments: Sequence[str], there: Connection) -> None:
    os.setsid()
    _be_silent()
    imported = Imported(ROOT / "src")
    with imported:
        _pytest(arguments, _Serving(there, imported))


def _pytest(files: Sequence[str], plugin: object) -> int:
    # To find a failing example is enough: it need not be made small, nor be kept.
    hypothesis.settings.register_profile(
        "mutants",
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        database=None,
        derandomize=True,
        deadline=None,
    )
    hypothesis.settings.load_profile("mutants")
    with tempfile.TemporaryDirectory(prefix="inorder-mutants-", ignore_cleanup_errors=True) as temp:
        arguments = ["-q", "-x", "-p", "no:cacheprovider", "--assert=plain", "--timeout=0", f"--basetemp={temp}/base"]
        return pytest.main([*arguments, f"--rootdir={ROOT}", *map(_argument, files)], plugins=[plugin])


def _argument(argument: str) -> str:
    return str(ROOT / argument) if argument.startswith("tests/") else argument


class _Serving:
    """Instead of the tests: what is asked for, each in a fork."""

    def __init__(self, there: Connection, imported: Imported) -> None:
        self._there, self._imported = there, imported

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._imported.stop()
        functions = Functions(ROOT / "src", self._imported.called)
        items = {item.nodeid: item for item in session.items}
        self._there.send(frozenset(items))
        while True:
            try:
                asked = self._there.recv()
            except EOFError:
                return True
            self._there.send(self._answer(asked, items, functions))

    def _answer(self, asked: tuple[object, ...], items: Mapping[str, pytest.Item], functions: Functions) -> object:
        match asked:
            case ("cover", str(test)):
                return _cover(items[test])
            case ("can swap", Text() as before, Text() as after):
                differing = before.module is None or functions.differing(before.path, before.text, after.text)
                return bool(differing)
            case ("swap", Text() as before, Text() as after, list(tests)):

                def body(report: Connection) -> None:
                    if before.module is None:
                        swap_sql(before.path, before.text, after.text)
                    else:
                        functions.swap(functions.differing(before.path, before.text, after.text) or {})
                    if not _run([(items[test.name], test.seconds) for test in tests], report):
                        os._exit(1)

                return _watched(body)
        raise ValueError(asked)


class _Once:
    """Instead of the tests: those that were asked for, in this order."""

    def __init__(self, tests: Sequence[Timed], report: Connection) -> None:
        self._tests, self._report = tests, report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        # One that is named after a number that the flaw has changed is not there: that is no failure of it.
        tests = [(items[test.name], test.seconds) for test in self._tests if test.name in items]
        if not _run(tests, self._report):
            os._exit(1)
        return True


def _run(items: Sequence[tuple[pytest.Item, float]], report: Connection) -> bool:
    for at, (item, seconds) in enumerate(items):
        report.send((item.nodeid, 20 + 20 * seconds))
        following = items[at + 1][0] if at + 1 < len(items) else None
        if not _passes(item, following):
            return False
    return True


def _passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    reports: list[pytest.TestReport] = []

    class Listening:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            reports.append(report)

    listening = Listening()
    item.config.pluginmanager.register(listening)
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    item.config.pluginmanager.unregister(listening)
    return not any(report.failed for report in reports)


def _cover(item: pytest.Item) -> Seen | None:
    here, there = Pipe(duplex=False)

    def body(there: Connection) -> None:
        worked = time.process_time()
        statements: dict[str, set[int]] = {}
        with stated(ROOT / "src", statements), covered(ROOT / "src") as seen:
            passes = _passes(item, None)
        seen.lines |= statements
        # What it waits depends on the machine.
        seen.seconds = time.process_time() - worked
        there.send_bytes(pickle.dumps(seen if passes else None))

    def run() -> None:
        os.setsid()
        body(there)

    child = _fork(run)
    there.close()
    found: Seen | None = None
    # Longer than that is too long to be run for each flaw.
    if here.poll(LONGEST_S):
        with suppress(EOFError):
            found = pickle.loads(here.recv_bytes())
    _kill(child)
    os.waitpid(child, 0)
    return found


def _watched(body: Callable[[Connection], None]) -> str | None:
    """Runs in a fork, which says what it does next and how long that may take. The last, if it ends badly."""
    here, there = Pipe(duplex=False)

    def run() -> None:
        os.setsid()
        _be_silent()
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        body(there)

    child = _fork(run)
    there.close()
    last, until = "", time.monotonic() + 60
    while (status := _ended(child)) is None and time.monotonic() < until:
        if here.poll(0.05):
            last, until = _next(here, last, until)
    while here.poll():
        before = last
        last, until = _next(here, last, until)
        if last == before:
            break
    here.close()
    _kill(child)
    if status is None:
        os.waitpid(child, 0)
    return None if status == 0 else last


def _next(here: Connection, last: str, until: float) -> tuple[str, float]:
    try:
        name, most_s = here.recv()
    except (EOFError, OSError):
        time.sleep(0.02)
        return last, until
    return name, time.monotonic() + most_s


def _ended(child: int) -> int | None:
    found, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _kill(child: int) -> None:
    """And all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)


def _fork(body: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            body()
            code = 0
        finally:
            os._exit(code)
    return child


def _be_silent() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)


def untouched(names: Iterable[str]) -> None:
    """Refuses to go on where the library has been imported: what is planted later would not be seen."""
    if any(name == "inorder" or name.startswith("inorder.") for name in names):
        raise RuntimeError("the package is imported already")
