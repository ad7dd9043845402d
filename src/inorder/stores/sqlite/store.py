"""The SQLite store: one file, several processes, one writer at a time. Never leaves a transaction open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Partition
from inorder.core.order import Order
from inorder.core.rows import EntityRow, HeldRow
from inorder.core.waiting import Waiting
from inorder.errors import Unreachable, UsageError
from inorder.stores.reading import Reads
from inorder.stores.rows import Row, to_entity, to_held, to_waiting
from inorder.stores.sqlite.connection import Connection
from inorder.stores.sqlite.opening import SQL, at_once, begin, open_file
from inorder.stores.sqlite.transaction import SqliteTransaction
from inorder.stores.sqlite.weather import ours, theirs

INTERRUPTED_S = 1.0
"""How long a call of SQLite may take to end that is interrupted."""


class SqliteStore(Reads):
    """See `inorder.ports.Store`. Any thread may use it, one at a time.

    `stream` may be "" for a look at what a store has. With `create=False`, a file that is not there is an
    error.
    """

    # A worker that is frozen in the middle of a transaction keeps the file from all others: handlers run before it.
    works_elsewhere = False

    def __init__(self, path: str, stream: str, create: bool = True) -> None:
        self.path = path
        self.stream = stream
        self._transaction: SqliteTransaction | None = None
        self._connection = open_file(path, create)
        self._connection.set_authorizer(self._authorize)
        with ours(path):
            found = self._connection.run(SQL["stream_find"], (stream,)).fetchone()
        self._stream = found[0] if found else 0

    @classmethod
    def from_url(cls, url: str, stream: str, create: bool = True) -> SqliteStore:
        """`sqlite:///relative.db` or `sqlite:////absolute.db`, as SQLAlchemy writes them."""
        parts = urlsplit(url)
        path = unquote(parts.path[1:])
        # What is in memory would be another store for each connection of a worker.
        nowhere = path in {"", ":memory:"} or "\0" in path
        if parts.scheme != "sqlite" or parts.netloc or nowhere or parts.query:
            raise UsageError(f"{url!r} names no file: write sqlite:///relative.db or sqlite:////absolute.db")
        return cls(path, stream, create)

    def register(self, order: Order, baseline: int) -> None:
        """Note the stream's declaration. Raises `UsageError` if it was written under another one."""
        with self._begin() as connection:
            found = connection.run(SQL["stream_find"], (self.stream,)).fetchone()
            if found is None:
                inserted = connection.run(SQL["stream_insert"], (self.stream, order.value, baseline))
                found = (inserted.lastrowid, order.value, baseline)
        if found[1:] != (order.value, baseline):
            raise UsageError(
                f"stream {self.stream} of store {self.path} was written with order={found[1]}, "
                f"baseline={found[2]}, and is now declared with order={order.value}, baseline={baseline}: "
                f"declare it as it was, or give the consumer another name="
            )
        self._stream = found[0]

    def tally(self, worker: str) -> int:
        """A new row of counts for this worker's run; returns its number."""
        with self._begin() as connection:
            return int(connection.run(SQL["tally_insert"], (self._stream, worker)).fetchall()[0][0])

    def beat(self, tally: int, partitions: Sequence[Partition] | None, events_per_s: float) -> bool:
        """Note that this worker lives. False: somebody else is writing; it is not waited for."""
        has = None if partitions is None else msgspec.json.encode(partitions).decode()
        with ours(self.path):
            values = {"tally": tally, "partitions": has, "pace": events_per_s}
            return at_once(self._connection, SQL["beat"], values)

    def acquire(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Raise the fence of each partition: earlier owners are refused from now on. Returns the numbers."""
        tokens: dict[Partition, int] = {}
        with self._begin() as connection:
            for partition in sorted(partitions):
                raised = connection.run(SQL["fence_raise"], (self._stream, *partition))
                tokens[partition] = raised.fetchall()[0][0]
        return tokens

    def share(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The fences of partitions that have no owner, as they are."""
        with self._begin() as connection:
            for partition in sorted(partitions):
                connection.run(SQL["fence_share"], (self._stream, *partition))
        return {partition: self.fence_of(partition) for partition in partitions}

    def load(self, keys: Sequence[str]) -> dict[str, Entity]:
        """Those of the entities that the store has, with what they wait for and which versions wait."""
        with self._snapshot():
            rows = self._select("entities", keys=self._keys(sorted(keys)))
            entities = {row[0]: to_entity(row) for row in rows}
            waiting = [row[0] for row in rows if row[6]]
            if waiting:
                self._load_waiting(entities, waiting)
        return entities

    def _load_waiting(self, entities: dict[str, Entity], keys: Sequence[str]) -> None:
        wanted = self._keys(keys)
        for row in self._select("waiting_of", keys=wanted):
            entities[row[0]].waiting = to_waiting(row[1:])
        for key, version, fingerprint in self._select("held_of", keys=wanted):
            entities[key].held[version] = fingerprint

    def held(self, key: str, most: int) -> list[HeldRow]:
        """The waiting events of a key, lowest versions first."""
        return [to_held(key, row) for row in self._select("held_first", key=key, most=most)]

    def held_together(self, keys: Sequence[str], most: int) -> list[HeldRow]:
        """The waiting events of several keys, up to `most` of each, lowest versions of a key first."""
        rows = self._select("held_together", keys=self._keys(keys), most=most)
        return [to_held(row[0], row[1:]) for row in rows]

    def due(self, partitions: Sequence[Partition]) -> dict[str, Waiting]:
        """How keys wait that stopped in one of these partitions, where something is due at a certain time."""
        found: dict[str, Waiting] = {}
        for topic, number in partitions:
            rows = self._select("due", topic=topic, partition=number)
            found.update((str(row[0]), to_waiting(row[1:])) for row in rows)
        return found

    def pack(self, rows: Sequence[EntityRow], changes: Changes) -> Sequence[EntityRow]:
        """The rows as they are."""
        return rows

    def abandon(self) -> None:
        """From another thread: undo the open transaction and close, although the thread that uses it hangs."""
        transaction, using = self._transaction, self._connection.using
        if transaction is not None:
            transaction.over = Unreachable(f"store {self.path}: abandoned")
        with suppress(sqlite3.Error):
            self._connection.interrupt()
        if not using.acquire(timeout=INTERRUPTED_S):
            # Nobody can take it from a call that does not end. Should it end, `over` is raised there.
            return
        try:
            with suppress(sqlite3.Error):
                if transaction is not None:
                    transaction.end("ROLLBACK")
            self._connection.lent = False
            with suppress(sqlite3.Error):
                self._connection.close()
        finally:
            using.release()

    def counts(self, tallies: Sequence[int] | None = None) -> dict[str, int]:
        """The sums of these rows of counts (of all of the stream, by default), by name."""
        if tallies is None:
            return dict(self._select("counts_all"))  # type: ignore[arg-type]
        return dict(self._select("counts_of", tallies=msgspec.json.encode(list(tallies)).decode()))  # type: ignore[arg-type]

    def close(self) -> None:
        """Release what is open."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        """A transaction that commits at the end of the block, or rolls back if the block raises."""
        with ours(self.path):
            begin(self._connection)
        transaction = self._transaction = SqliteTransaction(self._connection, self.path, self._stream)
        try:
            self._connection.lent = True
            with theirs(self.path):
                yield transaction
            transaction.still_open()
            with ours(self.path):
                transaction.end("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                transaction.end("ROLLBACK")
            raise
        finally:
            self._connection.lent = False
            self._transaction = None

    def _authorize(self, action: int, *_: object) -> int:
        """Refuses to end the transaction from within: a handler's executescript would, without saying so."""
        ours = self._transaction is None or self._transaction.ending
        return sqlite3.SQLITE_OK if ours or action != sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_DENY

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with self.transaction(), ours(self.path):
            yield self._connection

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """All reads inside see the same moment."""
        if self._connection.in_transaction:
            yield
            return
        with ours(self.path):
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                # As in `SqliteTransaction.end`: a handler's COMMIT would be taken for this one, which was allowed.
                self._connection.execute("COMMIT /* inorder */")

    def _select(self, statement: str, **parameters: Any) -> list[Row]:
        with ours(self.path):
            found = self._connection.run(SQL[statement], {"stream": self._stream, **parameters})
            rows: list[Row] = found.fetchall()
            return rows

    def _keys(self, keys: Sequence[str]) -> str:
        return msgspec.json.encode(list(keys)).decode()
