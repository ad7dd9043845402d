"""Kafka as a source, in a classic or a KIP-848 consumer group: `kafka://host:port[,…]/TOPIC?group=…`.

It decides what is given out, paused and committed of the partitions the group has assigned to this member. It never
commits what the worker did not settle (but for the place where a group begins that is told to begin at the end), never
gives out a record of a partition that is not ours, and never puts a record together: slices carry the broker's own
messages.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from confluent_kafka import Message

from inorder.core.event import Partition, Slice
from inorder.errors import UsageError
from inorder.ports import Listener
from inorder.sources import kafka_url
from inorder.sources.kafka_assignment import Assignment, Fresh
from inorder.sources.kafka_member import Member
from inorder.sources.kafka_settings import member_settings

COMMIT_WAIT_S = 1.0
"""How long to wait for the answer to a commit before the group's offsets are looked at."""
PASS_MARKERS_S = 1.0
"""How often an idle source commits past transaction markers, which would count as lag otherwise."""
PAUSED_STEP_S = 0.05
"""How often a source whose partitions are all paused looks for a rebalance."""


class KafkaSource:
    """A member of a consumer group on one topic. `options` go to librdkafka.

    Each method is called from one thread at a time; the listener is called from within `poll` and `close`.
    """

    def __init__(self, bootstrap: str, topic: str, group: str, options: Mapping[str, str] | None = None) -> None:
        self.topic = topic
        self.group = group
        self._owned = Assignment(topic)
        self._member = Member(member_settings(bootstrap, group, options or {}), topic, self._owned)
        self._commits = self._member.commits
        self._closed = False
        self._passed_at = time.monotonic()

    @classmethod
    def from_url(cls, url: str, group: str | None = None) -> KafkaSource:
        """The source that `url` names; `group` is for URLs that name none."""
        location = kafka_url.parse(url)
        chosen = location.group or group
        if not chosen:
            raise UsageError(f"the Kafka URL names no group: write {kafka_url.FORM}")
        return cls(location.bootstrap, location.topic, chosen, location.options)

    def subscribe(self, listener: Listener) -> None:
        """Join the group. `Unreachable` if the cluster does not answer, `UsageError` if it has no such topic."""
        self._member.join(listener)

    def rejoin(self) -> None:
        """Leave the group and join it again, during later polls."""
        self._member.rejoin()

    def close(self) -> None:
        """Leave the group. Partitions are revoked first, which commits what is settled."""
        if not self._closed:
            self._closed = True
            self._member.leave()

    def poll(self, most: int, timeout_s: float) -> list[Slice]:
        """Up to `most` records, waiting at most `timeout_s` for the first. Also keeps the membership alive."""
        deadline = time.monotonic() + timeout_s
        self._member.mend()
        while True:
            taken = self._owned.take_aside(most)
            fresh = self._fresh(self._take(most - len(taken), 0.0 if taken else deadline))
            if self._member.failed:
                self._owned.set_aside(taken, fresh)
                self._member.raise_kept()
            slices = self._owned.give(taken, fresh)
            if self._owned.over_limit:
                self._member.halt(self._owned.paused)
            remaining = deadline - time.monotonic()
            if slices or remaining <= 0:
                break
            if fresh:
                # All of it is paused. To take more would only move librdkafka's queue into our memory.
                time.sleep(min(PAUSED_STEP_S, remaining))
        if not slices and time.monotonic() - self._passed_at > PASS_MARKERS_S:
            self._pass_markers()
        self._commits.send_refused(self._member.consumer, at_once=False)
        return slices

    def _take(self, most: int, deadline: float) -> list[Message]:
        # librdkafka waits for as many messages as were asked for, or until the time is up. So first what is there, and
        # if that is nothing, the next message and what came with it.
        if not most:
            return []
        consume = self._member.consume
        if self._owned.all_paused:
            return consume(1, max(0.0, deadline - time.monotonic()))
        messages = consume(most, 0)
        if not messages and (remaining := deadline - time.monotonic()) > 0:
            messages = consume(1, remaining)
            if messages and most > 1:
                messages += consume(most - 1, 0)
        return messages

    def _fresh(self, messages: list[Message]) -> Fresh:
        fresh = self._owned.by_partition(messages)
        self._member.begin_anew(self._owned.came_before(fresh))
        return fresh

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Give out nothing of these until resumed. Those that are not ours are passed over."""
        self._owned.pause(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Give out records of these again."""
        self._member.unhalt(self._owned.resume(partitions))

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Everything below each offset is settled. Does not wait; what is asked within `revoked` is in time.

        For partitions that are not ours (any more) it does nothing: others redo the work.
        """
        self._commits.send(self._member.consumer, self._commits.ask(offsets))

    def note(self, notes: Mapping[Partition, str]) -> None:
        """Texts to keep, as the metadata of the next commits of these partitions."""
        for partition, note in notes.items():
            if (owned := self._owned.find(partition)) is not None:
                owned.note = note

    def noted(self, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, str]]:
        """The committed offset that a partition of ours begins at, and its text, where that is known."""
        found = ((partition, self._owned.find(partition)) for partition in partitions)
        return {partition: owned.begins for partition, owned in found if owned is not None and owned.begins is not None}

    @property
    def ignored_commits(self) -> int:
        """How many commits were asked for partitions that were not ours (any more)."""
        return self._commits.ignored

    def at_end(self) -> bool:
        """Whether the whole group has committed everything up to the end of every partition."""
        if not all(owned.settled for owned in self._owned):
            return False
        self._pass_markers()
        deadline = time.monotonic() + COMMIT_WAIT_S
        while self._commits.unconfirmed and time.monotonic() < deadline:
            self._owned.set_aside([], self._fresh(self._member.consume(1, 0.01)))
        return self._member.end.reached()

    def _pass_markers(self) -> None:
        """Transaction markers take offsets too. Once everything before them is settled, so are they."""
        self._passed_at = time.monotonic()
        past = {}
        idle = [owned for owned in self._owned if owned.settled and not self._owned.has_aside(owned)]
        numbers = [owned.partition.number for owned in idle]
        for number, position in self._member.positions(numbers).items():
            owned = self._owned.get(number)
            if owned is not None and owned.given != position:
                past[owned.partition] = owned.given = position
        self.commit(past)
