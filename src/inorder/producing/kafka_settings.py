"""librdkafka's options for a producer that keeps the order of each key, and why others would lose it.

Never opens anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from inorder.errors import UsageError
from inorder.sources import kafka_url

RETRIES = 2_147_483_647
MOST_IN_FLIGHT = 5
DELIVERY_TIMEOUT_MS = 300_000

HARDENED: kafka_url.Settings = {
    "enable.idempotence": True,
    # After a record that is not taken, librdkafka would otherwise go on with what comes after it.
    "enable.gapless.guarantee": True,
    "acks": "all",
    "max.in.flight": MOST_IN_FLIGHT,
    "retries": RETRIES,
    # Where Java's clients put a key. librdkafka's own default puts it elsewhere: one key, two partitions.
    "partitioner": "murmur2_random",
    "reconnect.backoff.max.ms": 2_000,
    # How long a broker that hangs holds up what another one leads by now. librdkafka's own default is a minute.
    "socket.timeout.ms": 10_000,
    # librdkafka never gives up by itself: what it gives up on may be overtaken by what it sends next.
    "message.timeout.ms": 0,
    # How soon a topic's growth is noticed. librdkafka's own default is five minutes, as Java's.
    "topic.metadata.refresh.interval.ms": 60_000,
}
"""What inorder sets. A URL may change the rest."""

_log = logging.getLogger("inorder.producer")


class Rule(NamedTuple):
    """An option that keeps records in order while its value passes `safe`, and what happens when it does not."""

    safe: Callable[[str], bool]
    write: str
    reason: str


def _is(*values: str) -> Callable[[str], bool]:
    return lambda value: value.lower() in values


_ACKS = Rule(_is("all", "-1"), "all", "a record that only the leader has is lost with it, and later versions are not")
_IN_FLIGHT = Rule(
    lambda value: value.isdecimal() and 1 <= int(value) <= MOST_IN_FLIGHT,
    "5 or less",
    "a broker remembers the last five batches only: past that, a retry can come out of order or twice",
)
_RETRIES = Rule(_is(str(RETRIES)), str(RETRIES), "a short outage would stop keys that only had to wait")
RULES = {
    "enable.idempotence": Rule(
        _is("true"), "true", "without it, a retry can put a key's records out of order, or in the topic twice"
    ),
    "enable.gapless.guarantee": Rule(
        _is("true"), "true", "without it, later records of a key are sent past one that the broker did not take"
    ),
    "acks": _ACKS,
    "request.required.acks": _ACKS,
    "max.in.flight.requests.per.connection": _IN_FLIGHT,
    "max.in.flight": _IN_FLIGHT,
    "retries": _RETRIES,
    "message.send.max.retries": _RETRIES,
    "partitioner": Rule(
        _is("murmur2", "murmur2_random"),
        "murmur2_random",
        "keys would go elsewhere than with Java's clients and inorder's own: one key in two partitions",
    ),
    "queuing.strategy": Rule(_is("fifo"), "fifo", "the newest records would be sent first"),
}
"""What a URL may not change without `allow_unsafe=true`."""

_NEVER = {
    "bootstrap.servers": "the URL names the brokers before the topic",
    "metadata.broker.list": "the URL names the brokers before the topic",
    "transactional.id": "inorder's producer opens no transactions",
    "delivery.report.only.error": "inorder needs to know what was delivered",
}


class Chosen(NamedTuple):
    """How a producer is set up. `own_placement`: inorder chooses the partitions, as Java's clients do."""

    settings: kafka_url.Settings
    delivery_timeout_s: float
    own_placement: bool


def choose(bootstrap: str, options: Mapping[str, str]) -> Chosen:
    """The settings for the options of a URL. Raises `UsageError` for an unsafe one, with the reason."""
    given = dict(options)
    unsafe = given.pop("allow_unsafe", "false").lower()
    if unsafe not in {"true", "false"}:
        raise UsageError(f"allow_unsafe={unsafe} is neither true nor false")
    timeout_s = _delivery_timeout_s(given)
    for name, value in given.items():
        if name in _NEVER:
            raise UsageError(f"{name} cannot be set in the Kafka URL: {_NEVER[name]}")
        if (rule := RULES.get(name)) and not rule.safe(value):
            if unsafe == "false":
                raise UsageError(
                    f"{name}={value} is not safe: {rule.reason}; write {name}={rule.write} or leave it out, "
                    f"or add allow_unsafe=true if that may happen"
                )
            _log.warning("%s=%s is not safe: %s", name, value, rule.reason)
    settings = {**HARDENED, **given, "bootstrap.servers": bootstrap}
    for alias, name in _ALIASES.items():
        if alias in given:
            settings.pop(name)
    if str(settings["enable.idempotence"]).lower() != "true" and "enable.gapless.guarantee" not in given:
        settings["enable.gapless.guarantee"] = False
    return Chosen(settings, timeout_s, RULES["partitioner"].safe(str(settings["partitioner"])))


_ALIASES = {
    "request.required.acks": "acks",
    "max.in.flight.requests.per.connection": "max.in.flight",
    "message.send.max.retries": "retries",
}


def _delivery_timeout_s(given: dict[str, str]) -> float:
    """Taken out of the options: it is kept by inorder, which stops the key when it is over."""
    limit = str(DELIVERY_TIMEOUT_MS)
    for name in ("message.timeout.ms", "delivery.timeout.ms"):
        limit = given.pop(name, limit)
    if not limit.isdecimal() or int(limit) < 1:
        raise UsageError(f"delivery.timeout.ms={limit} is no time: write milliseconds, such as {DELIVERY_TIMEOUT_MS}")
    return int(limit) / 1000
