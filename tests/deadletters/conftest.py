"""Benches whose letters can be replayed, for one kind of handler or for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inorder.worker import worker as loop
from tests.cli.conftest import inorder as command  # noqa: F401  # a fixture: `command("dlq", …)`
from tests.deadletters.replays import ReplayBench
from tests.worker.consumers import KINDS


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of a few events is at its end at once; and what a replay leaves behind is found soon."""
    monkeypatch.setattr(loop, "END_CHECK_S", 0.02)
    monkeypatch.setattr(loop, "POLL_S", 0.02)
    monkeypatch.setattr(loop, "OVERDUE_EVERY_S", 0.05)


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReplayBench]:
    """A topic, a store, and consumers of one kind. A test that uses it runs once for each kind.

    After every test: received is the sum of the outcomes, those that were replayed among them.
    """
    found = ReplayBench(tmp_path, request.param)
    yield found
    found.close()


def kinds(*chosen: str) -> pytest.MarkDecorator:
    """For a test that is about some kinds of handlers only."""
    return pytest.mark.parametrize("bench", chosen, indirect=True)
