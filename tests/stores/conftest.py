"""Where the stores of the tests are: each kind of store, in a place of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
