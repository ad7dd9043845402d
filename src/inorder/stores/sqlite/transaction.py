"""One transaction on the file: the user's statements and inorder's rows. Never commits: the store does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import msgspec

from inorder.core.changes import Changes
from inorder.core.event import Partition
from inorder.core.rows import EntityRow
from inorder.errors import Fenced, Mismatch, Unreachable
from inorder.stores.letter_writing import LetterWrites
from inorder.stores.rows import Row, from_held, from_letter, from_waiting, outdated, plain_values
from inorder.stores.sqlite.connection import Connection
from inorder.stores.sqlite.many import Rows
from inorder.stores.sqlite.opening import SQL
from inorder.stores.sqlite.weather import ours, outage, theirs

ENTITIES = Rows("entities_write", blobs=(3, 4, 5), booleans=(6,))
PLAIN = Rows("entities_write", blobs=(4, 5), same={3: "x''", 6: "0"})
"""Those that have no ranges and wait for nothing, as most do."""
HELD, RELEASED = Rows("held_insert", blobs=(9, 10, 11)), Rows("held_delete")
WAITING, FLOWING = Rows("waiting_upsert", booleans=(7,)), Rows("waiting_delete")


class SqliteTransaction(LetterWrites):
    """See `inorder.ports.Transaction`. `execute` returns a `sqlite3.Cursor`."""

    def __init__(self, connection: Connection, path: str, stream: int) -> None:
        self._connection = connection
        self._path = path
        self._stream = stream
        self._depth = 0
        self.over: Exception | None = None
        """Why nothing more can be done: a write was refused, and with it all that came before is rolled back."""
        self.ending = False
        """Set while inorder itself ends the transaction, which nobody else may."""

    @property
    def connection(self) -> sqlite3.Connection:
        """SQLite's own connection, in this transaction. Do not commit or roll back on it."""
        return self._connection

    def execute(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        """Run one statement of the user's."""
        if self.over is not None:
            raise self.over
        if self._gone():
            # Else it would be committed by itself.
            raise sqlite3.OperationalError("a statement before this one has rolled the transaction back")
        try:
            cursor: sqlite3.Cursor = self._connection.execute(statement, parameters)
            return cursor
        except sqlite3.Error as error:
            if self._gone():
                self.over = outage(error, self._path)
            with theirs(self._path):
                raise

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """What fails inside is undone, and the rest of the transaction stays."""
        self._depth += 1
        name = f"inorder_{self._depth}"
        try:
            self.execute(f"SAVEPOINT {name}")
            try:
                yield
            except BaseException:
                if self.over is None and not self._gone():
                    # Whatever it is: an error of SQLite's may be that of another file, which the handler opened.
                    self.execute(f"ROLLBACK TO {name}")
                    self.execute(f"RELEASE {name}")
                    raise
                # Some errors (a full disk) have already rolled back everything.
                with theirs(self._path):
                    raise
            self.execute(f"RELEASE {name}")
        finally:
            self._depth -= 1

    def together(self) -> AbstractContextManager[None]:
        """Statements inside need not wait for one another: here they never have to."""
        return nullcontext()

    @property
    def spoiled(self) -> bool:
        """Whether an error has rolled the transaction back (a full disk does). Raises it where it is the store's."""
        if self.over is not None:
            raise self.over
        return self._gone()

    def check(self) -> None:
        """Nothing: SQLite checks foreign keys late at most, and those only where that was asked for."""

    def still_open(self) -> None:
        """Raises why nothing more can be done, where that is so."""
        if self.over is None and self._gone():
            self.over = Unreachable(f"store {self._path}: SQLite rolled back after an error")
        if self.over is not None:
            raise self.over

    def write(self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int]) -> None:
        """Write what was decided. Raises `Mismatch` or `Fenced` when somebody else got there first."""
        self.still_open()
        with ours(self._path):
            try:
                self._check(fences)
                self._compare_and_set(rows)
                self._write_held(changes)
                self._write_rest(changes)
            except (Mismatch, Fenced) as error:
                self.over = error
                raise

    def resolve_letter(self, number: int, status: str, note: str | None = None) -> bool:
        """Mark an open dead letter as resolved or skipped. False: it is not open, and nothing is changed."""
        values = {"stream": self._stream, "id": number, "status": status, "note": note}
        with ours(self._path):
            return bool(self._connection.run(SQL["letter_resolve"], values).rowcount == 1)

    def _run(self, statement: str, many: Sequence[Mapping[str, Any]]) -> tuple[int, list[Row]]:
        """See `LetterWrites`."""
        changed, rows = 0, []
        with ours(self._path):
            for values in many:
                cursor = self._connection.run(SQL[statement], {"stream": self._stream, **plain_values(values)})
                rows = cursor.fetchall()
                changed += max(cursor.rowcount, 0)
        return changed, rows

    def _gone(self) -> bool:
        return not self._connection.in_transaction

    def end(self, how: str) -> None:
        """COMMIT or ROLLBACK. Some errors have already rolled back."""
        if self._connection.in_transaction:
            self.ending = True
            # The comment keeps it apart from a COMMIT of the user's, which SQLite would otherwise know already.
            self._connection.execute(f"{how} /* inorder */")

    def _check(self, fences: Mapping[Partition, int]) -> None:
        if not fences:
            return
        rows = self._connection.run(SQL["fences"], (self._stream,))
        found = {Partition(topic, number): token for topic, number, token in rows}
        lost = [partition for partition, token in fences.items() if found.get(partition) != token]
        if lost:
            self.end("ROLLBACK")
            raise Fenced(lost)

    def _compare_and_set(self, rows: Sequence[EntityRow]) -> None:
        if not rows:
            return
        new, last = [row.expected for row in rows].count(0), self._last()
        others = [row for row in rows if row.ranges or row.waits]
        plain = [row for row in rows if not (row.ranges or row.waits)] if others else rows
        written = PLAIN.run(self._connection, self._stream, list(map(msgspec.structs.astuple, plain)))
        written += ENTITIES.run(self._connection, self._stream, list(map(msgspec.structs.astuple, others)))
        # The second tells of a row that was to be there, is not, and has just been put in.
        if written != len(rows) or self._last() - last != new:
            raise self._mismatch(rows)

    def _last(self) -> int:
        found: int = self._connection.run(SQL["entities_last"]).fetchone()[0]
        return found

    def _mismatch(self, rows: Sequence[EntityRow]) -> Mismatch:
        # Rolled back first: until then the rows that were written look like somebody else's.
        self.end("ROLLBACK")
        keys = msgspec.json.encode([row.key for row in rows]).decode()
        found = self._connection.run(SQL["entity_revisions"], {"stream": self._stream, "keys": keys})
        return Mismatch(outdated(rows, dict(found.fetchall())))

    def _write_held(self, changes: Changes) -> None:
        RELEASED.run(self._connection, self._stream, sorted(changes.released))
        held = [from_held(changes.held[place]) for place in sorted(changes.held)]
        if HELD.run(self._connection, self._stream, held) != len(held):
            self.end("ROLLBACK")
            raise Mismatch(sorted({key for key, *_ in held}))

    def _write_rest(self, changes: Changes) -> None:
        waits = sorted(changes.waits.items())
        FLOWING.run(self._connection, self._stream, [(key,) for key, waiting in waits if waiting is None])
        waiting = [from_waiting(key, waiting) for key, waiting in waits if waiting is not None]
        WAITING.run(self._connection, self._stream, waiting)
        run = self._connection.executemany
        if changes.letters:
            letters = [(self._stream, *from_letter(letter, changes.tally)) for letter in changes.letters]
            run(SQL["letter_upsert"], letters)
        counts = [(*at, n) for at, n in sorted(changes.counts.items()) if n]
        if counts:
            run(SQL["count_add"], counts)
