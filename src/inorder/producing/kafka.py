"""Kafka as a sink, for `inorder produce --to kafka://host:port[,…]/TOPIC`.

It sends so that the broker keeps the order of each key: idempotent, acknowledged by all replicas, placed as Java's
clients place keys. It never goes on after a record that was not delivered, for later ones of its key would overtake it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from inorder.errors import Unreachable, UsageError
from inorder.sources import kafka_contact as contact
from inorder.sources import kafka_url

CREATE_LIMIT_S = 10.0
"""How long a cluster may take to create a topic."""
_FULL_WAIT_S = 0.1

HARDENED: kafka_url.Settings = {
    "acks": "all",
    "max.in.flight.requests.per.connection": 5,
    "retries": 2_147_483_647,
    "message.timeout.ms": 300_000,
    # Where Java's clients put a key. librdkafka's own default puts it elsewhere: one key, two partitions.
    "partitioner": "murmur2_random",
    "reconnect.backoff.max.ms": 2_000,
}
"""librdkafka's options for a producer that does not reorder. It refuses those that contradict idempotence by itself."""
_FIXED: dict[str, tuple[str | int | bool, str]] = {
    "enable.idempotence": (True, "without it, a retry can put a key's records out of order"),
    "delivery.report.only.error": (True, "inorder counts what was not delivered"),
}


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
        fixed = {**_FIXED, "bootstrap.servers": (bootstrap, "the URL names the brokers before the topic")}
        settings = kafka_url.settings(HARDENED, options or {}, fixed)
        callbacks = {"error_cb": self._failures, "on_delivery": self._not_delivered, "logger": contact.Quiet()}
        try:
            self._producer = Producer({**settings, **callbacks})
        except (KafkaException, TypeError, ValueError) as error:
            raise contact.bad_option(error) from None
        self._find_or_create(settings, partitions)

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
        produce, poll, topic = self._producer.produce, self._producer.poll, self.topic
        for key, value in records:
            while True:
                try:
                    produce(topic, value, key)
                except BufferError:
                    poll(_FULL_WAIT_S)  # its queue is full
                    self._check()
                except KafkaException as error:
                    raise self._lost(error.args[0]) from None
                else:
                    break
            self._sent += 1
        poll(0)
        self._check()

    def flush(self) -> int:
        """Wait until the broker keeps all that was sent; returns how many since the sink was opened."""
        while self._producer.flush(_FULL_WAIT_S):
            self._check()
        self._check()
        return self._sent - self._undelivered

    def close(self) -> None:
        """Drop what was not flushed."""
        self._producer.purge()
        self._producer.flush(1)

    def _not_delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._undelivered += 1
            if self._error is None:
                self._error = error
                self._producer.purge()

    def _check(self) -> None:
        if self._error is not None:
            raise self._lost(self._error)

    def _lost(self, error: KafkaError) -> Unreachable:
        self._producer.purge()
        self._producer.flush(1)
        kept = self._sent - self._undelivered
        why = self._failures.fatal or error
        return Unreachable(
            f"Kafka at {self._bootstrap} took {kept} of {self._sent} records for {self.topic}: {why.str()}"
        )

    def _find_or_create(self, settings: kafka_url.Settings, partitions: int | None) -> None:
        patience_s = contact.UNKNOWN_LIMIT_S if partitions is None else 0.0
        found = contact.find_topic(self._producer, self._bootstrap, self.topic, self._failures, patience_s)
        if found is None and partitions is not None:
            self._create(settings, partitions)
            found = contact.find_topic(self._producer, self._bootstrap, self.topic, self._failures)
        if found is None:
            raise contact.no_topic(self._bootstrap, self.topic)
        if partitions is not None and len(found.partitions) != partitions:
            raise UsageError(
                f"topic {self.topic} has {len(found.partitions)} partitions, not {partitions}: growing it moves keys "
                "to other partitions, and is left to Kafka's own tools"
            )

    def _create(self, settings: kafka_url.Settings, partitions: int) -> None:
        config: kafka_url.Settings = {**settings, "logger": contact.Quiet()}
        admin = AdminClient(config)
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
