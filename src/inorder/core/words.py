"""Words of others, made fit to be kept in any store and shown on any terminal."""

from __future__ import annotations

LONGEST = 500
"""Characters that are kept."""


def one_line(text: str) -> str:
    """`text` on one line, without what does not print, cut to `LONGEST` characters."""
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    if short.isprintable():
        return short
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in short)


def message(error: BaseException) -> str:
    """The message of an exception, on one line; its type where there is none."""
    return one_line(_text(error) or type(error).__name__)


def describe(error: BaseException) -> str:
    """The type and the message of an exception, on one line."""
    text = _text(error, unreadable="its message cannot be read")
    return one_line(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _text(error: BaseException, unreadable: str = "") -> str:
    try:
        return str(error)
    except Exception:
        return unreadable
