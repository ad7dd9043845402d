"""Compiles the modules that `pyproject.toml` names, with mypyc, into the wheel, if HATCH_BUILD_HOOKS_ENABLE=1 is set.

They are the same modules, beside their sources: whatever is not compiled, on whatever platform, runs as it is.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext


class CompileHook(BuildHookInterface[Any]):
    """Hatch's custom hook. Never runs for an editable installation, whose sources may change."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into a folder of its own, and have what comes of it put into the wheel."""
        if version == "editable":
            return
        modules = self.config["modules"]
        self._folder = tempfile.TemporaryDirectory()
        for path in compiled(Path(self.root, "src"), modules, Path(self._folder.name)):
            build_data["force_include"][str(path)] = str(path.relative_to(self._folder.name))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written."""
        if version != "editable":
            self._folder.cleanup()


def compiled(source: Path, modules: list[str], target: Path) -> list[Path]:
    """The extension modules built of these modules, such as `inorder.core.guard`."""
    paths = [module.replace(".", "/") + ".py" for module in modules]
    with tempfile.TemporaryDirectory() as scratch, _inside(source):
        # What is not compiled may import what is not installed, such as the drivers of databases.
        missing = ["--follow-imports=silent", "--ignore-missing-imports"]
        options = ["--explicit-package-bases", *missing, f"--cache-dir={scratch}/mypy", *paths]
        extensions = mypycify(options, opt_level="3", debug_level="0", target_dir=scratch, group_name="inorder")
        command = build_ext(Distribution({"name": "inorder", "ext_modules": extensions}))
        command.build_lib, command.build_temp = str(target), scratch
        command.ensure_finalized()
        command.run()
        return [Path(output) for output in command.get_outputs()]


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
