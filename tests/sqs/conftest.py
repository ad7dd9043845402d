"""Queues of one test each, on both servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from inorder.sources import sqs_contact
from inorder.worker import worker
from tests.cli.conftest import inorder, start
from tests.services.fifo import FifoServer
from tests.sqs.places import TestQueue, on_elasticmq, on_fifo
from tests.sqs.scene import Clock, Scene

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


@pytest.fixture(scope="session")
def clocked() -> Iterator[tuple[FifoServer, Clock]]:
    """The same server, on a clock that stands still unless a test moves it."""
    clock = Clock()
    with FifoServer(clock) as server:
        yield server, clock


@pytest.fixture
def scene(clocked: tuple[FifoServer, Clock], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A queue there. Clients are shared and try nothing twice; keys that nobody looks after are soon taken over."""
    monkeypatch.setattr(sqs_contact, "connect", lambda location, connections: one_client(str(location.endpoint)))
    monkeypatch.setattr(worker, "OVERDUE_EVERY_S", 0.1)
    monkeypatch.setattr(worker, "OTHERS_FIRST_S", 0.2)
    made = Scene(*clocked, tmp_path)
    yield made
    made.close()


@lru_cache
def one_client(endpoint: str) -> Any:
    config = Config(retries={"max_attempts": 0}, max_pool_connections=20)
    return boto3.client("sqs", endpoint_url=endpoint, region_name="us-east-1", config=config)


@pytest.fixture(params=["elasticmq", "rules"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes queues, on one server and then on the other."""
    if request.param == "elasticmq":
        sqs = request.getfixturevalue("sqs")
        return lambda visibility_s=30: on_elasticmq(sqs, visibility_s)
    server = request.getfixturevalue("fifo")
    return lambda visibility_s=30: on_fifo(server, visibility_s)
