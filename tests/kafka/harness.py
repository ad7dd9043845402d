"""Kafka in the conformance suite, and in the tests of this folder."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence

from confluent_kafka import Producer

from inorder.ports import Source
from inorder.sources.kafka import KafkaSource
from tests.kafka.protocols import SESSION_S, options, prepare_group
from tests.services import KafkaCluster

_numbers = itertools.count()


class KafkaHarness:
    """One topic of a real broker, and the sources opened on it."""

    session_timeout_s = SESSION_S
    patience_s = 15.0

    def __init__(self, kafka: KafkaCluster, protocol: str, partitions: int = 2, **config: str | int) -> None:
        self.kafka = kafka
        self.protocol = protocol
        unique = f"{os.getpid()}-{time.time_ns() % 10**9}-{next(_numbers)}"
        self.topic = kafka.create_topic(f"topic-{unique}", partitions, **config)
        self._options = options(protocol)
        self._groups: set[str] = set()
        self._open: list[KafkaSource] = []
        self._kept: list[object] = []
        self._producer = Producer({"log_level": 0, "bootstrap.servers": kafka.bootstrap, "linger.ms": 0, "acks": "all"})

    def group(self, name: str = "group") -> str:
        """The broker's name of a group of this test."""
        group = f"{self.topic}-{name}"
        if group not in self._groups:
            prepare_group(self.kafka, self.protocol, group)
            self._groups.add(group)
        return group

    def produce(self, partition: int, values: Sequence[bytes | None], key: bytes | None = None) -> None:
        for value in values:
            self._producer.produce(self.topic, value, key, partition, headers=[("n", b"1")])
        assert self._producer.flush(self.patience_s) == 0

    def set(self, name: str, value: str) -> None:
        """Another option of librdkafka, for members opened from now on."""
        self._options[name] = value

    def open(self, group: str = "group") -> KafkaSource:
        source = KafkaSource(self.kafka.bootstrap, self.topic, self.group(group), self._options)
        self._open.append(source)
        return source

    def grow(self, partitions: int) -> None:
        self.kafka.grow(self.topic, partitions)

    def kill(self, source: Source) -> None:
        """It is not polled any more, so it is out of the group when a session is over. (To destroy librdkafka's handle
        without `close` sends no goodbye either, but now and then never returns.)"""
        assert isinstance(source, KafkaSource)
        source._member._listener = None

    def silence(self, source: Source) -> None:
        pass  # who does not poll for `max.poll.interval.ms` is out

    def keep(self, thing: object) -> None:
        """Let something live as long as the test."""
        self._kept.append(thing)

    def close(self) -> None:
        for source in self._open:
            source.close()
