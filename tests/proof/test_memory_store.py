"""The store in memory passes the conformance suite of the stores, but for what that asks in SQL."""

from __future__ import annotations

from typing import Any

import pytest

from inorder.core.order import Order
from inorder.proof.memory import MemoryStore, Tables
from tests.stores import test_store_conformance, test_store_letters, test_store_waiting
from tests.stores.test_store_conformance import *  # noqa: F403
from tests.stores.test_store_letters import *  # noqa: F403
from tests.stores.test_store_waiting import *  # noqa: F403

IN_SQL = {"test_states_can_be_read_in_sql"}
for _name in IN_SQL:
    del globals()[_name]


class MemoryPlace:
    """Stores that share what they keep, as those of one URL do."""

    url = without_indexes = ""

    def __init__(self) -> None:
        self._streams: dict[str, Tables] = {}
        self._declared: dict[str, tuple[Order, int]] = {}

    def look(self, stream: str = "orders", create: bool = True) -> MemoryStore:
        tables = self._streams.setdefault(stream, Tables())
        tables.declared = self._declared
        return MemoryStore(stream, tables)

    def open(self, stream: str = "orders", order: Order = Order.STRICT, baseline: int = 0) -> Any:
        store = self.look(stream)
        store.register(order, baseline)
        return store


@pytest.fixture
def place() -> MemoryPlace:
    return MemoryPlace()


def test_the_whole_suite_is_here() -> None:
    for module in (test_store_conformance, test_store_letters, test_store_waiting):
        for name in vars(module):
            assert not name.startswith("test_") or name in globals() or name in IN_SQL


def test_a_snapshot_keeps_what_was() -> None:
    from tests.stores.making import changes, held, letter, row, write

    store = MemoryStore("orders")
    write(store, [row("a", 0, waits=True)], changes(held=[held("a", 5)]))
    before = store.tables.copy()
    write(store, [row("a", 1, waits=True)], changes(held=[held("a", 6)], letters=[letter(1)]))
    store.acquire([letter(1).record.partition])
    assert store.held_count() == 2
    store.tables = before
    assert store.held_count() == 1
    assert (list(store.states()), list(store.letters()), store.tables.fences) == ([("a", 1, b"{}")], [], {})
