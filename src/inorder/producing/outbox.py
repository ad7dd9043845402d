"""`inorder.Outbox`: an event is added in the transaction that changes its entity, and gets its version there.

What it never does: publish. `inorder relay` does, from what is committed.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from inorder.errors import UsageError
from inorder.producing.channel import Headers
from inorder.producing.delivery import More, check_headers
from inorder.producing.outbox_tables import OutboxTables
from inorder.wiring import open_outbox

DEFAULT_NAME = "outbox"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Outbox:
    """Adds events to an outbox in the user's own database, PostgreSQL or SQLite.

    `url` is the database's, as `--store` takes it. `name` tells several outboxes of one database apart; each is
    published to one topic. `prepare` makes the tables; call it once, where a program sets its database up.

        outbox = inorder.Outbox("postgresql://localhost/bank")
        with psycopg.connect(…) as connection:
            connection.execute("UPDATE accounts …")
            outbox.add(connection, "A-1", {"account": "A-1", "amount": 5})

    The entity's next version is assigned under the lock of its row, which is held until the transaction ends: versions
    are dense, and commit in their order. An event that is refused has none, so the transaction may go on without it. A
    transaction that adds events of several entities should do so in the order of their keys, as with any locks.
    """

    def __init__(self, url: str, *, name: str = DEFAULT_NAME) -> None:
        if not _NAME.fullmatch(name):
            raise UsageError(f"the outbox name {name!r} must be 1 to 100 letters, digits, '.', '_' or '-'")
        self._tables: OutboxTables = open_outbox(url, name)

    def prepare(self) -> None:
        """Make the tables that are not there, on a connection of its own. Raises `Unreachable`."""
        try:
            self._tables.make()
        finally:
            self._tables.close()

    def add(self, connection: Any, key: str | int, event: Any, *, id: str | None = None, headers: More = None) -> int:
        """Add one event of an entity, in the transaction of `connection`; returns its version.

        `connection` is psycopg's, sqlite3's, or the `tx` of a handler. `event` is bytes, published as they are, or an
        object that becomes JSON with the fields `version` and `id` written in. Without `id`, the event's own `id`
        counts, or one made of key and version.
        """
        name = _checked(key, id, headers)
        self._tables.check(connection)
        self._event(name, 1, event, id, headers)  # refused before a version is given out: see the class
        sql = self._tables.sql
        try:
            version = _first(connection.execute(sql["version_next"], (self._tables.outbox, name)).fetchone())
            connection.execute(sql["event_add"], self._event(name, version, event, id, headers))
        except Exception as error:
            raise self._tables.explain(error) from error
        return version

    async def add_async(
        self, connection: Any, key: str | int, event: Any, *, id: str | None = None, headers: More = None
    ) -> int:
        """As `add`, on psycopg's `AsyncConnection`."""
        name = _checked(key, id, headers)
        self._tables.check(connection)
        self._event(name, 1, event, id, headers)  # refused before a version is given out: see the class
        sql = self._tables.sql
        try:
            cursor = await connection.execute(sql["version_next"], (self._tables.outbox, name))
            version = _first(await cursor.fetchone())
            await connection.execute(sql["event_add"], self._event(name, version, event, id, headers))
        except Exception as error:
            raise self._tables.explain(error) from error
        return version

    def _event(self, key: str, version: int, event: Any, id: str | None, headers: More) -> tuple[Any, ...]:
        more: Headers = tuple(headers.items()) if headers else ()
        if isinstance(event, bytes):
            return self._tables.event(key, version, id or f"{key}-{version}", event, more)
        try:
            fields = msgspec.to_builtins(event)
            if not isinstance(fields, dict):
                raise UsageError(f"an event is bytes or an object with fields, not {type(event).__name__}")
            found = fields.get("id")
            name = id or (found if isinstance(found, str) and found else f"{key}-{version}")
            value = msgspec.json.encode({**fields, "version": version, "id": name})
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            raise UsageError(f"the event cannot be encoded as JSON: {error}") from None
        return self._tables.event(key, version, name, value, more)


def _first(row: Any) -> int:
    """The one column of a row, whatever the caller's connection makes of rows."""
    if isinstance(row, dict):
        return int(row["version"])
    return int(row[0] if hasattr(row, "__getitem__") else row.version)


def _checked(key: str | int, id: str | None, headers: More) -> str:
    found = str(key)
    if not found or "\0" in found:
        raise UsageError("an event needs a key: the entity it belongs to, without the character NUL")
    try:
        f"{found}{id}".encode()
    except UnicodeEncodeError:
        raise UsageError("the key or the id of an event contains half of a surrogate pair") from None
    check_headers(headers)
    return found
