"""A wrong declaration fails where it is made, and says what to write instead."""

from __future__ import annotations

import datetime
import functools
import pathlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import msgspec
import pydantic
import pytest

import inorder
from inorder.declaration import declaration_of


class Entry(msgspec.Struct):
    account: str
    version: int
    id: str
    amount: float = 0.0
    at: datetime.datetime | None = None
    final: bool = False
    parts: list[int] = []


@dataclass
class EntryClass:
    account: str
    version: int


class EntryDict(TypedDict):
    account: str
    version: int


class EntryModel(pydantic.BaseModel):
    account: str
    version: int


class OtherModel(EntryModel):
    more: int


class Other(msgspec.Struct):
    account: str


class Opaque:
    pass


class WithOpaque(msgspec.Struct):
    account: str
    version: int
    more: list[Opaque | None]


def good(entry: Entry) -> None: ...
def good_fold(state: int | None, entry: Entry) -> int:
    raise NotImplementedError


def good_tx(entry: Entry, tx: inorder.Transaction) -> None: ...
def good_batch(entries: list[Entry]) -> None: ...
def of_class(entry: EntryClass) -> None: ...
def of_dict(entry: EntryDict) -> None: ...
def of_model(entry: EntryModel) -> None: ...


def no_arguments() -> None: ...
def two_arguments(entry: Entry, other: int) -> None: ...
def no_type(entry) -> None: ...  # type: ignore[no-untyped-def]
def unknown_type(entry: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def broken_type(entry: "list[") -> None: ...  # type: ignore[valid-type]  # noqa: F722
def number(entry: int) -> None: ...
def maybe(entry: Entry | None) -> None: ...
def of_opaque(entry: Opaque) -> None: ...
def with_opaque(entry: WithOpaque) -> None: ...
def by_name(*, entry: Entry) -> None: ...
def variadic(*entries: Entry) -> None: ...
def keywords(**entries: Entry) -> None: ...
def tx_by_place(tx: inorder.Transaction, /, entry: Entry) -> None: ...
def tx_and_context(entry: Entry, tx: inorder.Transaction, context: inorder.Context) -> None: ...
def generator(entry: Entry) -> Iterator[None]:
    yield


async def async_generator(entry: Entry) -> AsyncIterator[None]:
    yield


def fold_of_one(entry: Entry) -> int:
    raise NotImplementedError


def fold_of_three(state: int | None, entry: Entry, other: int) -> int:
    raise NotImplementedError


def fold_without_return(state: int | None, entry: Entry): ...  # type: ignore[no-untyped-def]
def fold_to_none(state: int | None, entry: Entry) -> None: ...
def fold_from_something(state: int, entry: Entry) -> int:
    raise NotImplementedError


def fold_with_tx(state: int | None, entry: Entry, tx: inorder.Transaction) -> int:
    raise NotImplementedError


def fold_with_context(state: int | None, entry: Entry, context: inorder.Context) -> int:
    raise NotImplementedError


def fold_to_opaque(state: Opaque | None, entry: Entry) -> Opaque:
    raise NotImplementedError


def fold_to_path(state: pathlib.Path | None, entry: Entry) -> dict[str, pathlib.Path]:
    raise NotImplementedError


def fold_to_two_structs(state: Entry | Other | None, entry: Entry) -> Entry | Other:
    raise NotImplementedError


def fold_to_models(state: list[EntryModel] | None, entry: Entry) -> list[EntryModel]:
    raise NotImplementedError


def fold_to_two_models(state: EntryModel | OtherModel | None, entry: Entry) -> EntryModel | OtherModel:
    raise NotImplementedError


def of_two_models(entry: EntryModel | OtherModel) -> None: ...
def of_models(entry: dict[str, EntryModel]) -> None: ...


async def key_later(record: object) -> str:
    raise NotImplementedError


class Method:
    def handle(self, entry: Entry) -> None: ...


FIELDS = {"key": "account", "version": "version", "id": "id"}
BY_CALLABLES: dict[str, Any] = {"key": lambda record: "a", "version": lambda record: 1, "id": None}


def handler(function: object = good, **options: Any) -> Callable[[], object]:
    """A handler that is declared when the test calls for it."""
    return lambda: inorder.handler(**{**FIELDS, **options})(function)  # type: ignore[type-var]


def fold(function: object = good_fold, **options: Any) -> Callable[[], object]:
    """A fold that is declared when the test calls for it."""
    return lambda: inorder.fold(**{**FIELDS, **options})(function)  # type: ignore[type-var]


WRONG = {
    # the function
    "no function": (handler(7), "7 is not a function: decorate one that is written with def"),
    "a class": (handler(Opaque), "is not a function"),
    "a bound method": (handler(Method().handle), "is not a function"),
    "a partial": (handler(functools.partial(good)), "is not a function"),
    "a method": (handler(Method.handle), "takes 2 arguments; a call is written def f(event: Payload) -> None"),
    "a lambda": (handler(lambda entry: None), 'give name="…"'),
    "a named lambda": (handler(lambda entry: None, name="x"), "'entry' has no type"),
    "no arguments": (handler(no_arguments), "takes 0 arguments"),
    "two arguments": (handler(two_arguments), "takes 2 arguments"),
    "an argument by name": (handler(by_name), "'entry' is given by place: write def f(event: Payload) -> None"),
    "any number": (handler(variadic), "'entries' is given by place"),
    "any names": (handler(keywords), "'entries' is given by place"),
    "tx by place": (handler(tx_by_place), "'tx' is given by name: write def f(event: Payload, tx: inorder.Trans"),
    "tx and context": (handler(tx_and_context), "drop context, or drop tx"),
    "a generator": (handler(generator), "is a generator; a call has no yield"),
    "an async generator": (handler(async_generator), "is a generator"),
    "a fold of one": (fold(fold_of_one), "takes 1 arguments; a fold is written def f(state: State | None, event"),
    "a fold of three": (fold(fold_of_three), "takes 3 arguments"),
    "a fold with tx": (fold(fold_with_tx), "a fold is pure and takes neither tx nor context"),
    "a fold with context": (fold(fold_with_context), "or use @inorder.handler"),
    # the types
    "no type": (handler(no_type), "the argument 'entry' has no type"),
    "an unknown type": (handler(unknown_type), "'Nowhere' is not defined; define the payload type above"),
    "a broken type": (handler(broken_type), "its annotations cannot be read"),
    "a number": (handler(number), "names no field of the payload type int: it has no fields; use a msgspec.Struct"),
    "a payload or none": (handler(maybe), "it has no fields; use a msgspec.Struct"),
    "an opaque class": (handler(of_opaque), "the payload type Opaque cannot be read from JSON"),
    "an opaque class in a field": (handler(with_opaque), "Opaque is none of the types that msgspec knows"),
    "no state type": (fold(fold_without_return), "has no return type; a fold is written"),
    "no state": (fold(fold_to_none), "has no return type"),
    "a state that is always there": (fold(fold_from_something), "finds no state: write state: int | None"),
    "an opaque state": (fold(fold_to_opaque), "the state type Opaque cannot be read from JSON"),
    "a state of paths": (fold(fold_to_path), "Path is none of the types that msgspec knows"),
    "a state of two structs": (fold(fold_to_two_structs), "is not supported; use a msgspec.Struct"),
    "a state of models in a list": (fold(fold_to_models), "EntryModel is none of the types that msgspec knows"),
    "a state of two models": (fold(fold_to_two_models), "is not supported; use a msgspec.Struct"),
    "two models": (handler(of_two_models, **BY_CALLABLES), "is not supported; use a msgspec.Struct"),
    "models in a dict": (handler(of_models, **BY_CALLABLES), "EntryModel is none of the types that msgspec knows"),
    "a batch of one": (handler(good, batch=10), "with batch=10 the argument 'entry' is a list: write list[Payload]"),
    # the fields
    "no such key": (handler(key="acount"), "key='acount' is not a field of Entry, which has: account, version, id"),
    "no such version": (handler(version="v"), "version='v' is not a field of Entry"),
    "no such id": (handler(id="uuid"), "id='uuid' is not a field of Entry"),
    "no such key of a dataclass": (handler(of_class, key="x"), "is not a field of EntryClass, which has: account"),
    "no such key of a TypedDict": (handler(of_dict, key="x", id=None), "not a field of EntryDict, which has: account"),
    "no such key of a model": (handler(of_model, key="x", id=None), "not a field of EntryModel, which has: account"),
    "key None": (handler(key=None), "key=None must be a field name of the payload or a callable of the record"),
    "key an async function": (handler(key=key_later), "key= is given an async function"),
    "key of nothing": (handler(key=lambda: "a"), "key= is given a callable that takes no record (too many"),
    "id of two": (handler(id=lambda one, other: "a"), "id= is given a callable that takes no record (missing a"),
    "version of a name": (handler(version=lambda *, record: 1), "version= is given a callable that takes no record"),
    "key empty": (handler(key=""), "key='' must be a field name"),
    "key a number": (handler(key=1), "key=1 must be a field name"),
    "key the position": (handler(key=inorder.POSITION), "must be a field name"),
    "id the position": (handler(id=inorder.POSITION), "must be a field name"),
    "version None": (handler(version=None), "version=None must be a field name"),
    "key a float": (handler(key="amount"), "key='amount' is a float; it must be a text or a whole number (str, int)"),
    "key a time": (handler(key="at"), "it must be a text or a whole number (str, int)"),
    "key a truth value": (handler(key="final"), "key='final' is a bool"),
    "key a list": (handler(key="parts"), "key='parts' is a list[int]"),
    "id a float": (handler(id="amount"), "id='amount' is a float; it must be a text"),
    "version a text": (handler(version="id"), "version='id' is a str; it must be a whole number (int)"),
    "version a float": (handler(version="amount"), "or a callable of the record"),
    "version a truth value": (handler(version="final"), "version='final' is a bool"),
    # the options
    "no such order": (handler(order="sorted"), "write one of 'strict', 'latest', 'commutative', 'unguarded'"),
    "order None": (handler(order=None), "order=None is not an order"),
    "order a list": (handler(order=[]), "order=[] is not an order"),
    "the position under strict": (handler(version=inorder.POSITION), "goes with order='latest' only"),
    "a name with a space": (handler(name="a b"), "letters, digits, '.', '_' or '-'"),
    "an empty name": (handler(name=""), 'give name="…"'),
    "a long name": (handler(name="x" * 101), "must be 1 to 100 letters"),
    "a name that is a number": (handler(name=5), "the name 5 must be"),
    "a name with a line feed": (handler(name="a\n"), "the name 'a\\n' must be"),
    "a negative baseline": (handler(baseline=-1), "baseline=-1 must be a whole number, 0 or more"),
    "a fractional baseline": (handler(baseline=1.0), "baseline=1.0 must be"),
    "a huge baseline": (handler(baseline=2**63), "must be a whole number"),
    "a baseline that is true": (handler(baseline=True), "baseline=True must be"),
    "park=False under strict": (handler(park=False), "use order='latest' or drop park="),
    "park a text": (handler(park="no"), "park='no' must be True or False"),
    "batch zero": (handler(batch=0), "batch= takes a whole number, 1 or more"),
    "batch fractional": (handler(good_batch, batch=2.5), "batch= takes a whole number"),
    "batch with tx": (handler(good_tx, batch=2), "only for a handler without tx"),
    "retry a number": (handler(retry=3), "retry=3 must be an inorder.Retry: write retry=inorder.Retry(attempts=…)"),
    "limits a dict": (handler(limits={}), "limits={} must be an inorder.Limits: write limits=inorder.Limits("),
}


@pytest.mark.parametrize(("declare", "words"), WRONG.values(), ids=WRONG)
def test_it_fails_at_once_and_says_what_to_write(declare: Callable[[], object], words: str) -> None:
    with pytest.raises(inorder.UsageError) as failure:
        declare()
    assert words in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    "declare", [handler(), fold(), handler(good_tx), handler(good_batch, batch=2), handler(of_dict, id=None)]
)
def test_without_what_is_wrong_it_is_right(declare: Callable[[], object]) -> None:
    declaration_of(declare())  # type: ignore[arg-type]


