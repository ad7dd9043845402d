"""Kafka as a source, in a classic or a KIP-848 consumer group: `kafka://host:port[,…]/TOPIC?group=…`.

It decides what is given out, paused and committed of the partitions the group has assigned to this member. It never
commits what the worker did not settle, never gives out a record of a partition that is not ours, and never puts a
record together: slices carry the broker's own messages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from confluent_kafka import OFFSET_STORED, Consumer, KafkaError, KafkaException, Message, TopicPartition

from inorder.core.event import Partition, Slice
from inorder.errors import Unreachable, UsageError
from inorder.ports import Listener
from inorder.sources import kafka_contact as contact
from inorder.sources import kafka_url
from inorder.sources.kafka_assignment import Assignment
from inorder.sources.kafka_commits import Commits
from inorder.sources.kafka_end import TopicEnd

COMMIT_WAIT_S = 1.0
"""How long to wait for the answer to a commit before the group's offsets are looked at."""
LEAVE_WAIT_S = 5.0
"""How long librdkafka may take to have its partitions revoked when the source is closed."""
PAUSED_STEP_S = 0.05
"""How often a source whose partitions are all paused looks for a rebalance."""

_DEFAULTS: kafka_url.Settings = {
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    # A group notices new partitions with the metadata. librdkafka's own default is five minutes.
    "topic.metadata.refresh.interval.ms": 5_000,
    # For how long librdkafka stops fetching once its queue is full. Its own default, a second, starves a fast consumer.
    "fetch.queue.backoff.ms": 5,
    "reconnect.backoff.max.ms": 2_000,
    "max.poll.interval.ms": 300_000,
    # How long a request to a broker that hangs holds up a goodbye. librdkafka's own default is a minute.
    "socket.timeout.ms": 10_000,
}
_OURS = "inorder commits what is settled, and nothing else"
_FIXED: dict[str, tuple[str | int | bool, str]] = {
    "enable.auto.commit": (False, _OURS),
    "enable.auto.offset.store": (False, _OURS),
    "enable.partition.eof": (False, "inorder finds the end of a topic by itself"),
}
_FATAL = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    KafkaError.INVALID_GROUP_ID,
    KafkaError.GROUP_MAX_SIZE_REACHED,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError.UNSUPPORTED_ASSIGNOR,
}

_log = logging.getLogger(__name__)
_error: Callable[[Message], KafkaError | None] = Message.error


