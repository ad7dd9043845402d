"""What a consumer declares: which function, of which kind, over which payload, in which order.

A wrong declaration fails when its module is imported, and says what to write instead.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Callable
from enum import Enum, StrEnum
from typing import Any, TypeVar

import msgspec

from inorder.core.event import Record
from inorder.core.limits import Limits
from inorder.core.order import Order
from inorder.core.retry import Retry
from inorder.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])
Field = str | Callable[[Record], Any]


class _Position(Enum):
    POSITION = "position"


POSITION = _Position.POSITION
"""As `version=`: trust the broker's own order, and use the offset as the version.

What it loses: nothing tells an event that the producer sent out of order, and after a topic has grown, or a key has
moved to another partition, offsets of two partitions are compared that say nothing about each other.
"""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_MARK = "__inorder__"


class Kind(StrEnum):
    """The three kinds of handlers."""

    FOLD = "fold"
    """Pure: state and event to state. inorder keeps the state."""
    TX = "tx"
    """Writes the user's own tables, in the transaction that also records the version."""
    CALL = "call"
    """Effects elsewhere: in order, at least once."""


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """A declared consumer."""

    name: str
    function: Callable[..., Any]
    kind: Kind
    is_async: bool
    payload: Any
    state: Any = None
    key: Field
    version: Field | _Position
    id: Field | None
    order: Order
    baseline: int
    retry: Retry
    limits: Limits
    parks: bool
    batch: int = 1
    wants_context: bool = False


def fold(
    *,
    key: Field,
    version: Field | _Position,
    id: Field | None = None,
    order: str = "strict",
    name: str | None = None,
    baseline: int = 0,
    park: bool | None = None,
    retry: Retry | None = None,
    limits: Limits | None = None,
) -> Callable[[Function], Function]:
    """Declare a pure function `(state, event) -> state` as a consumer. inorder keeps the state of each entity.

    `key`, `version` and `id` are field names of the payload, or callables of the record. Without `id`, two deliveries
    are the same event when their bytes are the same. `order` is "strict", "latest", "commutative" or "unguarded".
    `baseline` is the version up to which entities are complete before the first event (0: the first version is 1).
    `park` says whether a key stops when one of its events is given up on: always under strict order.
    `name` names the stream in the store, and the consumer group; the function's name unless given.

    Raises `UsageError` when the declaration is wrong. The function itself stays as it is.
    """

    def declare(function: Function) -> Function:
        options = _Options(key, version, id, order, name, baseline, park, retry, limits, 1)
        return _mark(function, _declare(function, Kind.FOLD, options))

    return declare


def handler(
    *,
    key: Field,
    version: Field | _Position,
    id: Field | None = None,
    order: str = "strict",
    name: str | None = None,
    baseline: int = 0,
    park: bool | None = None,
    retry: Retry | None = None,
    limits: Limits | None = None,
    batch: int = 1,
) -> Callable[[Function], Function]:
    """Declare a function `(event)` as a consumer. The parameters are those of `fold`.

    With a parameter `tx` (an `inorder.Transaction`), its statements commit together with the event's version: exactly
    once. Without, its effects are elsewhere: in order, at least once; a parameter `context` (an `inorder.Context`)
    brings the idempotency key and the fence token that make them safe to repeat. With `batch=N` (only without `tx`)
    the function takes a list of up to N consecutive events of one key.

    Raises `UsageError` when the declaration is wrong. The function itself stays as it is.
    """

    def declare(function: Function) -> Function:
        options = _Options(key, version, id, order, name, baseline, park, retry, limits, batch)
        kind = Kind.TX if "tx" in inspect.signature(function).parameters else Kind.CALL
        return _mark(function, _declare(function, kind, options))

    return declare


def declaration_of(function: Callable[..., Any]) -> Declaration:
    """The declaration of a decorated function. Raises `UsageError` when it has none."""
    found = getattr(function, _MARK, None)
    if not isinstance(found, Declaration):
        name = getattr(function, "__name__", repr(function))
        raise UsageError(f"{name} is not a consumer: decorate it with @inorder.fold or @inorder.handler")
    return found


def is_consumer(found: object) -> bool:
    """Whether this is a decorated function."""
    return isinstance(getattr(found, _MARK, None), Declaration)


class _Options(typing.NamedTuple):
    key: Field
    version: Field | _Position
    id: Field | None
    order: str
    name: str | None
    baseline: int
    park: bool | None
    retry: Retry | None
    limits: Limits | None
    batch: int


def _mark(function: Function, declaration: Declaration) -> Function:
    setattr(function, _MARK, declaration)
    return function


