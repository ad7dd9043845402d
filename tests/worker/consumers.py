"""One consumer of each kind, sync and async. Each notes the versions it was given, in the way its kind has effects."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec

import inorder

FOLD, TX, CALL = "fold", "tx", "call"
KINDS = (FOLD, "async fold", TX, "async tx", CALL, "async call")

LEDGER = "CREATE TABLE IF NOT EXISTS ledger (n {counter} PRIMARY KEY, key TEXT, version BIGINT)"
INSERT = "INSERT INTO ledger (key, version) VALUES ({mark}, {mark})"


class Entry(msgspec.Struct):
    """The payload of every test: one event of one key."""

    key: str
    version: int
    id: str
    amount: int = 0


class Seen(msgspec.Struct):
    """The state of a fold: what it was given, in order."""

    versions: list[int]


Act = Callable[[Entry], Any]
"""What a test has a handler do before its effect. Async handlers await what it returns, if that can be awaited."""


def nothing(entry: Entry) -> None:
    """A handler that only has its effect."""


class Calls:
    """The effects of handlers without `tx`, which are elsewhere: here, in a list."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.made: list[tuple[str, int]] = []
        self.contexts: list[inorder.Context] = []

    def note(self, entry: Entry) -> None:
        with self._lock:
            self.made.append((entry.key, entry.version))

    def by_key(self) -> dict[str, list[int]]:
        found: defaultdict[str, list[int]] = defaultdict(list)
        for key, version in list(self.made):
            found[key].append(version)
        return dict(found)


def declare(kind: str, act: Act, note: Callable[[Entry], None], mark: str = "?", **options: Any) -> Callable[..., Any]:
    """A consumer of this kind. `note` takes the effects of a handler without `tx`; `mark` is a store's placeholder."""
    options = {"key": "key", "version": "version", "id": "id", "name": "stream", **options}
    insert = INSERT.format(mark=mark)

    async def acted(entry: Entry) -> None:
        await asyncio.sleep(0)
        result = act(entry)
        if asyncio.iscoroutine(result):
            await result

    def after(state: Seen | None, entry: Entry) -> Seen:
        return Seen([*(state.versions if state else ()), entry.version])

    if kind == FOLD:

        @inorder.fold(**options)
        def fold(state: Seen | None, entry: Entry) -> Seen:
            act(entry)
            return after(state, entry)

        return fold
    if kind == "async fold":

        @inorder.fold(**options)
        async def async_fold(state: Seen | None, entry: Entry) -> Seen:
            await acted(entry)
            return after(state, entry)

        return async_fold
    if kind == TX:

        @inorder.handler(**options)
        def post(entry: Entry, tx: inorder.Transaction) -> None:
            act(entry)
            tx.execute(insert, (entry.key, entry.version))

        return post
    if kind == "async tx":

        @inorder.handler(**options)
        async def async_post(entry: Entry, tx: inorder.AsyncTransaction) -> None:
            await acted(entry)
            await tx.execute(insert, (entry.key, entry.version))

        return async_post
    if kind == CALL:

        @inorder.handler(**options)
        def call(entry: Entry) -> None:
            act(entry)
            note(entry)

        return call
    assert kind == "async call", kind

    @inorder.handler(**options)
    async def async_call(entry: Entry) -> None:
        await acted(entry)
        note(entry)

    return async_call
