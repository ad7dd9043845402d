"""Brings the tables up to date. Never touches anything outside of inorder's schema."""

from __future__ import annotations

from functools import cache

from psycopg.rows import scalar_row

from inorder.errors import NotFound, UsageError
from inorder.stores.postgres.connections import Connections, Link
from inorder.stores.postgres.weather import ours
from inorder.stores.statements import migrations, statements

PACKAGE = "inorder.stores.postgres"

OLDEST = 140_000
"""The first PostgreSQL with all that the statements use."""

ENCODINGS = ("UTF8", "SQL_ASCII")
"""Those of a database that keep any text: the second takes bytes for what they are."""


@cache
def statements_for(schema: str) -> dict[str, str]:
    """Every statement, with the schema's name in it."""
    found = statements(PACKAGE, "statements.sql") | statements(PACKAGE, "letters.sql")
    return {name: text.replace("{schema}", f'"{schema}"') for name, text in found.items()}


def bring_up_to_date(connections: Connections, create: bool) -> None:
    """Make the tables, or bring an older schema's up to date; several processes may do so at once."""
    link = connections.open()
    try:
        with ours(connections.at.name):
            _bring_up_to_date(link, connections, create)
    finally:
        link.close()


def _bring_up_to_date(link: Link, connections: Connections, create: bool) -> None:
    at, sql, scripts = connections.at, statements_for(connections.at.schema), migrations(PACKAGE)
    if link.info.server_version < OLDEST:
        version = link.info.server_version // 10_000
        raise UsageError(f"inorder needs PostgreSQL {OLDEST // 10_000}, {at.name} is {version}")
    encoding = link.info.parameter_status("server_encoding")
    if encoding not in ENCODINGS:
        raise UsageError(f"store {at.name}: a database in {encoding} cannot keep every key: make one in UTF8")
    found = _version(link, sql, at.schema)
    if found == len(scripts):
        return
    if found == 0 and not create:
        raise NotFound(f"store {at.name}: there is no inorder schema {at.schema!r} in it")
    with link.transaction():
        link.execute(sql["schema_lock"], (at.schema,))
        # Asked again under the lock: another process may have been first.
        found = _version(link, sql, at.schema)
        if found > len(scripts):
            raise UsageError(
                f"store {at.name}: its schema is version {found}, this inorder knows up to {len(scripts)}: "
                f"use the newer inorder that wrote it"
            )
        if not link.execute(sql["schema_exists"], (at.schema,)).fetchall():
            link.execute(sql["schema_make"])
        link.execute(sql["schema_create"])
        for version, script in enumerate(scripts[found:], found + 1):
            link.execute(script.replace("{schema}", f'"{at.schema}"'))
            link.execute(sql["schema_insert"], (version,))


def _version(link: Link, sql: dict[str, str], schema: str) -> int:
    with link.cursor(row_factory=scalar_row) as cursor:
        if cursor.execute(sql["schema_found"], (schema,)).fetchone() is None:
            return 0
        return cursor.execute(sql["schema_version"]).fetchone() or 0
