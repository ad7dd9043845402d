"""The embedded broker's file: opening it, its statements, and its transactions.

It waits for other processes by trying again every millisecond, since SQLite's own wait grows to 100 ms and a
busy producer would starve heartbeats. It never waits for ever.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from inorder.errors import Unreachable, UsageError

APPLICATION_ID = 0x696E6F62
SCHEMA_VERSION = 1
_PATIENCE_S = 30.0
_RETRY_S = 0.001


def _statements() -> dict[str, str]:
    text = files("inorder.sources").joinpath("embedded.sql").read_text(encoding="utf-8")
    _, *parts = re.split(r"^-- (\w+): .*\n", text, flags=re.MULTILINE)
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


SQL = _statements()


class EmbeddedFile:
    """One connection to a broker file.

    `synchronous` is SQLite's. FULL: a commit is on the disk, as a producer needs who was told "kept". NORMAL
    means that a power cut may undo the last ones, which for offsets and heartbeats only means redelivery.
    """

    def __init__(
        self, path: str | Path, *, create: bool = False, synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
    ) -> None:
        self.path = Path(path)
        if not create and not self.path.is_file():
            raise Unreachable(f"no embedded broker at {self.path}: {_instead(self.path)}")
        if not self.path.parent.is_dir():
            raise Unreachable(f"cannot create an embedded broker at {self.path}: {self.path.parent} is no directory")
        mode = "rwc" if create else "rw"
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(str(self.path))}?mode={mode}",
                uri=True,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,  # called from one thread at a time, not always the same
            )
        except sqlite3.Error as error:
            raise Unreachable(f"cannot open the embedded broker at {self.path}: {error}") from error
        try:
            self._prepare(create)
            self._try(f"PRAGMA synchronous = {synchronous}")
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, create: bool) -> None:
        if create and self._pragma("application_id") == 0 and not self._pragma("schema_version"):
            self._try("PRAGMA journal_mode = WAL")
            schema = files("inorder.sources").joinpath("embedded_schema.sql").read_text(encoding="utf-8")
            with self.write():
                if self._pragma("application_id") == 0:  # nobody else was faster
                    for statement in schema.split(";\n"):
                        self._connection.execute(statement)
        if self._pragma("application_id") != APPLICATION_ID:
            raise UsageError(f"{self.path} is not an embedded broker: name another file, or one that is not there yet")
        if (version := self._pragma("user_version")) != SCHEMA_VERSION:
            raise UsageError(
                f"{self.path} has schema {version}, and this inorder knows {SCHEMA_VERSION}: "
                "use the inorder that wrote it, or a new file"
            )

    def _pragma(self, name: str) -> int:
        value: int = self._try(f"PRAGMA {name}").fetchone()[0]
        return value

    def data_version(self) -> int:
        """A number that changes when another connection has changed the file. Takes microseconds."""
        return self._pragma("data_version")

    def rows(self, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """All rows of the statement called `name`."""
        return self._try(SQL[name], parameters).fetchall()

    def rows_within(self, size: int, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of the statement called `name` until their values (third columns) reach `size`; never none."""
        found = []
        with closing(self._try(SQL[name], parameters)) as cursor:  # an open one would hold its snapshot
            for row in cursor:
                found.append(row)
                size -= len(row[2] or b"")
                if size <= 0:
                    break
        return found

    def value(self, name: str, *parameters: Any) -> Any:
        """The first column of the first row of the statement called `name`, or None."""
        found = self._try(SQL[name], parameters).fetchall()
        return found[0][0] if found else None

    def execute(self, name: str, *parameters: Any) -> sqlite3.Cursor:
        """Run the statement called `name`, inside `write()`."""
        return self._connection.execute(SQL[name], parameters)

    def execute_many(self, name: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run the statement called `name` for each row, inside `write()`."""
        self._connection.executemany(SQL[name], rows)

    @contextmanager
    def write(self) -> Iterator[None]:
        """One write transaction, which ends with the block: committed, or rolled back if it raises."""
        self._try("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if _is_trouble(error):
                raise Unreachable(f"the embedded broker at {self.path}: {error}") from error
            raise

    def _try(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        give_up_at = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return self._connection.execute(statement, parameters)
            except sqlite3.DatabaseError as error:
                if not _is_trouble(error):
                    raise
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise Unreachable(f"the embedded broker at {self.path}: {error}") from error
                if time.monotonic() > give_up_at:
                    raise Unreachable(
                        f"the embedded broker at {self.path} is locked: tried for {_PATIENCE_S:g} s"
                    ) from error
                time.sleep(_RETRY_S)

    def close(self) -> None:
        """Close the connection. Closing twice is harmless."""
        self._connection.close()


def _is_trouble(error: BaseException) -> bool:
    """Whether it is the file's fault (locked, full, damaged, not a database) and not the caller's."""
    return type(error) in (sqlite3.OperationalError, sqlite3.DatabaseError)


def _instead(path: Path) -> str:
    """What to do about a file that is not there. Who knows `sqlite:///relative.db` writes a slash too many here."""
    relative = path.relative_to("/") if path.is_absolute() else path
    if relative != path and relative.is_file():
        return f"a path in this directory is written with two slashes, embedded://{relative}/TOPIC"
    return f"create it with `inorder produce FILE --to embedded://{path}/TOPIC --key FIELD`"