def test_the_message_begins_with_the_function() -> None:
    with pytest.raises(inorder.UsageError, match=r"^good: key='x' is not a field"):
        handler(key="x")()


@pytest.mark.parametrize("function", [no_type, len, Opaque()])
def test_a_function_that_is_not_decorated_is_no_consumer(function: Any) -> None:
    with pytest.raises(inorder.UsageError, match=r"is not a consumer: decorate it with @inorder\.fold or @inorder\."):
        declaration_of(function)


@pytest.mark.parametrize("declare", [handler(), fold(), handler(good_tx)])
def test_what_is_wrapped_around_a_consumer_is_not_left_out_without_a_word(declare: Callable[[], Any]) -> None:
    inside = declare()

    @functools.wraps(inside)
    def around(*given: object, **named: object) -> object:
        return inside(*given, **named)

    with pytest.raises(inorder.UsageError, match=r"is wrapped by another decorator: put inorder's above that one"):
        declaration_of(around)


@pytest.mark.parametrize("kind", ["first", "second"])
def test_a_literal_may_be_a_key_and_not_a_version(kind: Literal["first", "second"]) -> None:
    class Of(msgspec.Struct):
        kind: Literal["first", "second"]
        number: Literal[1, 2]

    def consume(of: Of) -> None: ...

    inorder.handler(key="kind", version="number")(consume)
    with pytest.raises(inorder.UsageError, match="must be a whole number"):
        inorder.handler(key="number", version="kind")(consume)
