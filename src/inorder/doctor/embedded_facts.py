"""Looks into the embedded broker's file. Nothing else about it can be set up wrong: it has one writer at a time."""

from __future__ import annotations

import time

from inorder.doctor.facts import Facts, Partition, Sample, Sampled, Topic
from inorder.sources.embedded_broker import OFFSET_BITS, find_topic
from inorder.sources.embedded_file import EmbeddedFile
from inorder.sources.embedded_url import parse

SAMPLE_EACH = 1_000
"""Oldest records of each partition in the sample."""


class EmbeddedFacts:
    """What `inorder doctor --from embedded://…` learns from the file."""

    def __init__(self, url: str, group: str | None) -> None:
        self._at = parse(url, known=("group", "session_timeout_s"))
        self.source = f"embedded://{self._at.path}/{self._at.topic}"

    def gather(self, facts: Facts, handler_s: float, drain_s: float) -> None:
        """Add what can be learned. Raises `Unreachable` or `UsageError` when there is no file or topic."""
        file = EmbeddedFile(self._at.path)
        try:
            topic = find_topic(file, self._at.topic)
            records = []
            logs = file.rows("logs", topic)
            for log, number, _ in logs:
                base = log << OFFSET_BITS
                for position, key, _, _, at_ms in file.rows("read", base, base + (1 << OFFSET_BITS), SAMPLE_EACH):
                    records.append(Sampled(number, position - base, key or b"", at_ms))
        finally:
            file.close()
        partitions = [Partition(number, 1, 1) for _, number, _ in logs]
        facts.topic = Topic(name=self._at.topic, partitions=partitions, config={}, brokers={})
        facts.sample = Sample(records, int(time.time() * 1000))
