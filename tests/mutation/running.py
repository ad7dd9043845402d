"""Runs tests against a package of which one module has a flaw, in a process of its own. Changes no file."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType

import hypothesis
import pytest

GOOD, CAUGHT = 0, 1


class Planted(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Loads one module from another text than that of its file."""

    def __init__(self, module: str, path: str, text: str) -> None:
        self._module, self._path, self._text = module, path, text

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        """Ours, or nobody's."""
        if fullname != self._module:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=self._path)

    def get_source(self, fullname: str) -> str:
        """The text with the flaw."""
        return self._text

    def get_code(self, fullname: str) -> CodeType:
        """Compiled under the name of the file, so that tracebacks point there."""
        return compile(self._text, self._path, "exec")


def survives(module: str, path: str, text: str, tests: Sequence[str], most_s: float) -> bool:
    """Whether all tests pass although the flaw is there. A run that does not end in time has caught it."""
    if any(name == "inorder" or name.startswith("inorder.") for name in sys.modules):
        raise RuntimeError("the package is imported already")
    child = os.fork()
    if child == 0:
        code = CAUGHT
        try:
            os.setsid()
            _be_silent()
            sys.meta_path.insert(0, Planted(module, path, text))
            code = GOOD if _passes(tests) else CAUGHT
        finally:
            os._exit(code)
    until = time.monotonic() + most_s
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status) == GOOD
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _passes(tests: Sequence[str]) -> bool:
    # To find a failing example is enough: it need not be made small, nor be kept.
    hypothesis.settings.register_profile(
        "mutants",
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        database=None,
        derandomize=True,
        deadline=None,
    )
    hypothesis.settings.load_profile("mutants")
    arguments = ["-q", "-x", "-p", "no:cacheprovider", "--timeout=0", *tests]
    return pytest.main(arguments) == pytest.ExitCode.OK


def _be_silent() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
