"""First contact with a Kafka cluster: tells in one line why it fails. Used by the source and by the sink.

It never retries past its limit, and creates nothing.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ClusterMetadata, TopicMetadata

from inorder.errors import Unreachable, UsageError

LIMIT_S = 10.0
"""How long a cluster may take to answer at start."""
UNKNOWN_LIMIT_S = 2.0
"""How long a topic may be unknown: a new one takes a moment to be known to every broker."""

_TRY_S = 1.0

_REFUSALS = {
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
}
_log = logging.getLogger(__name__)


class Client(Protocol):
    """What librdkafka's consumer and producer have in common."""

    def list_topics(self, *, timeout: float) -> ClusterMetadata: ...
    def poll(self, timeout: float) -> Any: ...


class Quiet:
    """Takes librdkafka's log lines, which would go to stderr: what matters in them comes as an error too."""

    def log(self, _level: int, text: str, *arguments: object) -> None:
        """Pass a line on, at debug whatever its own level."""
        _log.debug(text, *arguments)


class Failures:
    """What went wrong between this client and its brokers, newest last. It is librdkafka's `error_cb`."""

    def __init__(self) -> None:
        self.last: KafkaError | None = None
        self.fatal: KafkaError | None = None
        self.refusal: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        _log.debug("Kafka: %s", error)
        if error.fatal():
            self.fatal = error
        if error.code() in _REFUSALS:
            self.refusal = error
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.last = error


def find_topic(
    client: Client, bootstrap: str, topic: str, failures: Failures, patience_s: float = UNKNOWN_LIMIT_S
) -> TopicMetadata | None:
    """The topic's partitions, or None if the cluster has no such topic. `Unreachable` if it gives no answer."""
    started = time.monotonic()
    while True:
        answer = _ask(client)
        waited = time.monotonic() - started
        if answer is not None:
            found = answer.topics.get(topic)
            if found is not None and found.error is None and found.partitions:
                return found
            if waited > patience_s:
                return None
            time.sleep(0.1)
        client.poll(0)  # runs error_cb
        if failures.refusal is not None:
            raise Unreachable(f"Kafka at {bootstrap} turned us away: {one_line(failures.refusal)}")
        if waited > LIMIT_S:
            why = "no answer" if failures.last is None else one_line(failures.last)
            raise Unreachable(f"Kafka at {bootstrap} does not answer, tried for {waited:.0f} s: {why}")


def no_topic(bootstrap: str, topic: str) -> UsageError:
    """The error for a topic that is not there."""
    return UsageError(f"Kafka at {bootstrap} shows us no topic {topic}: create it, or check the URL")


def bad_option(error: KafkaException | TypeError | ValueError) -> UsageError:
    """The error for a configuration that librdkafka refuses."""
    reason = error.args[0] if error.args else error
    return UsageError(f"the Kafka URL: {reason.str() if isinstance(reason, KafkaError) else reason}")


def _ask(client: Client) -> ClusterMetadata | None:
    try:
        # All topics: to be asked for one by name, a broker may create it.
        return client.list_topics(timeout=_TRY_S)
    except KafkaException:
        return None


def one_line(error: KafkaError) -> str:
    """An error of librdkafka's, on one line."""
    return " ".join(error.str().split())
