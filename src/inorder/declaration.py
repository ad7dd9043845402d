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

from inorder.codecs.types import TEXTS, field_names, field_type, may_be, name_of, unreadable
from inorder.core.event import MAX_VERSION, Record
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

Wrong = Callable[[str], UsageError]
"""Makes the error that says what to write instead."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_MARK = "__inorder__"
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Kind(StrEnum):
    """The three kinds of handlers."""

    FOLD = "fold"
    """Pure: state and event to state. inorder keeps the state."""
    TX = "tx"
    """Writes the user's own tables, in the transaction that also records the version."""
    CALL = "call"
    """Effects elsewhere: in order, at least once."""


_SHAPES = {
    Kind.FOLD: "def f(state: State | None, event: Payload) -> State",
    Kind.TX: "def f(event: Payload, tx: inorder.Transaction) -> None",
    Kind.CALL: "def f(event: Payload) -> None",
}


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

    @property
    def in_threads(self) -> bool:
        """Whether threads call it, many at once."""
        return self.kind is Kind.CALL and not self.is_async


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
        _check_function(function)
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
        _check_function(function)
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
    if found.function is not function:
        # functools.wraps has copied the mark of the function inside, which would be called without what is around it.
        raise UsageError(f"{found.function.__qualname__} is wrapped by another decorator: put inorder's above that one")
    return found


def is_consumer(found: object) -> bool:
    """Whether this is a decorated function."""
    return isinstance(getattr(found, _MARK, None), Declaration)


class _Options(typing.NamedTuple):
    key: Field
    version: Field | _Position
    id: Field | None
    order: str
    name: Any
    baseline: int
    park: bool | None
    retry: Retry | None
    limits: Limits | None
    batch: int


def _mark(function: Function, declaration: Declaration) -> Function:
    setattr(function, _MARK, declaration)
    return function


def _check_function(function: object) -> None:
    if not inspect.isfunction(function):
        raise UsageError(f"{function!r} is not a function: decorate one that is written with def")


def _declare(function: Callable[..., Any], kind: Kind, options: _Options) -> Declaration:
    def wrong(what: str) -> UsageError:
        return UsageError(f"{function.__qualname__}: {what}")

    order = _checked(options, kind, wrong)
    name = function.__name__ if options.name is None else options.name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise wrong(f"the name {name!r} must be 1 to 100 letters, digits, '.', '_' or '-'; give name=\"…\"")
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


def _checked(options: _Options, kind: Kind, wrong: Wrong) -> Order:
    if options.order not in list(Order):
        raise wrong(f"order={options.order!r} is not an order; write one of {', '.join(map(repr, map(str, Order)))}")
    order = Order(options.order)
    if options.version is POSITION and order is not Order.LATEST:
        raise wrong(
            "version=inorder.POSITION has gaps and goes with order='latest' only; "
            "name a version field for any other order"
        )
    if type(options.baseline) is not int or not 0 <= options.baseline < MAX_VERSION:
        raise wrong(f"baseline={options.baseline!r} must be a whole number, 0 or more")
    if not isinstance(options.park, bool | None):
        raise wrong(f"park={options.park!r} must be True or False")
    if options.park is False and order is Order.STRICT:
        raise wrong("park=False would leave a hole that strict order never passes; use order='latest' or drop park=")
    if type(options.batch) is not int or options.batch < 1 or (options.batch > 1 and kind is not Kind.CALL):
        raise wrong("batch= takes a whole number, 1 or more, and only for a handler without tx")
    if not isinstance(options.retry, Retry | None):
        raise wrong(f"retry={options.retry!r} must be an inorder.Retry: write retry=inorder.Retry(attempts=…)")
    if not isinstance(options.limits, Limits | None):
        raise wrong(f"limits={options.limits!r} must be an inorder.Limits: write limits=inorder.Limits(gap_s=…)")
    return order


