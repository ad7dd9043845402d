"""Queues of one test each, on both servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import inorder, start
from tests.services.fifo import FifoServer
from tests.sqs.places import TestQueue, on_elasticmq, on_fifo

__all__ = ["inorder", "start"]

Make = Callable[..., TestQueue]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user has them. Without any, boto3 asks the cloud's own network."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(Path("none")))


@pytest.fixture(scope="session")
def fifo() -> Iterator[FifoServer]:
    """The server made from the rules, on the clock of the machine."""
    with FifoServer() as server:
        yield server


@pytest.fixture(params=["elasticmq", "rules"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes queues, on one server and then on the other."""
    if request.param == "elasticmq":
        sqs = request.getfixturevalue("sqs")
        return lambda visibility_s=30: on_elasticmq(sqs, visibility_s)
    server = request.getfixturevalue("fifo")
    return lambda visibility_s=30: on_fifo(server, visibility_s)
