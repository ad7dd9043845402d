"""Kafka as a sink, for `inorder produce --to kafka://host:port[,…]/TOPIC`.

It sends so that the broker keeps the order of each key: idempotent, acknowledged by all replicas, placed as Java's
clients place keys. It never goes on after a record that was not delivered, for later ones of its key would overtake it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from inorder.core.partitioner import partition_for
from inorder.errors import Unreachable, UsageError
from inorder.producing.kafka_settings import choose
from inorder.producing.kafka_topic import batch_limits
from inorder.sources import kafka_contact as contact
from inorder.sources import kafka_url

CREATE_LIMIT_S = 10.0
"""How long a cluster may take to create a topic."""
ANY_PARTITION = -1
_FULL_WAIT_S = 0.1


class KafkaSink:
    """Appends to a topic. `options` go to librdkafka; `partitions` creates the topic if it is not there."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        partitions: int | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.topic = topic
        self._bootstrap = bootstrap
        self._sent = 0
        self._undelivered = 0
        self._error: KafkaError | None = None
        self._failures = contact.Failures()
        chosen = choose(bootstrap, options or {})
        settings = {**chosen.settings, "delivery.report.only.error": True}
        self._own_placement = chosen.own_placement
        self._opened: set[int] = set()
        self._patience_s = chosen.delivery_timeout_s
        self._moved_at = time.monotonic()
        self._left = 0
        callbacks: kafka_url.Settings = {"error_cb": self._failures, "logger": contact.Quiet()}
        try:
            admin = AdminClient({**settings, **callbacks})
        except (KafkaException, TypeError, ValueError) as error:
            raise contact.bad_option(error) from None
        self._partitions = self._find_or_create(admin, partitions)
        settings |= batch_limits(admin, topic, options or {})
        self._producer = Producer({**settings, **callbacks, "on_delivery": self._not_delivered})

    @classmethod
    def from_url(cls, url: str, partitions: int | None = None) -> KafkaSink:
        """`kafka://host:port[,…]/TOPIC?partitions=…`; `partitions` is the default for `partitions=`."""
        location = kafka_url.parse(url)
        options = dict(location.options)
        if "partitions" in options:
            partitions = _count(options.pop("partitions"))
        return cls(location.bootstrap, location.topic, partitions, options)

    def send(self, records: Sequence[tuple[bytes | None, bytes]]) -> None:
        """Take these, each a key and a value, in this order. Only `flush` says that they are kept."""
        own, opened, partitions = self._own_placement, self._opened, self._partitions
        for key, value in records:
            number = partition_for(key, partitions) if own and key is not None else ANY_PARTITION
            self._produce(key, value, number)
            if number not in opened:
                # A broker that knows nothing of a producer takes its second batch although the first one failed.
                self.flush()
                opened.add(number)
        self._serve(0)

    def _produce(self, key: bytes | None, value: bytes, number: int) -> None:
        while True:
            try:
                self._producer.produce(self.topic, value, key, number)
            except BufferError:
                self._serve(_FULL_WAIT_S)  # its queue is full
            except KafkaException as error:
                raise self._lost(error.args[0]) from None
            else:
                self._sent += 1
                return

    def flush(self) -> int:
        """Wait until the broker keeps all that was sent; returns how many since the sink was opened."""
        while len(self._producer):
            self._serve(_FULL_WAIT_S)
        self._serve(0)
        return self._sent - self._undelivered

    def close(self) -> None:
        """Drop what was not flushed."""
        self._drop()

    def _serve(self, timeout_s: float) -> None:
        """Let librdkafka work. Raises `Unreachable` when something was not delivered, or nothing moves any more."""
        try:
            self._producer.poll(timeout_s)
        except KafkaException as error:
            with suppress(KafkaException):
                self._producer.poll(_FULL_WAIT_S)  # which record it was about comes a moment later
            raise self._lost(self._error or error.args[0]) from None
        left = len(self._producer)
        now = time.monotonic()
        if left != self._left or not left:
            self._left, self._moved_at = left, now
        elif now - self._moved_at > self._patience_s:
            raise self._lost(self._failures.last or KafkaError(KafkaError._MSG_TIMED_OUT))
        self._check()

    def _not_delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._undelivered += 1
            # Its consequences come after it. With gap-less idempotence, librdkafka sends nothing more by itself.
            self._error = self._error or error

    def _check(self) -> None:
        if self._error is not None:
            raise self._lost(self._error)

    def _drop(self) -> None:
        self._producer.purge()
        with suppress(KafkaException):
            self._producer.flush(1)

    def _lost(self, error: KafkaError) -> Unreachable:
        self._drop()
        kept = self._sent - self._undelivered
        why = self._failures.fatal or error
        return Unreachable(
            f"Kafka at {self._bootstrap} took {kept} of {self._sent} records for {self.topic}: {why.str()}"
        )

    def _find_or_create(self, admin: AdminClient, partitions: int | None) -> int:
        patience_s = contact.UNKNOWN_LIMIT_S if partitions is None else 0.0
        found = contact.find_topic(admin, self._bootstrap, self.topic, self._failures, patience_s)
        if found is None and partitions is not None:
            self._create(admin, partitions)
            found = contact.find_topic(admin, self._bootstrap, self.topic, self._failures)
        if found is None:
            raise contact.no_topic(self._bootstrap, self.topic)
        if partitions is not None and len(found.partitions) != partitions:
            raise UsageError(
                f"topic {self.topic} has {len(found.partitions)} partitions, not {partitions}: growing it moves keys "
                "to other partitions, and is left to Kafka's own tools"
            )
        return len(found.partitions)

    def _create(self, admin: AdminClient, partitions: int) -> None:
        try:
            admin.create_topics([NewTopic(self.topic, partitions)])[self.topic].result(CREATE_LIMIT_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                what = f"Kafka at {self._bootstrap} does not create topic {self.topic}"
                raise Unreachable(f"{what}: {error.args[0].str()}") from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"partitions={text} is no count: write a whole number, such as partitions=8")
    return int(text)
