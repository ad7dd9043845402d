"""What a handler raised, and what dead letters tell of it: where in it, and which version of the code it was."""

from __future__ import annotations

import inspect
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

from inorder.core.effect import Abort
from inorder.core.words import describe
from inorder.errors import HandlerExit
from inorder.worker.pool import Left

CHARACTERS = 4_000
"""Most of a traceback that is kept: its end, where the user's own code is."""
_PACKAGE = str(Path(__file__).parent.parent) + os.sep
_COMPILED = "inorder/"
"""Where the frames of compiled modules say that they are."""
VARIABLE = "INORDER_CODE_VERSION"


def failure(error: BaseException) -> BaseException:
    """What a handler raised, as the failure of its event, which is all that it can bring about.

    What was thrown at its thread from outside stays what it is, and so does Ctrl-C, which only the main thread hears.
    """
    if isinstance(error, Exception | Abort | Left):
        return error
    if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        return error
    return HandlerExit(f"raised {describe(error)}").with_traceback(error.__traceback__)


def explain(error: BaseException) -> str:
    """Where in the user's code an exception comes from. The way there, through this package, is left out."""
    begin = error.__traceback__
    while begin is not None and begin.tb_frame.f_code.co_filename.startswith((_PACKAGE, _COMPILED)):
        begin = begin.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, begin or error.__traceback__))[-CHARACTERS:]
    except Exception:
        # Python 3.11 parses the lines for its carets, and fails if a garbage collection meanwhile does the same.
        return describe(error)


def code_version(function: Callable[..., Any]) -> str | None:
    """The value of `INORDER_CODE_VERSION`, or a fingerprint of the file that the function is in."""
    named = os.environ.get(VARIABLE)
    if named:
        return named
    try:
        path = inspect.getsourcefile(inspect.unwrap(function))
        return f"{Path(path).name} {crc32(Path(path).read_bytes()):08x}" if path else None
    except (OSError, TypeError):
        return None
