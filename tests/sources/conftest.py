"""Which sources the conformance suite runs on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sources.embedded_harness import embedded_harness
from tests.sources.harness import Harness

HARNESSES = [
    pytest.param(embedded_harness, id="embedded"),
]


@pytest.fixture(params=HARNESSES)
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    """A topic of one broker, with two partitions. A test that uses it runs once per broker."""
    with request.param(request) as made:
        yield made
