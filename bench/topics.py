"""Topics filled with workloads, each once in a run, with the truth about what their events come to."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

from bench.workload import Truth, Workload, deliveries
from inorder.wiring import open_sink
from tests.services import KafkaCluster

AT_ONCE = 10_000


class Topic(NamedTuple):
    """A topic that is filled."""

    url: str
    work: Workload
    truth: Truth

    @property
    def name(self) -> str:
        """Its name at the broker."""
        return self.url.rpartition("/")[2]

    @property
    def deliveries(self) -> int:
        """How many records it has."""
        return self.truth.deliveries


class Topics:
    """Fills topics of a cluster on demand."""

    def __init__(self, kafka: KafkaCluster) -> None:
        self._kafka = kafka
        self._run = uuid.uuid4().hex[:6]
        self._found: dict[Workload, Topic] = {}

    def of(self, work: Workload) -> Topic:
        """The topic of a workload. Filled when it is first asked for."""
        if work not in self._found:
            self._found[work] = self._fill(work)
        return self._found[work]

    def forget(self, work: Workload) -> None:
        """Delete a large topic that is not needed any more."""
        topic = self._found.pop(work)
        self._kafka.admin.delete_topics([topic.name])[topic.name].result()

    def _fill(self, work: Workload) -> Topic:
        url = f"kafka://{self._kafka.bootstrap}/{work.topic}-{self._run}"
        truth = Truth(work.keys)
        sink = open_sink(url, work.partitions)
        for records in batches(_records(work, truth)):
            sink.send(records)
        sink.flush()
        sink.close()
        return Topic(url, work, truth)


def batches(records: Iterator[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes | None, bytes]]]:
    """The same, many at once."""
    while some := list(islice(records, AT_ONCE)):
        yield list(some)


def _records(work: Workload, truth: Truth) -> Iterator[tuple[bytes, bytes]]:
    encode = msgspec.json.Encoder().encode
    return ((entry.entity.encode(), encode(entry)) for entry in deliveries(work, truth))