def _declare(function: Callable[..., Any], kind: Kind, options: _Options) -> Declaration:
    where = getattr(function, "__qualname__", repr(function))

    def wrong(what: str) -> UsageError:
        return UsageError(f"{where}: {what}")

    name = options.name if options.name is not None else getattr(function, "__name__", "")
    if not _NAME.fullmatch(name):
        raise wrong(f"the name {name!r} must be 1 to 100 letters, digits, '.', '_' or '-'; give name=\"…\"")
    if options.order not in set(Order):
        raise wrong(f"order={options.order!r} is not an order; write one of {', '.join(map(repr, map(str, Order)))}")
    order = Order(options.order)
    if options.version is POSITION and order is not Order.LATEST:
        raise wrong(
            "version=inorder.POSITION has gaps and goes with order='latest' only; "
            "name a version field for any other order"
        )
    if type(options.baseline) is not int or options.baseline < 0:
        raise wrong(f"baseline={options.baseline!r} must be a whole number, 0 or more")
    if options.park is False and order is Order.STRICT:
        raise wrong("park=False would leave a hole that strict order never passes; use order='latest' or drop park=")
    if options.batch < 1 or (options.batch > 1 and kind is not Kind.CALL):
        raise wrong("batch= takes 1 or more, and only for a handler without tx")
    payload, state = _types(function, kind, options.batch, wrong)
    for role in ("key", "version", "id"):
        _check_field(role, getattr(options, role), payload, wrong)
    return Declaration(
        name=name,
        function=function,
        kind=kind,
        is_async=inspect.iscoroutinefunction(function),
        payload=payload,
        state=state,
        key=options.key,
        version=options.version,
        id=options.id,
        order=order,
        baseline=options.baseline,
        retry=options.retry or Retry(),
        limits=options.limits or Limits(),
        parks=order is not Order.UNGUARDED if options.park is None else options.park,
        batch=options.batch,
        wants_context="context" in inspect.signature(function).parameters,
    )


def _types(function: Callable[..., Any], kind: Kind, batch: int, wrong: Callable[[str], UsageError]) -> tuple[Any, Any]:
    """The payload type and, of a fold, the state type, from the annotations."""
    shape = {
        Kind.FOLD: "def f(state: State | None, event: Payload) -> State",
        Kind.TX: "def f(event: Payload, tx: inorder.Transaction) -> None",
        Kind.CALL: "def f(event: Payload) -> None",
    }[kind]
    named = [p for p in inspect.signature(function).parameters if p not in {"tx", "context"}]
    if len(named) != (2 if kind is Kind.FOLD else 1):
        raise wrong(f"takes {len(named)} arguments; a {kind} is written {shape}")
    # Two frames up is the decorator's caller: types declared inside a function are found there.
    local = sys._getframe(3).f_locals
    try:
        hints = typing.get_type_hints(function, localns=dict(local))
    except NameError as error:
        raise wrong(f"its annotations cannot be read: {error}; define the payload type above the function") from None
    payload = hints.get(named[-1])
    if payload is None:
        raise wrong(f"the argument {named[-1]!r} has no type; a {kind} is written {shape}")
    if batch > 1:
        if typing.get_origin(payload) is not list or len(typing.get_args(payload)) != 1:
            raise wrong(f"with batch={batch} the argument {named[-1]!r} is a list: write list[Payload]")
        payload = typing.get_args(payload)[0]
    if kind is not Kind.FOLD:
        return payload, None
    state = hints.get("return")
    if state is None or state is type(None):
        raise wrong(f"has no return type; a fold is written {shape}")
    return payload, state


def _check_field(role: str, field: Any, payload: Any, wrong: Callable[[str], UsageError]) -> None:
    if callable(field) or field is POSITION or (role == "id" and field is None):
        return
    if not isinstance(field, str):
        raise wrong(f"{role}={field!r} must be a field name of the payload or a callable of the record")
    names = field_names(payload)
    if names is not None and field not in names:
        raise wrong(f"{role}={field!r} is not a field of {payload.__name__}, which has: {', '.join(names)}")


def field_names(payload: Any) -> tuple[str, ...] | None:
    """The fields of a payload type; None when it is open (a dict)."""
    if isinstance(payload, type) and hasattr(payload, "model_fields"):
        return tuple(payload.model_fields)
    origin = typing.get_origin(payload) or payload
    if origin is dict or payload is Any:
        return None
    try:
        info = msgspec.inspect.type_info(payload)
    except TypeError as error:
        raise UsageError(f"the payload type {payload!r} cannot be decoded: {error}") from None
    fields = getattr(info, "fields", None)
    if fields is None:
        raise UsageError(
            f"the payload type {payload!r} has no fields; "
            "use a msgspec.Struct, dataclass, TypedDict, pydantic model or dict"
        )
    return tuple(field.name for field in fields)
