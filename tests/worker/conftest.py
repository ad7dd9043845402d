"""Benches for one kind of handler or for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inorder.worker import worker as loop
from tests.worker.bench import Bench
from tests.worker.consumers import KINDS
from tests.worker.scripted import ScriptedGroup, ScriptedTopic


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """An event loop that was abandoned leaves coroutines that never began. They are collected whenever it pleases."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            never_began = "ignore:coroutine '(LaneWork|Deciding|Commits|Waking):RuntimeWarning"
            item.add_marker(pytest.mark.filterwarnings(never_began))


@pytest.fixture(autouse=True)
def _quick_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of a few events is at its end at once: look more often than a stream of millions needs."""
    monkeypatch.setattr(loop, "END_CHECK_S", 0.02)
    monkeypatch.setattr(loop, "POLL_S", 0.02)


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A topic, a store, and consumers of one kind. A test that uses it runs once for each kind.

    After every test: received is the sum of the outcomes.
    """
    found = Bench(tmp_path, request.param)
    yield found
    found.close()


@pytest.fixture
def topic() -> ScriptedTopic:
    return ScriptedTopic(partitions=2)


@pytest.fixture
def group(topic: ScriptedTopic) -> ScriptedGroup:
    return topic.group()


def kinds(*chosen: str) -> pytest.MarkDecorator:
    """For a test that is about some kinds of handlers only."""
    return pytest.mark.parametrize("bench", chosen, indirect=True)
