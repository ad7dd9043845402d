"""The page about dead letters shows what its commands really print."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def loaded(name: str) -> ModuleType:
    """A program of docs/, as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def regenerating() -> ModuleType:
    return loaded("regenerate")


def test_the_transcript_is_what_its_commands_print() -> None:
    docs = regenerating()
    text = (DOCS / "dead-letters.md").read_text()
    assert docs.plain(docs.regenerate(text)).splitlines() == docs.plain(text).splitlines()


def test_a_transcript_that_says_something_else_is_noticed() -> None:
    docs = regenerating()
    text = "```console\n$ echo two\none\n```\n"
    assert docs.regenerate(text) == "```console\n$ echo two\ntwo\n```\n"
