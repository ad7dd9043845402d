"""The kinds of store that the conformance suite runs over, and what differs between them for a test."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from inorder.core.order import Order
from inorder.wiring import open_store


class Place:
    """A URL that stores are opened at, and closed again at the end of the test."""

    opening = ""
    """The module that applies migrations."""
    mark = ""
    """How a parameter is written in a statement of the user's."""
    audit_table = ""
    states_view = ""
    extra_table = ""
    extra = ""
    """What a later release's migration could be."""
    without_indexes = ""
    """Added to the URL: what is not sorted then comes in the order in which it was written."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opened: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for store in self._opened:
            store.close()

    def look(self, stream: str = "orders", create: bool = True) -> Any:
        """A store as a tool opens it, without declaring anything."""
        store = open_store(self.url, stream, create=create)
        self._opened.append(store)
        return store

    def open(self, stream: str = "orders", order: Order = Order.STRICT, baseline: int = 0) -> Any:
        """A store as a worker opens it."""
        store = self.look(stream)
        store.register(order, baseline)
        return store


class SqlitePlace(Place):
    """A file in the test's own folder."""

    opening = "inorder.stores.sqlite.opening"
    mark = "?"
    audit_table = "inorder_audit"
    states_view = "inorder_states"
    extra_table = "inorder_extra"
    extra = "CREATE TABLE inorder_extra (n INTEGER)"

    def __init__(self, _: pytest.FixtureRequest, folder: Path) -> None:
        self.file = folder / "store.db"
        super().__init__(f"sqlite:///{self.file}")


class PostgresPlace(Place):
    """A schema of the test's own; the user's tables go there too."""

    opening = "inorder.stores.postgres.opening"
    mark = "%s"
    without_indexes = "%20-cenable_indexscan%3Doff%20-cenable_bitmapscan%3Doff"

    def __init__(self, request: pytest.FixtureRequest, _: Path) -> None:
        schema = f"test_{secrets.token_hex(6)}"
        self.audit_table = f"{schema}.audit"
        self.states_view = f"{schema}.states"
        self.extra_table = f"{schema}.extra"
        self.extra = f"CREATE TABLE {schema}.extra (n INTEGER)"
        database = request.getfixturevalue("store_database")
        super().__init__(f"{database}?schema={schema}&options=-csearch_path%3D{schema}")


KINDS: dict[str, Callable[[pytest.FixtureRequest, Path], Place]] = {"postgres": PostgresPlace, "sqlite": SqlitePlace}
