"""Gives functions that exist the code of another text of their module, and those that read SQL another text of it."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Mapping, Set
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

STATEMENT = re.compile(r"^-- (\w+): .+$", re.MULTILINE)

_FUNCTION = 0x02
"""CO_NEWLOCALS: modules and class bodies do without."""


class Functions:
    """All functions of the library that there are. Those that imports have called are left alone."""

    def __init__(self, root: Path, called: Set[tuple[str, str]]) -> None:
        self._called = called
        self._known: dict[tuple[str, str], list[FunctionType]] = {}
        prefix = f"{root}/"
        gc.collect()
        for found in gc.get_objects():
            if isinstance(found, FunctionType) and found.__code__.co_filename.startswith(prefix):
                at = found.__code__.co_filename, found.__code__.co_qualname
                self._known.setdefault(at, []).append(found)
        gc.freeze()

    def differing(self, path: Path, before: str, after: str) -> dict[tuple[str, str], CodeType] | None:
        """The new code of the functions that differ. None: something else differs, or they cannot be given it."""
        found: dict[tuple[str, str], CodeType] = {}
        if not _compare(compile(before, str(path), "exec"), compile(after, str(path), "exec"), found):
            return None
        for at, code in found.items():
            known = self._known.get(at, [])
            if len({one.__code__ for one in known}) != 1 or at in self._called:
                return None
            if known[0].__code__.co_freevars != code.co_freevars:
                return None
        return found

    def swap(self, changed: Mapping[tuple[str, str], CodeType]) -> None:
        """From here on they do what the other text says."""
        for at, code in changed.items():
            for function in self._known[at]:
                function.__code__ = code


def _compare(before: CodeType, after: CodeType, found: dict[tuple[str, str], CodeType]) -> bool:
    """Collects functions that differ. False: what is around them differs too."""
    if before.co_flags & _FUNCTION:
        if not _same(before, after):
            found[after.co_filename, after.co_qualname] = after
        return True
    if not _same(before, after, inner=False):
        return False
    return all(_compare(one, other, found) for one, other in zip(_inner(before), _inner(after), strict=True))


def _same(one: CodeType, other: CodeType, inner: bool = True) -> bool:
    if _what(one) != _what(other) or len(_inner(one)) != len(_inner(other)):
        return False
    return not inner or all(_same(a, b) for a, b in zip(_inner(one), _inner(other), strict=True))


def _what(code: CodeType) -> tuple[object, ...]:
    plain = [(type(const), repr(const)) for const in code.co_consts if not isinstance(const, CodeType)]
    variables = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return code.co_code, plain, variables, code.co_argcount, code.co_flags


def _inner(code: CodeType) -> list[CodeType]:
    return [const for const in code.co_consts if isinstance(const, CodeType)]


def read_instead(path: Path, text: str) -> None:
    """From here on, whoever reads this file gets this text."""
    reads = Path.read_text

    def read_text(self: Path, *arguments: Any, **named: Any) -> str:
        return text if self == path else reads(self, *arguments, **named)

    Path.read_text = read_text  # type: ignore[method-assign]


def swap_sql(path: Path, before: str, after: str) -> None:
    """The file says `after` from here on, also to those who have read it."""
    read_instead(path, after)
    instead = dict(zip(_statements(before), _statements(after), strict=True))
    for name, module in list(sys.modules.items()):
        if not name.startswith("inorder.stores"):
            continue
        for at, found in list(vars(module).items()):
            if hasattr(found, "cache_clear"):
                found.cache_clear()
            elif isinstance(found, str) and found in instead:
                setattr(module, at, instead[found])
            elif isinstance(found, dict):
                found.update(
                    {key: instead[one] for key, one in found.items() if isinstance(one, str) and one in instead}
                )


def _statements(text: str) -> list[str]:
    return [body.strip().rstrip(";") for body in STATEMENT.split(text)[2::2]]
