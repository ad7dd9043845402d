"""A good cluster, and the names of what a doctor finds in it."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

import inorder
from inorder.cli import main
from tests.services import KafkaCluster

_numbers = itertools.count()

Examine = Callable[..., dict[str, Any]]
Topic = Callable[..., str]


@pytest.fixture
def topic(kafka_three: KafkaCluster) -> Topic:
    """Makes a topic with three partitions, and a record of each of 30 keys. Gives its URL."""

    def make(partitions: int = 3, records: bool = True, **config: str | int) -> str:
        name = kafka_three.create_topic(f"doctor-{os.getpid()}-{next(_numbers)}", partitions, **config)
        url = f"kafka://{kafka_three.bootstrap}/{name}"
        if records:
            send(url)
        return url

    return make


def send(url: str) -> None:
    """A record of each of 30 keys, as inorder places them."""
    with inorder.Producer(url) as producer:
        for number in range(30):
            producer.send(f"key-{number}", b"{}")


@pytest.fixture
def examine(capsys: pytest.CaptureFixture[str]) -> Examine:
    """Runs the command; gives its document, with the exit code as "code" and the names of the findings as "found"."""

    def run(url: str, *options: object) -> dict[str, Any]:
        capsys.readouterr()
        code = main(["doctor", "--from", url, "--json", *map(str, options)])
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert code == (6 if document["findings"] else 5 if document["unknown"] else 0)
        return {**document, "code": code, "found": sorted({finding["check"] for finding in document["findings"]})}

    return run
