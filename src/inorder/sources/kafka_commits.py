"""The commits of a Kafka source: sent without waiting, confirmed later, sent again if refused.

A commit for a partition that is not ours is counted and passed over, never an error. Nothing is committed that was
not asked for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from inorder.core.event import Partition
from inorder.sources.kafka_assignment import Assignment, Owned

READ_TIMEOUT_S = 3.0
"""How long the answer may take to what a group has committed; without one, the notes beside it are not known."""
RETRY_S = 0.2
"""How long a refused commit rests before it is sent again."""

_log = logging.getLogger(__name__)


class Commits:
    """What was asked to be committed, and what the broker made of it. `confirm` is librdkafka's `on_commit`."""

    def __init__(self, owned: Assignment) -> None:
        self._owned = owned
        self._retry_at = 0.0
        self._takes_notes = True
        self.ignored = 0
        """Commits of partitions that were not ours (any more)."""
        self.refused = 0
        """Commits that the broker refused. Those of partitions that are still ours are sent again."""

    def ask(self, offsets: Mapping[Partition, int]) -> list[Owned]:
        """Note what is settled. Returns the partitions that are ours."""
        changed = []
        for partition, offset in offsets.items():
            owned = self._owned.find(partition)
            if owned is None:
                self.ignored += 1
                _log.debug("ignored a commit of %s at %d: not ours", partition, offset)
            else:
                owned.requested = offset
                changed.append(owned)
        return changed

    def send(self, consumer: Consumer, changed: Sequence[Owned]) -> None:
        """Commit what was asked for these, without waiting.

        librdkafka lets a commit go before whatever follows it: giving partitions back, joining anew, leaving.
        """
        if changed:
            for owned in changed:
                owned.refused = False
            try:
                consumer.commit(offsets=self._offsets(changed), asynchronous=True)
            except (KafkaException, RuntimeError) as error:
                self._refuse(changed, str(error))

    def send_refused(self, consumer: Consumer, *, at_once: bool) -> None:
        """Send what was refused once more: when it has rested, or at once because it is the last occasion."""
        if self._retry_at and (at_once or time.monotonic() >= self._retry_at):
            self._retry_at = 0.0
            self.send(consumer, [owned for owned in self._owned if owned.refused])

    @property
    def unconfirmed(self) -> bool:
        """Whether an answer is missing for partitions of ours."""
        return any(owned.requested not in {None, owned.confirmed} for owned in self._owned)

    def confirm(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """The broker's answer."""
        for partition in partitions:
            owned = self._owned.get(partition.partition)
            if refusal := partition.error or error:
                if refusal.code() == KafkaError.OFFSET_METADATA_TOO_LARGE and self._takes_notes:
                    self._takes_notes = False
                    _log.warning("offset.metadata.max.bytes leaves no room for notes: a restart may repeat some work")
                current = owned is not None and owned.requested == partition.offset
                self._refuse([owned] if owned and current else [], refusal.str())
            elif owned is not None:
                owned.confirmed = partition.offset

    def begin(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> dict[int, tuple[int, str]]:
        """What the group has committed of these, by number, with its notes: the place to begin at and what is known
        to be done beyond it, in one answer. Empty if there is none in time."""
        try:
            found = consumer.committed(list(partitions), timeout=READ_TIMEOUT_S)
        except KafkaException as error:
            _log.debug("committed offsets are not known: %s", error)
            return {}
        return {one.partition: (one.offset, one.metadata or "") for one in found if not one.error and one.offset >= 0}

    def _offsets(self, changed: Sequence[Owned]) -> list[TopicPartition]:
        return [
            TopicPartition(*owned.partition, owned.requested, metadata=owned.note if self._takes_notes else "")
            for owned in changed
            if owned.requested is not None
        ]

    def _refuse(self, changed: Sequence[Owned], why: str) -> None:
        self.refused += 1
        _log.debug("commit refused: %s", why)
        for owned in changed:
            owned.refused = True
            self._retry_at = time.monotonic() + RETRY_S
