"""The PostgreSQL store: a schema in one database, for many processes. Never leaves a transaction open.

Several threads may use it at once, each with a connection of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import psycopg
from psycopg.pq import TransactionStatus

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Partition
from inorder.core.order import Order
from inorder.core.rows import EntityRow, HeldRow
from inorder.core.waiting import Waiting
from inorder.errors import Unreachable, UsageError
from inorder.stores.postgres.arrays import columns, integers, texts
from inorder.stores.postgres.connections import Connections, Link, address, end_sessions, label
from inorder.stores.postgres.opening import bring_up_to_date, statements_for
from inorder.stores.postgres.packed import Packed
from inorder.stores.postgres.transaction import PostgresTransaction
from inorder.stores.postgres.weather import LOCK_S, ours, theirs
from inorder.stores.reading import Reads
from inorder.stores.rows import Row, to_entity, to_held, to_waiting

UNKNOWN_S = 30.0
"""Longest time spent on finding out whether a lost commit took place. Past it, the entities' revisions will tell."""


class PostgresStore(Reads):
    """See `inorder.ports.Store`.

    `url` is `postgresql://user@host:port/database?schema=inorder`, other query keys are libpq's. `stream` may be ""
    for a look at what a store has. With `create=False`, a schema that is not there is an error.
    """

    works_elsewhere = True

    def __init__(self, url: str, stream: str, create: bool = True) -> None:
        at = address(url)
        self.name = at.name
        self.stream = stream
        self._sql = statements_for(at.schema)
        self._connections = Connections(at)
        self._stream = 0
        bring_up_to_date(self._connections, create)
        found = self._rows("stream_find", (stream,))
        self._stream = found[0][0] if found else 0

    @classmethod
    def from_url(cls, url: str, stream: str, create: bool = True) -> PostgresStore:
        """The same as the class itself."""
        return cls(url, stream, create)

    def register(self, order: Order, baseline: int) -> None:
        """Note the stream's declaration. Raises `UsageError` if it was written under another one."""
        with self._link() as link, ours(self.name):
            link.run(self._sql["stream_insert"], (self.stream, order.value, baseline))
            link.run(self._sql["commits_forget"])
        found = self._rows("stream_find", (self.stream,))[0]
        if found[1:] != (order.value, baseline):
            raise UsageError(
                f"stream {self.stream} of store {self.name} was written with order={found[1]}, "
                f"baseline={found[2]}, and is now declared with order={order.value}, baseline={baseline}: "
                f"declare it as it was, or give the consumer another name="
            )
        self._stream = found[0]

    def tally(self, worker: str) -> int:
        """A new row of counts for this worker's run; returns its number."""
        return int(self._rows("tally_insert", (self._stream, worker))[0][0])

    def beat(self, tally: int, partitions: Sequence[Partition] | None, events_per_s: float) -> bool:
        """Note that this worker lives."""
        has = None if partitions is None else msgspec.json.encode(partitions).decode()
        with self._link() as link, ours(self.name):
            link.run(self._sql["beat"], {"tally": tally, "partitions": has, "pace": events_per_s})
        return True

    def acquire(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Raise the fence of each partition: earlier owners are refused from now on. Returns the numbers.

        Waits for what earlier owners have under way. One that has stopped in the middle (a frozen process) is ended
        by the server.
        """
        try:
            return self._raise_fences(partitions)
        except Unreachable as error:
            if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                raise
        with self._link() as link, ours(self.name):
            frozen = link.run(self._sql["fence_breakers"], (LOCK_S / 2,)).fetchall()
            end_sessions(link, [name for (name,) in frozen])
        return self._raise_fences(partitions)

    def share(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The fences of partitions that have no owner, as they are."""
        with self._link() as link, ours(self.name), link.transaction():
            for partition in sorted(partitions):
                link.run(self._sql["fence_share"], (self._stream, *partition))
        return {partition: self.fence_of(partition) for partition in partitions}

    def load(self, keys: Sequence[str]) -> dict[str, Entity]:
        """Those of the entities that the store has, with what they wait for and which versions wait."""
        entities: dict[str, Entity] = {}
        for row in self._select("entities", keys=self._keys(keys)):
            entity = entities[row[0]] = to_entity(row)
            if row[6] is not None:
                entity.waiting = to_waiting(row[6:15])
            if row[15]:
                entity.held = dict(zip(row[15], row[16], strict=True))
        return entities

    def held(self, key: str, most: int) -> list[HeldRow]:
        """The waiting events of a key, lowest versions first."""
        return [to_held(key, row) for row in self._select("held_first", key=key, most=most)]

    def held_together(self, keys: Sequence[str], most: int) -> list[HeldRow]:
        """The waiting events of several keys, up to `most` of each, lowest versions of a key first."""
        rows = self._select("held_together", keys=self._keys(keys), most=most)
        return [to_held(row[0], row[1:]) for row in rows]

    def due(self, partitions: Sequence[Partition]) -> dict[str, Waiting]:
        """How keys wait that stopped in one of these partitions, where something is due at a certain time."""
        topics, numbers = columns((texts, integers), partitions)
        return {str(row[0]): to_waiting(row[1:]) for row in self._select("due", topics=topics, partitions=numbers)}

    def counts(self, tallies: Sequence[int] | None = None) -> dict[str, int]:
        """The sums of these rows of counts (of all of the stream, by default), by name."""
        if tallies is None:
            return dict(self._select("counts_all"))  # type: ignore[arg-type]
        return dict(self._select("counts_of", tallies=integers(tallies)))  # type: ignore[arg-type]

    def pack(self, rows: Sequence[EntityRow], changes: Changes) -> Sequence[EntityRow]:
        """The rows, with all columns that are written."""
        return Packed(rows, changes)

    def abandon(self) -> None:
        """From another thread: undo the open transactions and close, although the threads that use it hang."""
        with suppress(Unreachable, psycopg.Error):
            self._connections.end_sessions()
        self._connections.close()

    def close(self) -> None:
        """Release what is open."""
        self._connections.close()

    @contextmanager
    def transaction(self) -> Iterator[PostgresTransaction]:
        """A transaction that commits at the end of the block, or rolls back if the block raises."""
        with self._link() as link:
            transaction = PostgresTransaction(link, self.name, self._stream, self._sql)
            link.lent = True
            try:
                with theirs(self.name):
                    yield transaction
                if transaction.over is not None:
                    raise transaction.over
                if transaction.begun:
                    self._commit(link)
            finally:
                link.lent = False
                with suppress(psycopg.Error):
                    transaction.roll_back()

    def _commit(self, link: Link) -> None:
        if link.info.transaction_status is TransactionStatus.IDLE:
            raise UsageError("a handler's transaction is ended by inorder, and was ended from within")
        link.batch += 1
        try:
            with link.pipeline():
                link.run(self._sql["commit_mark"], (link.session, link.batch))
                link.turn("COMMIT")
        except psycopg.Error as error:
            if not link.closed:
                with theirs(self.name):
                    raise
            self._find_out(link, error)

    def _find_out(self, lost: Link, error: psycopg.Error) -> None:
        """The connection was lost in the middle of a commit: ask the server what became of it."""
        until = time.monotonic() + UNKNOWN_S
        while True:
            away = Unreachable(f"store {self.name}: a session that was lost does not end")
            try:
                with ours(self.name), self._connections.open() as link:
                    # As long as the old session is there, its commit may still happen.
                    if end_sessions(link, [label(lost.session)]):
                        found = link.run(self._sql["commit_read"], (lost.session,)).fetchone()
                        break
            except Unreachable as unreachable:
                away = unreachable
            if time.monotonic() > until:
                raise Unreachable(f"{away}; a commit was under way, and is looked up later") from error
            time.sleep(0.2)
        if found is None or found[0] != lost.batch:
            raise Unreachable(f"store {self.name}: the connection was lost, and nothing was committed") from error

    def _raise_fences(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        tokens: dict[Partition, int] = {}
        with self._link() as link, ours(self.name), link.transaction():
            for partition in sorted(partitions):
                raised = link.run(self._sql["fence_raise"], (self._stream, *partition))
                tokens[partition] = raised.fetchall()[0][0]
        return tokens

    @contextmanager
    def _link(self) -> Iterator[Link]:
        link = self._connections.take()
        try:
            yield link
        finally:
            self._connections.give(link)

    def _rows(self, statement: str, parameters: Any) -> list[Row]:
        with self._link() as link, ours(self.name):
            return link.run(self._sql[statement], parameters, binary=True).fetchall()

    def _select(self, statement: str, **parameters: Any) -> list[Row]:
        return self._rows(statement, {"stream": self._stream, **parameters})

    def _keys(self, keys: Sequence[str]) -> Any:
        return texts(keys)
