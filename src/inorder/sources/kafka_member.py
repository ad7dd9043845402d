"""A member of a consumer group of Kafka: joining, what the group gives and takes, leaving.

It tells the listener, and keeps librdkafka's assignment and ours the same. It never decides which of the messages that
it fetches are given out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_STORED, Consumer, KafkaError, KafkaException, Message, TopicPartition

from inorder.core.event import Partition
from inorder.errors import Unreachable
from inorder.ports import Listener
from inorder.sources import kafka_contact as contact
from inorder.sources.kafka_assignment import Assignment
from inorder.sources.kafka_commits import Commits
from inorder.sources.kafka_end import TopicEnd
from inorder.sources.kafka_settings import is_eager, poll_limit_s, starts_at_end
from inorder.sources.kafka_url import Settings

CLOSE_WAIT_S = 5.0
"""How long a goodbye to the group may take."""
LEAVE_WAIT_S = 5.0
"""How long librdkafka may take to have its partitions revoked before that."""

_FATAL = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    KafkaError.INVALID_GROUP_ID,
    KafkaError.GROUP_MAX_SIZE_REACHED,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError.UNSUPPORTED_ASSIGNOR,
    KafkaError._AUTO_OFFSET_RESET,  # auto.offset.reset=error
    KafkaError._LOG_TRUNCATION,
}

_log = logging.getLogger(__name__)
_error: Callable[[Message], KafkaError | None] = Message.error


class Member:
    """One member of a group on one topic."""

    def __init__(self, settings: Settings, topic: str, owned: Assignment) -> None:
        self._topic = topic
        self._owned = owned
        self._bootstrap = settings["bootstrap.servers"]
        self._group = settings["group.id"]
        self._listener: Listener | None = None
        self._expired = False
        self._torn = False
        self._raised: BaseException | None = None
        self._warned: set[int] = set()
        self._failures = contact.Failures()
        self._eager = is_eager(settings)
        self.commits = Commits(owned)
        logger = contact.Quiet()
        self.end = TopicEnd({**settings, "logger": logger}, topic)
        self._pins = self.end.pins if starts_at_end(settings) else _no_pins
        config: dict[str, Any] = {"error_cb": self._on_error, "on_commit": self.commits.confirm, "logger": logger}
        try:
            self.consumer = Consumer({**settings, **config})
        except (KafkaException, TypeError, ValueError) as error:
            raise contact.bad_option(error) from None
        self._poll_limit_s = poll_limit_s(settings)
        self._polled_at = time.monotonic()

    # joining and leaving

    def join(self, listener: Listener) -> None:
        """Subscribe. `Unreachable` if the cluster does not answer, `UsageError` if it has no such topic."""
        if contact.find_topic(self.consumer, self._bootstrap, self._topic, self._failures) is None:
            raise contact.no_topic(self._bootstrap, self._topic)
        self._listener = listener
        self._polled_at = time.monotonic()
        self._subscribe()

    def rejoin(self) -> None:
        """Leave the group and join it again. Partitions are revoked first, while it is polled."""
        self.consumer.unsubscribe()
        self._subscribe()

    def _subscribe(self) -> None:
        self.consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def leave(self) -> None:
        """Have everything revoked, say goodbye to the group, and release the connections."""
        # librdkafka's `close` has partitions revoked too, but never returns if a callback is waiting just then.
        deadline = time.monotonic() + LEAVE_WAIT_S
        self.consumer.unsubscribe()
        while time.monotonic() < deadline:
            self.consume(1_000, 0.01)
            if not self._owned and not self.consumer.assignment():
                break
        # It waits for the answers to the last commits, and from a broker that is gone there will be none.
        closing = threading.Thread(target=self.consumer.close, daemon=True)
        closing.start()
        closing.join(CLOSE_WAIT_S)
        self.end.close()
        self.raise_kept()

    # what the group gives and takes

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # librdkafka fetches nothing of these until `assign` is called here, so there are no earlier records.
        numbers = [partition.partition for partition in partitions]
        _log.debug("assigned: %s", numbers)
        pins = self._pins(numbers)
        begins = self.commits.begin(consumer, partitions)
        for partition in partitions:
            known = begins.get(partition.partition, (partition.offset, ""))[0]
            partition.offset = pins.get(partition.partition, known)
        if self._eager:
            consumer.assign(partitions)
        else:
            consumer.incremental_assign(partitions)
        self.unhalt(numbers)
        fresh = self._owned.add(numbers)
        for owned in self._owned.those(partition.number for partition in fresh):
            owned.begins = begins.get(owned.partition.number)
        # A group that begins at the end must find the same place again if a rebalance comes before its first commit, or
        # it would skip what was produced in between.
        pinned = {partition: pins[partition.number] for partition in fresh if partition.number in pins}
        self.commits.send(consumer, self.commits.ask(pinned))
        self._tell("assigned", fresh)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._expired:
            self._on_lost(consumer, partitions)
            return
        ours = self._owned.those(partition.partition for partition in partitions)
        _log.debug("revoked: %s", [owned.partition.number for owned in ours])
        self._tell("revoked", [owned.partition for owned in ours])
        self.commits.send_refused(consumer, at_once=True)
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

    def begin_anew(self, places: Mapping[int, int]) -> None:
        """What comes of these partitions, from these offsets on, came before: the brokers have lost a part of the log.

        Nothing of what they had may be committed any more, or new records under the same offsets were left out.
        """
        if not places:
            return
        partitions = [owned.partition for owned in self._owned.those(places)]
        for partition in partitions:
            what = f"goes on at {places[partition.number]}, which came before: the brokers have lost a part of it"
            _log.warning("%s %s", partition, what)
        self.unhalt(places)
        self._owned.remove(places)
        self._tell("lost", partitions)
        self._tell("assigned", self._owned.add(places))

    def _tell(self, what: str, partitions: Sequence[Partition]) -> None:
        if self._listener is not None and partitions:
            try:
                getattr(self._listener, what)(partitions)
            except BaseException as error:
                # Out of a callback, an exception would cost the messages of the `consume` call around it.
                self._raised = self._raised or error

    @property
    def failed(self) -> bool:
        """Whether there is something to raise: a listener's exception, or an error that will not pass."""
        return self._raised is not None

    def raise_kept(self) -> None:
        """Raise it."""
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised

    # fetching

    def consume(self, most: int, timeout_s: float) -> list[Message]:
        """The next messages. Waits until there are `most`, or for the whole time. Runs the callbacks."""
        # Who does not poll for too long is put out of the group. A revocation that waits meanwhile does not say so.
        self._expired = time.monotonic() - self._polled_at > self._poll_limit_s
        # If a signal handler raises in here, messages may be gone that librdkafka counts as given out.
        self._torn = True
        messages = self.consumer.consume(most, timeout_s)
        self._polled_at = time.monotonic()
        if any(map(_error, messages)):
            messages = [message for message in messages if not self._is_error(message)]
        if messages:
            self._warned.discard(KafkaError._ALL_BROKERS_DOWN)  # they are back
        self._torn = False
        return messages

    def mend(self) -> None:
        """If messages may have been lost on the way to us, go back to where the last record was given out."""
        if not self._torn:
            return
        self._torn = False
        self._owned.drop_aside()
        where = [
            TopicPartition(*owned.partition, OFFSET_STORED if owned.given is None else owned.given)
            for owned in self._owned
        ]
        if self._eager:
            self.consumer.assign(where)
        else:
            self.consumer.incremental_unassign(where)
            self.consumer.incremental_assign(where)

    def _is_error(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return False
        if error.fatal() or error.code() in _FATAL:
            what = f"group {self._group} on topic {self._topic}"
            self._raised = self._raised or Unreachable(f"Kafka at {self._bootstrap} refuses {what}: {error.str()}")
        else:
            self._warn(error.code(), f"Kafka, topic {self._topic}: {error.str()}")
        return True

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka's `error_cb`."""
        self._failures(error)
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self._listener is not None:
            why = contact.one_line(self._failures.last or error)
            self._warn(error.code(), f"Kafka at {self._bootstrap} does not answer, tried again: {why}")

    def _warn(self, code: int, text: str) -> None:
        """Say it once, and from then on to who wants to hear all."""
        _log.log(logging.DEBUG if code in self._warned else logging.WARNING, text)
        self._warned.add(code)

    def halt(self, numbers: set[int]) -> None:
        """Let librdkafka fetch nothing of these."""
        if more := numbers - self._owned.halted:
            self.consumer.pause(self._named(more))
            self._owned.halted |= more

    def unhalt(self, numbers: Iterable[int]) -> None:
        """Let librdkafka fetch these again."""
        if halted := self._owned.halted.intersection(numbers):
            self.consumer.resume(self._named(halted))
            self._owned.halted -= halted

    def positions(self, numbers: Iterable[int]) -> dict[int, int]:
        """Where librdkafka is: after the last message taken from it, and after the transaction markers that follow."""
        found = self.consumer.position(self._named(numbers))
        return {where.partition: where.offset for where in found if where.offset >= 0}

    def _named(self, numbers: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number) for number in numbers]


def _no_pins(_numbers: Iterable[int]) -> dict[int, int]:
    return {}
