"""A right declaration says all that a worker needs, and leaves the function as it is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Generic, NewType, NotRequired, Optional, TypedDict, TypeVar

import msgspec
import pydantic
import pytest

import inorder
from inorder.codecs.json import JsonCodec
from inorder.core.event import MAX_VERSION, Event, Partition, Record, Slice
from inorder.core.order import Order
from inorder.declaration import Declaration, Kind, declaration_of

T = TypeVar("T")
Account = NewType("Account", str)


class Entry(msgspec.Struct):
    account: str
    version: int
    id: str
    amount: int = 0


@dataclass
class EntryClass:
    account: str
    version: int
    id: str


class EntryDict(TypedDict):
    account: str
    version: int
    id: NotRequired[str]


class EntryModel(pydantic.BaseModel):
    account: str
    version: pydantic.PositiveInt
    id: str


class EntryOf(msgspec.Struct, Generic[T]):
    account: Account
    version: Annotated[int, msgspec.Meta(ge=1)]
    id: Optional[str]  # noqa: UP045
    of: T


class Balance(msgspec.Struct):
    total: Decimal


FIELDS: dict[str, Any] = {"key": "account", "version": "version", "id": "id"}
VALUE = b'{"account":"a","version":3,"id":"i","amount":5,"of":1}'


def test_a_fold() -> None:
    @inorder.fold(key="account", version="version", id="id")
    def balance(state: Balance | None, entry: Entry) -> Balance:
        return Balance((state.total if state else Decimal()) + entry.amount)

    found = declaration_of(balance)
    assert (found.name, found.kind, found.is_async) == ("balance", Kind.FOLD, False)
    assert (found.payload, found.state) == (Entry, Balance)
    assert (found.key, found.version, found.id) == ("account", "version", "id")
    assert found.function is balance
    assert balance(Balance(Decimal(1)), Entry("a", 1, "i", 2)) == Balance(Decimal(3))


def test_a_handler_with_tx() -> None:
    @inorder.handler(**FIELDS)
    def post(entry: Entry, tx: inorder.Transaction) -> None: ...

    found = declaration_of(post)
    assert (found.kind, found.payload, found.state, found.wants_context) == (Kind.TX, Entry, None, False)


def test_a_handler_without_tx() -> None:
    @inorder.handler(**FIELDS)
    def notify(entry: Entry) -> None: ...

    found = declaration_of(notify)
    assert (found.kind, found.payload, found.state, found.wants_context) == (Kind.CALL, Entry, None, False)


def test_a_handler_with_context() -> None:
    @inorder.handler(**FIELDS)
    def notify(entry: Entry, *, context: inorder.Context) -> None: ...

    found = declaration_of(notify)
    assert (found.kind, found.wants_context) == (Kind.CALL, True)


def test_a_handler_of_a_batch() -> None:
    @inorder.handler(batch=10, **FIELDS)
    def notify(entries: list[Entry]) -> None: ...

    found = declaration_of(notify)
    assert (found.kind, found.payload, found.batch) == (Kind.CALL, Entry, 10)


def test_async_functions() -> None:
    @inorder.fold(**FIELDS)
    async def balance(state: int | None, entry: Entry) -> int:
        return (state or 0) + entry.amount

    @inorder.handler(**FIELDS)
    async def post(entry: Entry, tx: inorder.AsyncTransaction) -> None: ...

    @inorder.handler(**FIELDS)
    async def notify(entry: Entry) -> None: ...

    found = [declaration_of(function) for function in (balance, post, notify)]
    assert [(one.kind, one.is_async) for one in found] == [(Kind.FOLD, True), (Kind.TX, True), (Kind.CALL, True)]
    assert found[0].state is int
    assert asyncio.run(balance(1, Entry("a", 1, "i", 2))) == 3


def test_what_is_not_said_has_a_default() -> None:
    @inorder.handler(key="account", version="version")
    def notify(entry: Entry) -> None: ...

    found = declaration_of(notify)
    assert (found.id, found.order, found.baseline, found.parks, found.batch) == (None, Order.STRICT, 0, True, 1)
    assert (found.retry, found.limits) == (inorder.Retry(), inorder.Limits())


def test_what_is_said_is_kept() -> None:
    retry, limits = inorder.Retry(attempts=7), inorder.Limits(gap_s=1.0)

    @inorder.handler(order="latest", name="a.b_c-1", baseline=5, park=False, retry=retry, limits=limits, **FIELDS)
    def notify(entry: Entry) -> None: ...

    found = declaration_of(notify)
    assert (found.name, found.order, found.baseline, found.parks) == ("a.b_c-1", Order.LATEST, 5, False)
    assert (found.retry, found.limits) == (retry, limits)


@pytest.mark.parametrize(
    ("order", "park", "parks"),
    [
        ("strict", None, True),
        ("strict", True, True),
        ("latest", None, True),
        ("latest", False, False),
        ("commutative", None, True),
        ("commutative", False, False),
        ("unguarded", None, False),
        ("unguarded", True, True),
    ],
)
def test_a_key_stops_at_what_was_given_up_on_unless_the_order_needs_no_stop(
    order: str, park: bool | None, parks: bool
) -> None:
    @inorder.handler(order=order, park=park, **FIELDS)
    def notify(entry: Entry) -> None: ...

    assert declaration_of(notify).parks is parks


def declared(payload: Any, **options: Any) -> Declaration:
    """A handler of this payload."""

    def consume(entry: Any) -> None: ...

    consume.__annotations__["entry"] = payload
    return declaration_of(inorder.handler(**{**FIELDS, **options})(consume))


@pytest.mark.parametrize(
    "payload",
    [
        Entry,
        EntryClass,
        EntryDict,
        EntryModel,
        EntryOf[int],
        dict,
        dict[str, Any],
        dict[str, str | int],
        dict[str, object],
        Any,
    ],
    ids=str,
)
def test_every_kind_of_payload_is_read(payload: Any) -> None:
    found = declared(payload)
    assert found.payload == payload
    home = Partition("topic", 0)
    events, malformed = JsonCodec(found).read(Slice.of(home, [Record(home, 0, None, VALUE)]))
    assert malformed == []
    assert [(event.key, event.version, event.id) for event in events] == [("a", 3, "i")]
    assert isinstance(events[0], Event)


def test_key_version_and_id_may_be_callables() -> None:
    def of_record(record: Record) -> Any: ...

    found = declared(Entry, key=of_record, version=of_record, id=of_record)
    assert (found.key, found.version, found.id) == (of_record, of_record, of_record)


def test_with_callables_a_payload_needs_no_fields() -> None:
    def of_record(record: Record) -> Any: ...

    assert declared(list[int], key=of_record, version=of_record, id=None).payload == list[int]


def test_the_position_is_a_version_under_latest() -> None:
    assert declared(Entry, version=inorder.POSITION, order="latest").version is inorder.POSITION


def test_the_highest_baseline_leaves_room_for_one_version() -> None:
    assert declared(Entry, baseline=MAX_VERSION - 1).baseline == MAX_VERSION - 1


def test_types_declared_inside_a_function_are_found() -> None:
    class Local(msgspec.Struct):
        account: str
        version: int

    class State(msgspec.Struct):
        total: int

    @inorder.fold(key="account", version="version")
    def balance(state: State | None, entry: Local) -> State:
        raise NotImplementedError

    found = declaration_of(balance)
    assert (found.payload, found.state) == (Local, State)


def test_a_class_may_come_of_a_function_around_the_decorator() -> None:
    def declare(payload: type[msgspec.Struct]) -> Declaration:
        Payload = payload

        @inorder.handler(key="account", version="version")
        def consume(entry: Payload) -> None: ...  # type: ignore[valid-type]

        return declaration_of(consume)

    assert declare(Entry).payload is Entry


@pytest.mark.parametrize(
    "state", [int, str, dict[str, int], list[Entry], EntryDict, EntryModel, EntryModel | None, Any]
)
def test_every_kind_of_state_is_kept(state: Any) -> None:
    def fold(state: Any, entry: Entry) -> Any: ...

    fold.__annotations__ |= {"state": state | None, "return": state}
    found = declaration_of(inorder.fold(**FIELDS)(fold))
    assert found.state == state
