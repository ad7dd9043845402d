"""Asks before anything is changed, and why it is. Without a terminal nothing is asked: options must say it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from inorder.cli.dlq.words import harmless
from inorder.cli.streams import open_stream
from inorder.core.event import MAX_VERSION
from inorder.errors import InorderError, NotFound, UsageError
from inorder.wiring import open_store, public

Store = Annotated[str, Parameter(help="sqlite:///path.db or postgresql://…")]
Stream = Annotated[str | None, Parameter(help="Which stream, where the store has several")]
Json = Annotated[bool, Parameter("--json", negative=(), show_default=False, help="Print one JSON document")]
Yes = Annotated[bool, Parameter(negative=(), show_default=False, help="Do not ask; needed without a terminal")]
Why = Annotated[str | None, Parameter("--reason", help="Why; kept in the audit. Asked for unless given")]
Who = Annotated[str | None, Parameter("--by", show_default=False, help="Who; the user's name unless given")]

DIGITS = 18
"""A longer number is no letter's."""
COUNTED = Number(gte=1, lte=MAX_VERSION)
"""What any store can count."""
DEFAULT_STORE = "sqlite:///inorder.db"


def check_key(kind: Any, given: str | Sequence[str] | None) -> None:
    """Raises ValueError for a key that no event can have: of an argument that is not UTF-8, or several of them."""
    try:
        "".join(given or ()).encode()
    except UnicodeEncodeError:
        raise ValueError("It is not UTF-8, as every key is.") from None


def open_for_letter(store: str, stream: str | None, number: int | None) -> Any:
    """The stream that a letter belongs to, or else the one that is named, or the only one."""
    if stream is None and number is not None:
        stream = _stream_of(store, "stream_of_letter", number)
    return open_stream(store, stream)


def open_for_plan(store: str, number: int) -> Any:
    """The stream that a plan belongs to. Raises `NotFound`."""
    stream = _stream_of(store, "stream_of_plan", number)
    if stream is None:
        raise NotFound(f"store {public(store)} has no plan {number}")
    return open_store(store, stream, create=False)


def _stream_of(store: str, what: str, number: int) -> str | None:
    look = open_store(store, "", create=False)
    try:
        found: str | None = getattr(look, what)(number)
        return found
    finally:
        look.close()


def check_terminal(yes: bool, reason: str | None) -> None:
    """Raises `UsageError` where somebody would have to be asked and there is no terminal."""
    if sys.stdin.isatty() and sys.stderr.isatty():
        return
    missing = [name for name, given in (("--yes", yes), ("--reason", reason)) if not given]
    if missing:
        raise UsageError(f"this changes something, and there is no terminal to ask on: add {' and '.join(missing)}")


def ask_reason(reason: str | None) -> str:
    """Why, from the option or from the terminal."""
    if reason is None:
        print("Why? This is kept in the audit: ", end="", file=sys.stderr, flush=True)
        reason = sys.stdin.readline()
    reason = reason.strip()
    if not reason:
        raise UsageError("--reason is empty: say in a few words why")
    return reason


def confirm(question: str, yes: bool) -> None:
    """Raises `InorderError` unless the answer is yes."""
    if yes:
        return
    print(f"{harmless(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise InorderError("not confirmed; nothing was changed")
