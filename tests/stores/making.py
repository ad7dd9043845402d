"""Short ways to say what is written and read in the tests of the stores."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from inorder.core.changes import Changes
from inorder.core.event import Partition, Record, fingerprint
from inorder.core.order import Order, Outcome
from inorder.core.rows import EntityRow, HeldRow, Letter, Reason
from inorder.core.waiting import Wait, Waiting
from inorder.errors import InorderError
from inorder.ports import Store
from inorder.wiring import open_store

HERE = Partition("orders", 0)
THERE = Partition("orders", 1)


def row(key: str, expected: int, version: int | None = None, **columns: object) -> EntityRow:
    """An entity at `version` (one more than the revision that is expected, unless given)."""
    values: dict[str, object] = {"ranges": b"", "recent": array("I", [7]).tobytes(), "state": b"{}", "waits": False}
    values |= columns
    return EntityRow(key, expected, expected + 1 if version is None else version, **values)  # type: ignore[arg-type]


def record(offset: int, value: bytes | None = b"value", partition: Partition = HERE) -> Record:
    return Record(partition, offset, b"key", value, (("trace", b"\x00\xff"), ("trace", b"")), 1_700_000_000_000)


def held(key: str, version: int, event_id: str | None = None, tally: int = 1, offset: int | None = None) -> HeldRow:
    event_id = event_id or f"{key}-{version}"
    at = version if offset is None else offset
    return HeldRow(key, version, event_id, fingerprint(event_id), Outcome.HELD, tally, record(at))


def gap(version: int, due_at: float = 50.0, home: Partition | None = HERE) -> Waiting:
    return Waiting(Wait.GAP, version, 1.5, due_at, home=home)


def parked(version: int, reason: str = "ValueError: no") -> Waiting:
    return Waiting(Wait.PARKED, version, 2.5, attempts=4, reason=reason, home=HERE)


def letter(offset: int, detail: str = "ValueError: no", value: bytes | None = b"value", **more: object) -> Letter:
    values: dict[str, object] = {
        "reason": Reason.FAILED,
        "key": "a",
        "version": 1,
        "event_id": "a-1",
        "attempts": 4,
        "first_at": 1.0,
        "last_at": 2.0,
    }
    return Letter(detail=detail, record=record(offset, value), **(values | more))  # type: ignore[arg-type]


def changes(
    tally: int = 1,
    held: Sequence[HeldRow] = (),
    released: Sequence[tuple[str, int]] = (),
    letters: Sequence[Letter] = (),
    waits: Mapping[str, Waiting | None] | None = None,
    counts: Mapping[str, int] | None = None,
) -> Changes:
    made = Changes(tally)
    made.held = {(each.key, each.version): each for each in held}
    made.released = set(released)
    made.letters = list(letters)
    made.waits = dict(waits or {})
    for name, n in (counts or {}).items():
        made.count(name, n)
    return made


def write(
    store: Store,
    rows: Sequence[EntityRow] = (),
    what: Changes | None = None,
    fences: Mapping[Partition, int] | None = None,
) -> None:
    """One transaction that writes this."""
    with store.transaction() as tx:
        tx.write(rows, changes() if what is None else what, fences or {})


def versions(store: Any) -> dict[str, int]:
    return {key: version for key, version, _ in store.states()}


def is_empty(store: Any) -> bool:
    """Whether there is nothing but entities."""
    return (
        not list(store.letters())
        and not store.counts()
        and not store.held_count()
        and not list(store.parked())
        and not store.due([HERE, THERE])
    )


def opened(url: str) -> Any:
    """A store as a worker opens it. It is for the caller to close."""
    store = open_store(url, "orders")
    store.register(Order.STRICT, 0)
    return store


def line_of(failure: pytest.ExceptionInfo[InorderError]) -> str:
    """What the user is told: one line."""
    text = str(failure.value)
    assert "\n" not in text
    return text
