"""Where the stores of the tests are: each kind of store, in a place of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.services import Postgres
from tests.stores.places import KINDS, Place


@pytest.fixture(scope="session")
def store_database(postgres: Postgres) -> str:
    """One database for all of these tests: making one takes longer than most of them."""
    return postgres.fresh_database()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place for stores that nothing has been written to."""
    with KINDS[request.param](request, tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def weather_server() -> Iterator[Postgres]:
    """A server of these tests' own, to stop and start."""
    with Postgres() as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            # Else it syncs every file of the database, one by one, whenever it recovers.
            connection.execute("ALTER SYSTEM SET recovery_init_sync_method = 'syncfs'")
        yield server


@pytest.fixture
def url(weather_server: Postgres) -> Iterator[str]:
    """The server's one database, where inorder's schema and all else is gone after the test."""
    yield weather_server.url
    with psycopg.connect(weather_server.url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("ALTER DATABASE postgres RESET default_transaction_read_only")
        connection.execute('DROP SCHEMA IF EXISTS inorder, "Größe_1", public CASCADE')
        connection.execute("CREATE SCHEMA public")
