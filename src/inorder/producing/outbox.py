"""`inorder.Outbox`: an event is added in the transaction that changes its entity, and gets its version there.

What it never does: publish. `inorder relay` does, from what is committed.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from inorder.errors import UsageError
from inorder.producing.delivery import More, headers_of, id_text, key_text
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
        self._tables.check(connection)
        given, sql = Given(key, event, id, headers), self._tables.sql
        try:
            version = _first(connection.execute(sql["version_next"], (self._tables.outbox, given.key)).fetchone())
            connection.execute(sql["event_add"], self._parameters(given, version))
        except Exception as error:
            raise self._tables.explain(error) from error
        return version

    async def add_async(
        self, connection: Any, key: str | int, event: Any, *, id: str | None = None, headers: More = None
    ) -> int:
        """As `add`, on psycopg's `AsyncConnection`."""
        self._tables.check(connection)
        given, sql = Given(key, event, id, headers), self._tables.sql
        try:
            cursor = await connection.execute(sql["version_next"], (self._tables.outbox, given.key))
            version = _first(await cursor.fetchone())
            await connection.execute(sql["event_add"], self._parameters(given, version))
        except Exception as error:
            raise self._tables.explain(error) from error
        return version

    def _parameters(self, given: Given, version: int) -> tuple[Any, ...]:
        event_id = given.id or f"{given.key}-{version}"
        return self._tables.event(given.key, version, event_id, given.value(version, event_id), given.headers)


class Given:
    """An event that can be added. Raises `UsageError` before a version is assigned, which would stay without its event
    where the caller goes on after the error.
    """

    def __init__(self, key: str | int, event: Any, id: str | None, headers: More) -> None:
        self.key = key_text(key)
        if not self.key or "\0" in self.key:
            raise UsageError("an event needs a key: the entity it belongs to, without the character NUL")
        self.headers = headers_of(None, None, headers)
        self._bytes = event if isinstance(event, bytes) else None
        self._fields = _fields(event) if self._bytes is None else {}
        if id is None and self._fields.get("id") != "":
            id = self._fields.get("id")
        self.id = None if id is None else id_text(id)

    def value(self, version: int, event_id: str) -> bytes:
        """What is published."""
        if self._bytes is not None:
            return self._bytes
        return msgspec.json.encode({**self._fields, "version": version, "id": event_id})


def _fields(event: Any) -> dict[str, Any]:
    try:
        fields = msgspec.to_builtins(event)
        msgspec.json.encode(fields)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise UsageError(f"the event cannot be encoded as JSON: {error}") from None
    if not isinstance(fields, dict):
        raise UsageError(f"an event is bytes or an object with fields, not {type(event).__name__}")
    return fields


def _first(row: Any) -> int:
    """The one column of a row, whatever the caller's connection makes of rows."""
    if isinstance(row, dict):
        return int(row["version"])
    return int(row[0] if hasattr(row, "__getitem__") else row.version)