class KafkaSource:
    """A member of a consumer group on one topic. `options` go to librdkafka.

    Each method is called from one thread at a time; the listener is called from within `poll` and `close`.
    """

    def __init__(self, bootstrap: str, topic: str, group: str, options: Mapping[str, str] | None = None) -> None:
        self.topic = topic
        self.group = group
        self._bootstrap = bootstrap
        self._listener: Listener | None = None
        self._owned = Assignment(topic)
        self._commits = Commits(self._owned)
        self._closed = False
        self._torn = False
        self._expired = False
        self._polled_at = time.monotonic()
        self._raised: BaseException | None = None
        self._warned: set[int] = set()
        self._failures = contact.Failures()
        settings = _settings(bootstrap, group, options or {})
        self._eager = _is_eager(settings)
        self._end = TopicEnd({**settings, "logger": contact.Quiet()}, topic)
        callbacks = {"error_cb": self._failures, "on_commit": self._commits.confirm}
        try:
            self._consumer = Consumer({**settings, **callbacks, "logger": contact.Quiet()})
        except (KafkaException, TypeError, ValueError) as error:
            raise contact.bad_option(error) from None
        self._poll_limit_s = int(settings["max.poll.interval.ms"]) / 1000

    @classmethod
    def from_url(cls, url: str, group: str | None = None) -> KafkaSource:
        """The source that `url` names; `group` is for URLs that name none."""
        location = kafka_url.parse(url)
        chosen = location.group or group
        if not chosen:
            raise UsageError(f"the Kafka URL names no group: write {kafka_url.FORM}")
        return cls(location.bootstrap, location.topic, chosen, location.options)

    # membership

    def subscribe(self, listener: Listener) -> None:
        """Join the group. `Unreachable` if the cluster does not answer, `UsageError` if it has no such topic."""
        if contact.find_topic(self._consumer, self._bootstrap, self.topic, self._failures) is None:
            raise contact.no_topic(self._bootstrap, self.topic)
        self._listener = listener
        self._polled_at = time.monotonic()
        self._consumer.subscribe(
            [self.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def close(self) -> None:
        """Leave the group. Partitions are revoked first, which commits what is settled."""
        if not self._closed:
            self._closed = True
            self._leave()
            self._consumer.close()
            self._end.close()
            self._raise_kept()

    def _leave(self) -> None:
        # librdkafka's `close` leaves the group too, but never returns if a callback is waiting just then.
        deadline = time.monotonic() + LEAVE_WAIT_S
        self._consumer.unsubscribe()
        while time.monotonic() < deadline:
            self._consume(1_000, 0.01)
            if not self._owned and not self._consumer.assignment():
                break

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # librdkafka fetches nothing of these until `assign` is called here, so there are no earlier records.
        numbers = [partition.partition for partition in partitions]
        _log.debug("assigned: %s", numbers)
        if self._eager:
            consumer.assign(partitions)
        else:
            consumer.incremental_assign(partitions)
        self._unhalt(numbers)
        if fresh := self._owned.add(numbers):
            self._tell("assigned", fresh)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._expired:
            self._on_lost(consumer, partitions)
            return
        ours = self._owned.those(partition.partition for partition in partitions)
        _log.debug("revoked: %s", [owned.partition.number for owned in ours])
        self._tell("revoked", [owned.partition for owned in ours])
        self._commits.send_refused(consumer, at_once=True)
        self._release(consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        ours = self._owned.those(partition.partition for partition in partitions)
        _log.debug("lost: %s", [owned.partition.number for owned in ours])
        self._release(consumer, partitions)
        self._tell("lost", [owned.partition for owned in ours])

    def _release(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._owned.remove(partition.partition for partition in partitions)
        if self._eager:
            consumer.unassign()
        else:
            consumer.incremental_unassign(partitions)

    def _tell(self, what: str, partitions: Sequence[Partition]) -> None:
        if self._listener is not None and partitions:
            try:
                getattr(self._listener, what)(partitions)
            except BaseException as error:
                # Out of a callback, an exception would cost the messages of the `consume` call around it.
                self._raised = self._raised or error

    def _raise_kept(self) -> None:
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised

    # records

    def poll(self, most: int, timeout_s: float) -> list[Slice]:
        """Up to `most` records, waiting at most `timeout_s` for the first. Also keeps the membership alive."""
        deadline = time.monotonic() + timeout_s
        if self._torn:
            self._fetch_again()
        while True:
            taken = self._owned.take_aside(most)
            fresh = self._take(most - len(taken), 0.0 if taken else deadline)
            if self._raised is not None:
                self._owned.set_aside(taken, fresh)
                self._raise_kept()
            slices = self._owned.give(taken, fresh)
            remaining = deadline - time.monotonic()
            if slices or remaining <= 0:
                break
            if fresh:
                # All of it is paused. To take more would only move librdkafka's queue into our memory.
                time.sleep(min(PAUSED_STEP_S, remaining))
        self._halt_over_limit()
        self._commits.send_refused(self._consumer, at_once=False)
        return slices

    def _take(self, most: int, deadline: float) -> list[Message]:
        # librdkafka waits for as many messages as were asked for, or until the time is up. So first what is there, and
        # if that is nothing, the next message and what came with it.
        if not most:
            return []
        if self._owned.all_paused:
            return self._consume(1, max(0.0, deadline - time.monotonic()))
        messages = self._consume(most, 0)
        if not messages and (remaining := deadline - time.monotonic()) > 0:
            messages = self._consume(1, remaining)
            if messages and most > 1:
                messages += self._consume(most - 1, 0)
        return messages

    def _consume(self, most: int, timeout_s: float) -> list[Message]:
        self._note_lateness()
        try:
            messages = self._consumer.consume(most, timeout_s)
        except BaseException:
            # A signal handler raised: messages may be gone that librdkafka counts as given out.
            self._torn = True
            raise
        finally:
            self._polled_at = time.monotonic()
        if any(map(_error, messages)):
            return [message for message in messages if not self._failed(message)]
        return messages

    def _note_lateness(self) -> None:
        # Who does not poll for too long is put out of the group. A revocation that waits meanwhile does not say so.
        self._expired = time.monotonic() - self._polled_at > self._poll_limit_s

    def _fetch_again(self) -> None:
        """Go back to where the last record was given out."""
        self._owned.drop_aside()
        where = [
            TopicPartition(
                owned.partition.topic, owned.partition.number, OFFSET_STORED if owned.given is None else owned.given
            )
            for owned in self._owned
        ]
        if self._eager:
            self._consumer.assign(where)
        else:
            self._consumer.incremental_unassign(where)
            self._consumer.incremental_assign(where)
        self._torn = False

    def _failed(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return False
        if error.fatal() or error.code() in _FATAL:
            what = f"group {self.group} on topic {self.topic}"
            self._raised = self._raised or Unreachable(f"Kafka at {self._bootstrap} refuses {what}: {error.str()}")
        else:
            level = logging.DEBUG if error.code() in self._warned else logging.WARNING
            self._warned.add(error.code())
            _log.log(level, "Kafka, topic %s: %s", self.topic, error.str())
        return True

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Give out nothing of these until resumed. Those that are not ours are passed over."""
        self._owned.pause(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Give out records of these again."""
        self._unhalt(self._owned.resume(partitions))

    def _halt_over_limit(self) -> None:
        if self._owned.over_limit and (more := self._owned.paused - self._owned.halted):
            self._consumer.pause([TopicPartition(self.topic, number) for number in more])
            self._owned.halted |= more

    def _unhalt(self, numbers: Iterable[int]) -> None:
        if halted := self._owned.halted.intersection(numbers):
            self._consumer.resume([TopicPartition(self.topic, number) for number in halted])
            self._owned.halted -= halted

    # commits

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Everything below each offset is settled. Does not wait; what is asked within `revoked` is in time.

        For partitions that are not ours (any more) it does nothing: others redo the work.
        """
        self._commits.send(self._consumer, self._commits.ask(offsets))

    def at_end(self) -> bool:
        """Whether the whole group has committed everything up to the end of every partition."""
        if not all(owned.settled for owned in self._owned):
            return False
        self._pass_markers()
        self._await_commits()
        return self._end.reached()

    def _await_commits(self) -> None:
        deadline = time.monotonic() + COMMIT_WAIT_S
        while self._commits.unconfirmed and time.monotonic() < deadline:
            self._owned.set_aside([], self._consume(1, 0.01))

    def _pass_markers(self) -> None:
        """Transaction markers take offsets too. Once everything before them is settled, so are they."""
        free = [owned.partition for owned in self._owned if not self._owned.has_aside(owned.partition.number)]
        past = {}
        for where in self._consumer.position([TopicPartition(*partition) for partition in free]):
            owned = self._owned.get(where.partition)
            if owned is not None and where.offset >= 0 and where.offset != owned.given:
                past[owned.partition] = owned.given = where.offset
        self.commit(past)


def _settings(bootstrap: str, group: str, options: Mapping[str, str]) -> kafka_url.Settings:
    defaults = dict(_DEFAULTS)
    if options.get("group.protocol", "classic").lower() == "classic":
        # What stays with a member is not interrupted by a rebalance.
        defaults["partition.assignment.strategy"] = "cooperative-sticky"
    fixed = {
        **_FIXED,
        "bootstrap.servers": (bootstrap, "the URL names the brokers before the topic"),
        "group.id": (group, "write group="),
    }
    return kafka_url.settings(defaults, options, fixed)


def _is_eager(settings: kafka_url.Settings) -> bool:
    strategy = str(settings.get("partition.assignment.strategy", "cooperative"))
    return "cooperative" not in strategy
