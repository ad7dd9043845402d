"""The embedded broker in the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from inorder.ports import Source
from inorder.sources.embedded import EmbeddedBroker, EmbeddedSource, Message
from tests.sources.harness import Harness


class EmbeddedHarness:
    topic = "topic"
    session_timeout_s = 0.4
    patience_s = 4.0

    def __init__(self, folder: Path) -> None:
        self.path = folder / "broker.db"
        self.broker = EmbeddedBroker(self.path)
        self.broker.create_topic(self.topic, 2)
        self._open: list[EmbeddedSource] = []

    def produce(self, partition: int, values: Sequence[bytes], key: bytes | None = None) -> None:
        messages = [Message(key, value, headers=(("n", b"1"),), partition=partition) for value in values]
        self.broker.append_many(self.topic, messages)

    def open(self, group: str = "group") -> EmbeddedSource:
        source = EmbeddedSource(self.path, self.topic, group, self.session_timeout_s)
        self._open.append(source)
        return source

    def grow(self, partitions: int) -> None:
        self.broker.grow(self.topic, partitions)

    def kill(self, source: Source) -> None:
        assert isinstance(source, EmbeddedSource)
        self._open.remove(source)
        source._file.close()

    def silence(self, source: Source) -> None:
        pass  # nothing of a source runs while nobody calls it

    def close(self) -> None:
        for source in self._open:
            source.close()
        self.broker.close()


@contextmanager
def embedded_harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    harness = EmbeddedHarness(request.getfixturevalue("tmp_path"))
    yield harness
    harness.close()
