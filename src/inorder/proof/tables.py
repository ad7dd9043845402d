"""A real SQLite store in memory, with the user's own tables, that can be put back to where it was.

For handlers with `tx`: their statements run as they would, in the transaction that also writes the versions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from inorder.errors import UsageError
from inorder.stores.sqlite import SqliteStore

PAGE_BYTES = 512
"""Small pages make small snapshots: most tables have a few rows."""

Setup = Callable[[sqlite3.Connection], object]
"""Makes the user's tables, given a connection."""

_OURS = "inorder_%"


class TablesStore(SqliteStore):
    """One stream. `setup` makes the user's tables; without, handlers make them themselves."""

    def __init__(self, stream: str, setup: Setup | None = None) -> None:
        super().__init__(":memory:", stream)
        self._shelf = sqlite3.connect(":memory:")
        self._connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        self._connection.execute("VACUUM")
        if setup is not None:
            setup(self._connection)
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")

    def save(self) -> bytes:
        """Everything, to come back to."""
        return self._connection.serialize()

    def restore(self, saved: bytes) -> None:
        """Have again what was saved."""
        # Not put into the connection at once: SQLite would go on with statements that it prepared for other pages.
        self._shelf.deserialize(saved)
        self._shelf.backup(self._connection)

    def show(self, saved: bytes) -> None:
        """See `inorder.proof.memory.MemoryStore`."""
        self.restore(saved)

    def dump(self) -> str:
        """The rows of the user's tables, as text: equal texts are equal contents."""
        run = self._connection.execute
        names = run("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE ? ORDER BY 1", (_OURS,))
        found: dict[str, list[Any]] = {}
        for (name,) in names.fetchall():
            if not name.startswith("sqlite_"):
                quoted = name.replace('"', '""')
                found[name] = sorted(run(f'SELECT * FROM "{quoted}"').fetchall(), key=repr)
        return msgspec.json.encode({name: rows for name, rows in found.items() if rows}, enc_hook=repr).decode()

    def digest(self, now: float) -> Hashable:
        """What the store has, without what tells two ways to it apart: revisions, offsets, times, counts."""
        run = self._connection.execute
        return (
            self.dump(),
            *run("SELECT key, version, ranges, recent FROM inorder_entities ORDER BY key").fetchall(),
            *run(
                "SELECT key, why, version, CASE WHEN due_at = 0 THEN 0 ELSE round(due_at - ?, 3) END, "
                "attempts, missing FROM inorder_waiting ORDER BY key",
                (now,),
            ).fetchall(),
            *run("SELECT key, version, event_id FROM inorder_held ORDER BY key, version").fetchall(),
            *run(
                "SELECT key, version, event_id, reason, status FROM inorder_letters ORDER BY key, version, id"
            ).fetchall(),
        )


def copy_of(url: str) -> Setup:
    """Makes the tables, with their rows, that a SQLite store has beside inorder's own."""
    parts = urlsplit(url)
    path = unquote(parts.path[1:])
    if parts.scheme != "sqlite":
        raise UsageError(f"{url!r}: handlers with tx are proved on SQLite: write sqlite:///path.db")
    if not Path(path).is_file():
        raise UsageError(f"store {path}: there is no such file")

    def setup(connection: sqlite3.Connection) -> None:
        connection.execute("ATTACH ? AS given", (path,))
        made = connection.execute(
            "SELECT type, name, sql FROM given.sqlite_master "
            "WHERE sql IS NOT NULL AND tbl_name NOT LIKE ? AND name NOT LIKE 'sqlite_%' ORDER BY type = 'table' DESC",
            (_OURS,),
        ).fetchall()
        for kind, name, sql in made:
            connection.execute(sql)
            if kind == "table":
                quoted = name.replace('"', '""')
                connection.execute(f'INSERT INTO main."{quoted}" SELECT * FROM given."{quoted}"')
        connection.execute("DETACH given")

    return setup


def script(sql: str, name: str) -> Setup:
    """Makes the tables by these statements."""

    def setup(connection: sqlite3.Connection) -> None:
        try:
            connection.executescript(sql)
        except sqlite3.Error as error:
            raise UsageError(f"{name}: {error}") from None

    return setup
