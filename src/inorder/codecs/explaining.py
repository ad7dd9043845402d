"""What is wrong with a record, and with which field of it, in words: from whatever a decoder raised."""

from __future__ import annotations

import re
import typing
from typing import Any

import msgspec

from inorder.codecs.payload import problem
from inorder.core.words import describe

SHOWN = 40
"""Most characters of a wrong value that a reason repeats."""


def explain(error: Exception, value: bytes, payload: Any) -> str:
    """What is wrong, and with which field, from whatever a decoder raised."""
    if isinstance(error, RecursionError):
        return f"{field_before(value, value.find(b'[' * 64))}: nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        start = _first_bad_byte(value)
        return f"{field_before(value, start)}: not UTF-8 at byte {start}"
    if isinstance(error, KeyError) and error.args:
        return f"{error.args[0]}: missing"
    if isinstance(error, msgspec.ValidationError):
        return _of_validation(str(error), value, payload)
    if isinstance(error, msgspec.DecodeError):
        byte = re.search(r"\(byte (\d+)\)", str(error))
        return f"{field_before(value, int(byte[1]) if byte else len(value))}: {error}"
    found = problem(error)
    if found is None:
        return f"value: {describe(error)}"
    name, text = found
    place = re.search(r" at line (\d+) column (\d+)", text)
    if place and not name:
        lines = value.split(b"\n")[: int(place[1])]
        before = b"\n".join([*lines[:-1], lines[-1][: int(place[2])]])
        name = field_before(before, len(before))
    return f"{name or 'value'}: {text}"


def _of_validation(text: str, value: bytes, payload: Any) -> str:
    missing = re.search(r"missing required field `(.+?)`", text)
    at = re.search(r" - at `\$\.?(.*?)`$", text)
    name = missing[1] if missing else at[1] if at and at[1] else "value"
    if name.startswith("[...]"):
        name = _entry_at_fault(value, payload)
    return f"{name}: {text}"


def _entry_at_fault(value: bytes, payload: Any) -> str:
    """The key of a mapping whose value cannot be decoded: msgspec names none."""
    entry = (*typing.get_args(payload), Any, Any)[1]
    try:
        entries = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        # More is wrong behind what was found first.
        return "value"
    for name, raw in entries.items():
        try:
            msgspec.json.decode(raw, type=entry)
        except msgspec.DecodeError:
            return name
    return "value"


def _first_bad_byte(value: bytes) -> int:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0


def field_before(value: bytes, byte: int) -> str:
    """The last key that begins before `byte`: the field that an unreadable place is in."""
    names = re.findall(rb'"([^"\\\x00-\x1f]{1,64})"\s*:', value[: max(0, byte)])
    return names[-1].decode("utf-8", "replace") if names else "value"


def shown(found: Any) -> str:
    """A wrong value, cut to `SHOWN` characters."""
    try:
        text = repr(found)
    except Exception:
        text = f"a {type(found).__name__}"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
