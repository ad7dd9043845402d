"""The databases that outboxes are tested in, seen by the program whose events they are."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

import inorder


class Database:
    """A URL, and connections as a user's program opens them."""

    mark = ""
    """How a parameter is written."""

    def __init__(self, url: str) -> None:
        self.url = url

    def connect(self, **options: Any) -> Any:
        raise NotImplementedError

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """One transaction of the user's: committed at the end, or rolled back by an exception."""
        with closing(self.connect()) as connection, connection:
            yield connection

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(self.connect()) as connection:
            found: list[tuple[Any, ...]] = connection.execute(statement).fetchall()
            return found

    def events(self) -> list[tuple[Any, ...]]:
        """key, version, id, value of what the outbox has, published or not."""
        found = self.rows(f"SELECT key, version, id, value FROM {self.table('events')} ORDER BY key, version")
        return [(key, version, id, bytes(value)) for key, version, id, value in found]

    def table(self, name: str) -> str:
        raise NotImplementedError


class Sqlite(Database):
    mark = "?"

    def __init__(self, _: pytest.FixtureRequest, folder: Path) -> None:
        self.path = folder / "bank.db"
        super().__init__(f"sqlite:///{self.path}")
        with closing(self.connect()) as connection:
            connection.execute("PRAGMA journal_mode = WAL")

    def connect(self, **options: Any) -> Any:
        return sqlite3.connect(self.path, timeout=30, check_same_thread=False, **options)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with closing(self.connect()) as connection, connection:
            # As a program with several writers does: it waits for its turn here, and not in the middle.
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    def table(self, name: str) -> str:
        return f"inorder_outbox_{name}"


class Postgres(Database):
    mark = "%s"

    def __init__(self, request: pytest.FixtureRequest, _: Path) -> None:
        super().__init__(request.getfixturevalue("postgres_url"))

    @classmethod
    def at(cls, url: str) -> Self:
        """A database of that URL, with an outbox in it."""
        made = cls.__new__(cls)
        made.url = url
        inorder.Outbox(url).prepare()
        return made

    def connect(self, **options: Any) -> Any:
        return psycopg.connect(self.url, **options)

    def table(self, name: str) -> str:
        return f"inorder.outbox_{name}"


DATABASES: dict[str, Callable[[pytest.FixtureRequest, Path], Database]] = {"sqlite": Sqlite, "postgres": Postgres}
