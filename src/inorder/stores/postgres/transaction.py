"""One transaction on the server: the user's statements and inorder's rows. Begun late, and never ended by a handler.

What inorder writes goes out in one pipeline, and costs one round trip together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from inorder.core.changes import Changes
from inorder.core.event import Partition
from inorder.core.rows import EntityRow
from inorder.errors import Fenced, Mismatch
from inorder.stores.letter_writing import LetterWrites
from inorder.stores.postgres.arrays import columns, integers, texts
from inorder.stores.postgres.connections import Link
from inorder.stores.postgres.packed import Packed
from inorder.stores.postgres.weather import ours, theirs
from inorder.stores.rows import Row, from_letter, outdated, plain_values

MOST_PARAMETERS = 65_535
"""The protocol's limit for a statement."""
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
IN_ERROR = int(TransactionStatus.INERROR)
"""Looked up for each event: in its enum it would take longer than the rest."""
_CHECK = """
SAVEPOINT inorder_check; SET CONSTRAINTS ALL IMMEDIATE;
ROLLBACK TO SAVEPOINT inorder_check; RELEASE SAVEPOINT inorder_check
"""
"""What undoes a savepoint undoes SET CONSTRAINTS too."""
Cursor = psycopg.Cursor[Any]


class PostgresTransaction(LetterWrites):
    """See `inorder.ports.Transaction`. `execute` returns a `psycopg.Cursor`; parameters are written `%s`."""

    def __init__(self, link: Link, name: str, stream: int, sql: Mapping[str, str]) -> None:
        self._link = link
        self._name = name
        self._stream = stream
        self._sql = sql
        self.begun = False
        self.over: Exception | None = None
        """Why nothing more can be done: a write was refused, and with it all that came before is rolled back."""

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """psycopg's own connection, in this transaction. Do not commit or roll back on it."""
        with theirs(self._name):
            self._begin()
        self._link.cursors.may_have_changed()
        return self._link

    def execute(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Cursor:
        """Run one statement of the user's."""
        if self.over is not None:
            raise self.over
        if parameters and len(parameters) > MOST_PARAMETERS:
            # libpq's refusal could not be told from a lost connection.
            raise psycopg.ProgrammingError(f"a statement takes up to {MOST_PARAMETERS:,} parameters")
        try:
            self._begin()
            return self._link.cursors.execute(statement, parameters or None)
        except psycopg.Error:
            with theirs(self._name):
                raise

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """What fails inside is undone, and the rest of the transaction stays."""
        failure: BaseException | None = None
        with theirs(self._name):
            self._begin()
            try:
                with self._link.transaction():
                    try:
                        yield
                    except BaseException as error:
                        failure = error
                        raise
            except BaseException as error:
                # An error of psycopg's may be that of another database, which the handler is connected to.
                if error is not failure or self._link.closed:
                    raise
        if failure is not None:
            raise failure

    @contextmanager
    def together(self) -> Iterator[None]:
        """Statements inside go out without waiting for one another; an error may come as late as the end."""
        failure: BaseException | None = None
        with theirs(self._name):
            self._begin()
            try:
                with self._link.pipeline():
                    # Kept back until the pipeline has ended, which would log what it makes of it as a second error.
                    try:
                        yield
                    except BaseException as error:
                        failure = error
            except psycopg.Error as error:
                if failure is None:
                    raise _why(error) from None
            if failure is not None:
                raise failure

    @property
    def spoiled(self) -> bool:
        """Whether a statement failed: the server then refuses all others until the transaction is rolled back."""
        return self._link.pgconn.transaction_status == IN_ERROR

    def check(self) -> None:
        """Have deferred constraints checked, and nothing else changed: not even that they are deferred."""
        with theirs(self._name):
            self._begin()
            self._link.run(_CHECK)

    def write(self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int]) -> None:
        """Write what was decided. Raises `Mismatch` or `Fenced` when somebody else got there first."""
        if self.over is not None:
            raise self.over
        packed = rows if isinstance(rows, Packed) else Packed(rows, changes)
        with ours(self._name):
            with self._link.pipeline():
                self._begin()
                owned = self._share(fences) if fences else None
                written = self._do("entities_write", **packed.entities) if rows else None
                kept = self._write_held(packed)
                self._write_rest(packed, changes)
            self._check(rows, changes, fences, owned, written, kept)

    def resolve_letter(self, number: int, status: str, note: str | None = None) -> bool:
        """Mark an open dead letter as resolved or skipped. False: it is not open, and nothing is changed."""
        with ours(self._name):
            self._begin()
            return self._do("letter_resolve", id=number, status=status, note=note).rowcount == 1

    def last_letter(self) -> int:
        """See `LetterWrites`. Here others may be writing letters, and are waited for."""
        self._run("letters_still", [{}])
        return super().last_letter()

    def _run(self, statement: str, many: Sequence[Mapping[str, Any]]) -> tuple[int, list[Row]]:
        """See `LetterWrites`."""
        with ours(self._name):
            with self._link.pipeline():
                self._begin()
                cursors = [self._do(statement, **plain_values(values)) for values in many]
            rows = cursors[-1].fetchall() if cursors and cursors[-1].description else []
            return sum(cursor.rowcount for cursor in cursors), rows

    def roll_back(self) -> None:
        """Undo all of it. A connection that is lost has nothing left to undo."""
        if not self._link.closed and self._link.info.transaction_status is not TransactionStatus.IDLE:
            self._link.turn("ROLLBACK")

    def _begin(self) -> None:
        if not self.begun:
            self._link.turn(BEGIN)
            self.begun = True

    def _do(self, statement: str, **parameters: Any) -> Cursor:
        return self._link.run(self._sql[statement], {"stream": self._stream, **parameters})

    def _share(self, fences: Mapping[Partition, int]) -> Cursor:
        topics, numbers = columns((texts, integers), sorted(fences))
        return self._do("fences", topics=topics, partitions=numbers)

    def _write_held(self, packed: Packed) -> Cursor | None:
        if packed.released:
            keys, versions = packed.released
            self._do("held_delete", keys=keys, versions=versions)
        return self._link.run(self._sql["held_insert"], (self._stream, *packed.held)) if packed.held else None

    def _write_rest(self, packed: Packed, changes: Changes) -> None:
        run, sql, stream = self._link.run, self._sql, self._stream
        if packed.over is not None:
            self._do("waiting_delete", keys=packed.over)
        if packed.waits:
            run(sql["waiting_upsert"], (stream, *packed.waits))
        for letter in changes.letters:
            run(sql["letter_upsert"], (stream, *from_letter(letter, changes.tally)))
        if packed.counts:
            run(sql["counts_add"], packed.counts)

    def _check(
        self,
        rows: Sequence[EntityRow],
        changes: Changes,
        fences: Mapping[Partition, int],
        owned: Cursor | None,
        written: Cursor | None,
        kept: Cursor | None,
    ) -> None:
        if owned is not None:
            found = {Partition(topic, number): token for topic, number, token in owned}
            lost = [partition for partition, token in fences.items() if found.get(partition) != token]
            if lost:
                self._refuse(Fenced(lost))
        if written is not None and written.fetchone() != (len(rows), sum(row.expected == 0 for row in rows)):
            self._refuse(None, rows)
        if kept is not None and kept.rowcount != len(changes.held):
            self._refuse(Mismatch(sorted({key for key, _ in changes.held})))

    def _refuse(self, error: Exception | None, rows: Sequence[EntityRow] = ()) -> None:
        # Rolled back first: until then the rows that were written look like somebody else's.
        self.roll_back()
        if error is None:
            keys = texts([row.key for row in rows])
            error = Mismatch(outdated(rows, dict(self._do("entity_revisions", keys=keys).fetchall())))
        self.over = error
        raise error


def _why(error: psycopg.Error) -> psycopg.Error:
    """A pipeline that cannot be left, as after a COPY by `execute`, hides why: else it looks like a lost connection."""
    before = error.__context__
    return before if type(error) is psycopg.OperationalError and isinstance(before, psycopg.Error) else error