def _types(function: Callable[..., Any], kind: Kind, batch: int, wrong: Wrong) -> tuple[Any, Any]:
    """The payload type and, of a fold, the state type, from the annotations."""
    shape = _SHAPES[kind]
    named = _parameters(function, kind, wrong)
    # Three frames up is where the decorator is applied: types declared inside a function are found there.
    local = sys._getframe(3).f_locals
    try:
        hints = typing.get_type_hints(function, localns=dict(local))
    except Exception as error:
        raise wrong(f"its annotations cannot be read: {error}; define the payload type above the function") from None
    payload = hints.get(named[-1])
    if payload is None:
        raise wrong(f"the argument {named[-1]!r} has no type; a {kind} is written {shape}")
    if batch > 1:
        if typing.get_origin(payload) is not list or len(typing.get_args(payload)) != 1:
            raise wrong(f"with batch={batch} the argument {named[-1]!r} is a list: write list[Payload]")
        payload = typing.get_args(payload)[0]
    _check_type(payload, "payload", wrong)
    if kind is not Kind.FOLD:
        return payload, None
    state, before = hints.get("return"), hints.get(named[0], Any)
    if state is None or state is type(None):
        raise wrong(f"has no return type; a fold is written {shape}")
    _check_type(state, "state", wrong)
    if not may_be(before, (type(None),)):
        raise wrong(f"the first event of a key finds no state: write {named[0]}: {name_of(before)} | None")
    return payload, state


def _parameters(function: Callable[..., Any], kind: Kind, wrong: Wrong) -> list[str]:
    """The names of the parameters that are given by place. `tx` and `context` are given by name."""
    shape, parameters = _SHAPES[kind], inspect.signature(function).parameters
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise wrong(f"is a generator; a {kind} has no yield, and is written {shape}")
    if kind is Kind.FOLD and not parameters.keys().isdisjoint({"tx", "context"}):
        raise wrong(f"a fold is pure and takes neither tx nor context: write {shape}, or use @inorder.handler")
    if kind is Kind.TX and "context" in parameters:
        raise wrong("statements on tx take effect once by themselves: drop context, or drop tx for effects elsewhere")
    named = [name for name in parameters if name not in {"tx", "context"}]
    if len(named) != (2 if kind is Kind.FOLD else 1):
        raise wrong(f"takes {len(named)} arguments; a {kind} is written {shape}")
    for name, parameter in parameters.items():
        if parameter.kind not in (_BY_PLACE if name in named else _BY_NAME):
            raise wrong(f"the argument {name!r} is given by {'place' if name in named else 'name'}: write {shape}")
    return named


def _check_callable(role: str, field: Callable[..., Any], wrong: Wrong) -> None:
    if inspect.iscoroutinefunction(field):
        raise wrong(f"{role}= is given an async function; a callable of the record is written with def")
    try:
        inspect.signature(field).bind(None)
    except ValueError:
        return  # a built-in one that does not say what it takes
    except TypeError as error:
        raise wrong(f"{role}= is given a callable that takes no record ({error}): it takes one argument") from None


def _check_type(kind: Any, what: str, wrong: Wrong) -> None:
    why = unreadable(kind)
    if why is not None:
        raise wrong(
            f"the {what} type {name_of(kind)} cannot be read from JSON: {why}; "
            "use a msgspec.Struct, dataclass, TypedDict, pydantic model or dict"
        )


def _check_field(role: str, field: Any, payload: Any, wrong: Wrong) -> None:
    if callable(field):
        _check_callable(role, field, wrong)
        return
    if (role == "version" and field is POSITION) or (role == "id" and field is None):
        return
    if not isinstance(field, str) or not field:
        raise wrong(f"{role}={field!r} must be a field name of the payload or a callable of the record")
    try:
        names = field_names(payload)
    except TypeError as error:
        raise wrong(
            f"{role}={field!r} names no field of the payload type {name_of(payload)}: {error}; "
            "use a msgspec.Struct, dataclass, TypedDict, pydantic model or dict"
        ) from None
    if names is not None and field not in names:
        raise wrong(f"{role}={field!r} is not a field of {name_of(payload)}, which has: {', '.join(names)}")
    found = field_type(payload, field)
    if not may_be(found, (int,) if role == "version" else TEXTS):
        what = "a whole number (int)" if role == "version" else "a text or a whole number (str, int)"
        raise wrong(f"{role}={field!r} is a {name_of(found)}; it must be {what}, or a callable of the record")
