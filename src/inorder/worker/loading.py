"""Finds the consumer that `MODULE:NAME` names, for the command and for the processes it starts."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from inorder.declaration import is_consumer
from inorder.errors import InorderError, UsageError

_FORM = "write MODULE:NAME, such as bank.consumers:balance or bank.py:balance"


def load_consumer(target: str) -> Callable[..., Any]:
    """The decorated function that `target` names: `package.module:name` or `path/to/file.py:name`.

    Modules are also looked for in the working directory. Raises `UsageError` with what to write instead.
    """
    place, colon, name = target.rpartition(":")
    if not colon:
        place, name = name, ""
    if not place:
        raise UsageError(f"{target!r} names no consumer: {_FORM}")
    by_path = place.endswith(".py") or "/" in place or "\\" in place
    module = _import_path(Path(place)) if by_path else _import_name(place)
    if not name:
        raise UsageError(f"{place} is a module: {_those_of(module, place)}")
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise UsageError(f"{place} has no {name!r}: {_those_of(module, place)}")
    if not is_consumer(found):
        raise UsageError(f"{target} is not a consumer: {_those_of(module, place)}")
    return found  # type: ignore[no-any-return]


def _those_of(module: ModuleType, place: str) -> str:
    names = [name for name, value in vars(module).items() if is_consumer(value)]
    if names:
        return f"write {' or '.join(f'{place}:{name}' for name in names)}"
    return "there is no consumer in it; decorate a function with @inorder.fold or @inorder.handler"


def _import_name(name: str) -> ModuleType:
    _look_in(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"there is no module {error.name!r} here or installed: {_FORM}") from None
        raise _broken(name, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _import_path(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {path}: {_FORM}")
    path = path.resolve()
    # As `python file.py` would: what lies beside the file can be imported by it.
    _look_in(path.parent)
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    if known is not None or name in sys.stdlib_module_names or not name.isidentifier():
        name = f"inorder_consumer_{name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file: {_FORM}")
    module = importlib.util.module_from_spec(spec)
    # Types in annotations are looked up through sys.modules.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _broken(path.name, error) from error
    return module


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _broken(what: str, error: BaseException) -> UsageError:
    """A module that cannot be imported, in one line that says where."""
    if isinstance(error, InorderError):
        return UsageError(f"{what}: {error}")
    if isinstance(error, SyntaxError):
        return UsageError(f"{what} cannot be imported: {error.msg} ({error.filename}, line {error.lineno})")
    places = [place for place in traceback.extract_tb(error.__traceback__) if "importlib" not in place.filename]
    places = [place for place in places if place.filename != __file__]
    where = f" ({places[-1].filename}, line {places[-1].lineno})" if places else ""
    return UsageError(f"{what} cannot be imported: {type(error).__name__}: {error}{where}")
