"""What a user is told when a command fails: one line and an exit code. Never a traceback, unless asked for."""

from __future__ import annotations

import sys
import traceback

from inorder.cli.codes import Exit
from inorder.errors import InorderError, NotFound, UsageError

DEBUG = "--debug"
_CODES = ((UsageError, Exit.USAGE), (NotFound, Exit.NOT_FOUND))


def code_of(error: InorderError) -> Exit:
    """The exit code of an error that inorder raised on purpose."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILURE)


def failed(error: BaseException, debug: bool) -> Exit:
    """Say on standard error what went wrong; returns the exit code."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, InorderError):
        complain(str(error))
        return code_of(error)
    kind = type(error).__name__
    place = traceback.extract_tb(error.__traceback__)
    where = f" ({place[-1].filename}:{place[-1].lineno})" if place else ""
    again = "" if debug else f"; add {DEBUG} for the traceback"
    complain(f"unexpected {kind}: {error}{where}{again}")
    return Exit.FAILURE


def check_not_an_option(value: str, name: str) -> None:
    """Raises `UsageError` for an argument that may be - for standard input, and is another option by mistake."""
    if value.startswith("-") and value != "-":
        raise UsageError(f"{name} has no value: {value!r} stands where one is expected")


def complain(message: str) -> None:
    """One line on standard error."""
    print(f"inorder: {one_line(message)}", file=sys.stderr)


def one_line(message: str) -> str:
    """The message without line ends and other characters that would disturb a terminal or a log."""
    text = " ".join(part.strip() for part in message.splitlines() if part.strip())
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
