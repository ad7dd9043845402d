"""JSON to and from the user's own types: msgspec.Struct, dataclass, TypedDict, dict, and pydantic models."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Any

import msgspec


def decoder(kind: Any) -> Callable[[bytes], Any]:
    """A function from JSON bytes to a value of type `kind`."""
    model = model_of(kind)
    if model is not None:
        validate: Callable[[bytes], Any] = model.model_validate_json
        return validate
    return msgspec.json.Decoder(kind).decode


def encoder(kind: Any) -> Callable[[Any], bytes]:
    """A function from a value of type `kind` to JSON bytes."""
    if model_of(kind) is not None:
        return lambda value: value.model_dump_json().encode() if value is not None else b"null"
    return msgspec.json.Encoder().encode


def checker(kind: Any) -> tuple[type, ...]:
    """The classes that a value of type `kind` may have, for isinstance; `object` where they cannot be told."""
    if kind is Any:
        return (object,)
    if kind is None:
        return (type(None),)
    args = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if args and not isinstance(origin, type):
        found: tuple[type, ...] = ()
        for arg in args if origin is not typing.Annotated else args[:1]:
            found += checker(arg) if not isinstance(arg, str) else (object,)
        return found
    if origin is not None and origin.__name__ == "UnionType":
        return tuple(one for arg in args for one in checker(arg))
    if typing.is_typeddict(kind):
        return (dict,)
    if isinstance(origin, type):
        return (origin,)
    if kind is float:
        return (float, int)
    return (kind,) if isinstance(kind, type) else (object,)


def json_names(kind: Any, field: Any) -> tuple[str, ...]:
    """The names in JSON that a field of a pydantic model may have, with its aliases; none for any other type."""
    model = model_of(kind)
    if model is None or not isinstance(field, str):
        return ()
    alias = model.model_fields[field].validation_alias
    names = tuple(name for name in getattr(alias, "choices", [alias]) if isinstance(name, str))
    by_name = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
    return (*names, field) if by_name or not names else names


def problem(error: Exception) -> tuple[str, str] | None:
    """The field and the text of the first thing that a pydantic model complains of; None for any other error."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return None
    first = errors(include_url=False, include_context=False, include_input=False)[0]
    return ".".join(map(str, first["loc"])), str(first["msg"])


def model_of(kind: Any) -> Any:
    """The pydantic model that `kind` is (also in `Model | None`), or None. Pydantic itself is never imported here."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        others = [one for one in typing.get_args(kind) if one is not type(None)]
        kind = others[0] if len(others) == 1 else None
    return kind if isinstance(kind, type) and hasattr(kind, "model_validate_json") else None
