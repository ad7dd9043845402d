"""Compares the states that an arm has left in its store with the truth."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg

from bench import consumers
from bench.workload import Truth
from inorder.declaration import Kind, declaration_of
from inorder.wiring import open_store

NOTHING = -1
"""As a version: the handler's own table has no row of the entity."""

Found = Iterator[tuple[str, int, int | None]]


def wrong_states(program: str, consumer: str, url: str, truth: Truth) -> int:
    """How many entities are not as they should be."""
    if program not in {"inorder", "lone-inorder"}:
        return truth.wrong(query(url, "select entity, version, balance from bare"))
    return truth.wrong(_of_library(consumer, url))


def query(url: str, statement: str) -> Iterator[Any]:
    """The rows of a statement."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            yield from file.execute(statement)
    else:
        with psycopg.connect(url) as server:
            yield from server.execute(statement.encode())


def _of_library(consumer: str, url: str) -> Found:
    """Of a fold, version and state; of a handler with tx, its version and what it wrote; else the version alone."""
    declared = declaration_of(getattr(consumers, consumer))
    posted = dict(query(url, "select entity, balance from posted")) if declared.kind is Kind.TX else {}
    store = open_store(url, declared.name, create=False)
    try:
        for key, version, state in store.states():
            if declared.kind is Kind.TX:
                yield key, version if key in posted else NOTHING, posted.get(key)
            else:
                yield key, version, None if state is None else int(state)
    finally:
        store.close()
