"""What the user's types tell before any event comes: their fields, and whether JSON can be read into them."""

from __future__ import annotations

import types
import typing
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from inorder.codecs.payload import decoder, model_of

TEXTS = (str, int, UUID, Enum)
"""What can stand for the text of a key or an id."""

_PLAIN = (dict, list, str, int, float, bool, type(None))
"""What JSON is read into where nothing more is asked: `object`, for one, is any of these."""


def unreadable(kind: Any) -> str | None:
    """Why JSON cannot be read into a type; None if it can."""
    if model_of(kind) is not None:
        return None
    try:
        decoder(kind)
        unknown = _custom_type(kind)
    except (TypeError, NameError) as error:
        return str(error)
    return None if unknown is None else f"{name_of(unknown)} is none of the types that msgspec knows"


def field_names(payload: Any) -> tuple[str, ...] | None:
    """The fields of a payload type; None when it is open (a dict). Raises TypeError when it has none."""
    if isinstance(payload, type) and hasattr(payload, "model_fields"):
        return tuple(payload.model_fields)
    if payload is Any or (typing.get_origin(payload) or payload) is dict:
        return None
    fields = getattr(msgspec.inspect.type_info(payload), "fields", None)
    if fields is None:
        raise TypeError("it has no fields")
    return tuple(field.name for field in fields)


def field_type(payload: Any, field: str) -> Any:
    """The type of a field; Any where it cannot be told."""
    try:
        return typing.get_type_hints(typing.get_origin(payload) or payload).get(field, Any)
    except (TypeError, NameError):
        return Any


def may_be(kind: Any, wanted: tuple[type, ...]) -> bool:
    """Whether a value of type `kind` may be of one of the classes wanted, as far as one can tell. No `bool` is."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return any(may_be(one, wanted) for one in typing.get_args(kind))
    if origin is typing.Literal:
        return any(may_be(type(one), wanted) for one in typing.get_args(kind))
    known = origin or kind
    if not isinstance(known, type) or known in (Any, object):
        return True
    return known is not bool and issubclass(known, wanted)


def name_of(kind: Any) -> str:
    """A type, as one would write it."""
    plain = isinstance(kind, type) and not typing.get_args(kind)
    return str(kind.__name__) if plain else str(kind).replace("typing.", "")


def _custom_type(kind: Any) -> Any:
    """A class somewhere in a type that msgspec does not know; None if there is none."""
    seen: set[int] = set()
    left: list[Any] = [msgspec.inspect.type_info(kind)]
    while left:
        one = left.pop()
        if isinstance(one, msgspec.inspect.CustomType) and not any(issubclass(plain, one.cls) for plain in _PLAIN):
            return one.cls
        if id(one) not in seen:
            seen.add(id(one))
            left += [getattr(one, name) for name in ("item_type", "key_type", "value_type") if hasattr(one, name)]
            left += [*getattr(one, "item_types", ()), *getattr(one, "types", ())]
            left += [field.type for field in getattr(one, "fields", ())]
    return None
