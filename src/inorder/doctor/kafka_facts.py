"""Asks a live Kafka cluster about a topic and a group. It joins no group, and commits and changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType, TopicMetadata

from inorder.doctor.facts import Consumer, Facts, Group, Partition, Sample, Sampled, Topic
from inorder.sources import kafka_contact as contact
from inorder.sources import kafka_url
from inorder.sources.kafka_settings import member_settings

ASK_S = 10.0
"""How long the cluster may take for one answer."""
SAMPLE_S = 10.0
"""How long reading the sample may take. What was read by then is judged."""
SAMPLE_EACH = 200
"""Records of the sample from each end of each partition."""
SAMPLE_MOST = 20_000

Found = TypeVar("Found")


class KafkaFacts:
    """What `inorder doctor --from kafka://…` learns from the cluster."""

    def __init__(self, url: str, group: str | None) -> None:
        self._at = kafka_url.parse(url)
        self._group = self._at.group or group
        self.source = f"kafka://{self._at.bootstrap}/{self._at.topic}"
        # What the worker would have; the group's name only decides whose offsets are asked for.
        self._settings = member_settings(self._at.bootstrap, self._group or "inorder-doctor", self._at.options)

    def gather(self, facts: Facts, handler_s: float, drain_s: float) -> None:
        """Add what can be learned. Raises `Unreachable` or `UsageError` when there is no cluster or topic to ask."""
        options = {name: _text(value) for name, value in self._settings.items()}
        facts.consumer = Consumer(options=options, handler_s=handler_s, drain_s=drain_s)
        failures = contact.Failures()
        quiet: kafka_url.Settings = {"error_cb": failures, "logger": contact.Quiet()}
        settings: kafka_url.Settings = {**self._settings, **quiet, "isolation.level": "read_uncommitted"}
        try:
            client = Client(settings)
        except (KafkaException, TypeError, ValueError) as error:
            raise contact.bad_option(error) from None
        try:
            found = contact.find_topic(client, self._at.bootstrap, self._at.topic, failures)
            if found is None:
                raise contact.no_topic(self._at.bootstrap, self._at.topic)
            admin = AdminClient(settings)
            facts.topic = self._ask(facts, "topic", lambda: self._topic(admin, found))
            ends = self._ask(facts, "sample", lambda: self._ends(client, found))
            if ends is not None:
                facts.sample = self._ask(facts, "sample", lambda: self._sample(client, ends))
                if self._group:
                    name = self._group
                    facts.group = self._ask(facts, "group", lambda: self._of_group(client, name, ends))
        finally:
            client.close()

    def _ask(self, facts: Facts, part: str, question: Callable[[], Found]) -> Found | None:
        try:
            return question()
        except KafkaException as error:
            facts.unknown[part] = f"the cluster does not say: {' '.join(error.args[0].str().split())}"
        except TimeoutError:
            facts.unknown[part] = f"the cluster does not say within {ASK_S:g} s"
        return None

    def _topic(self, admin: AdminClient, found: TopicMetadata) -> Topic:
        partitions = [Partition(p.id, len(p.replicas), len(p.isrs)) for p in found.partitions.values()]
        leader = next(p.leader for p in found.partitions.values())
        return Topic(
            name=self._at.topic,
            partitions=sorted(partitions, key=lambda partition: partition.number),
            config=_describe(admin, ResourceType.TOPIC, self._at.topic),
            brokers=_describe(admin, ResourceType.BROKER, str(leader)),
        )

    def _ends(self, client: Client, found: TopicMetadata) -> dict[int, tuple[int, int]]:
        where = {number: TopicPartition(self._at.topic, number) for number in found.partitions}
        return {number: client.get_watermark_offsets(at, timeout=ASK_S) for number, at in where.items()}

    def _of_group(self, client: Client, name: str, ends: dict[int, tuple[int, int]]) -> Group:
        committed = client.committed([TopicPartition(self._at.topic, number) for number in ends], timeout=ASK_S)
        expired = {c.partition: ends[c.partition][0] - c.offset for c in committed if c.offset >= 0}
        return Group(name, {number: count for number, count in expired.items() if count > 0})

    def _sample(self, client: Client, ends: dict[int, tuple[int, int]]) -> Sample:
        each = max(1, min(SAMPLE_EACH, SAMPLE_MOST // (2 * len(ends))))
        until = time.monotonic() + SAMPLE_S
        records: dict[tuple[int, int], Sampled] = {}
        oldest = {number: (low, min(low + each, high)) for number, (low, high) in ends.items() if low < high}
        newest = {number: (max(low, high - each), high) for number, (low, high) in ends.items() if low < high}
        for ranges in (oldest, newest):
            self._read(client, ranges, records, until)
        return Sample(list(records.values()), int(time.time() * 1000))

    def _read(
        self, client: Client, ranges: dict[int, tuple[int, int]], into: dict[tuple[int, int], Sampled], until: float
    ) -> None:
        """Read each partition from one offset up to another. Offsets may be missing in between, or at the end."""
        client.assign([TopicPartition(self._at.topic, number, start) for number, (start, _) in ranges.items()])
        left = dict(ranges)
        while left and time.monotonic() < until:
            for message in client.consume(500, 0.2):
                if message.error() is None and message.key() is not None:
                    number, offset = message.partition() or 0, message.offset() or 0
                    _, at_ms = message.timestamp()
                    key = message.key()
                    if isinstance(key, bytes) and number in left and offset < left[number][1]:
                        into[number, offset] = Sampled(number, offset, key, at_ms if at_ms > 0 else None)
            where = client.position([TopicPartition(self._at.topic, number) for number in left])
            for at in where:
                if at.offset >= left[at.partition][1]:
                    del left[at.partition]
        client.unassign()


def _describe(admin: AdminClient, kind: ResourceType, name: str) -> dict[str, str]:
    resource = ConfigResource(kind, name)
    answer: dict[str, Any] = admin.describe_configs([resource], request_timeout=ASK_S)[resource].result(ASK_S)
    return {entry.name: entry.value for entry in answer.values() if entry.value is not None}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
