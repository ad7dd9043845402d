"""Reads the configuration of a producer from a file, and fills in what its client library has by default.

Lines `name=value` as in Java's .properties, or one JSON object. Nothing in it is used to connect.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from inorder.doctor.facts import Producer
from inorder.errors import UsageError

JAVA = {
    "enable.idempotence": "true",
    "acks": "all",
    "max.in.flight": "5",
    "retries": "2147483647",
    "partitioner": "murmur2_random",
}
"""Java's clients from 3.0 on."""
LIBRDKAFKA = {
    "enable.idempotence": "false",
    "acks": "all",
    "max.in.flight": "1000000",
    "retries": "2147483647",
    "partitioner": "consistent_random",
}
_OF_JAVA = {
    "key.serializer",
    "value.serializer",
    "partitioner.class",
    "buffer.memory",
    "max.block.ms",
    "interceptor.classes",
    "max.request.size",
}
_ONE_NAME = {
    "max.in.flight.requests.per.connection": "max.in.flight",
    "request.required.acks": "acks",
    "message.send.max.retries": "retries",
}
_DEFAULT_CLASSES = {"org.apache.kafka.clients.producer.internals.DefaultPartitioner", ""}


def read_producer(file: str) -> Producer:
    """The producer that a file describes. Raises `UsageError` when it cannot be read."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}") from None
    given = _json(file, text) if text.lstrip().startswith("{") else _properties(file, text)
    java = bool(_OF_JAVA & given.keys())
    client = "Java's client" if java else "librdkafka"
    options = dict(JAVA if java else LIBRDKAFKA)
    if given.get("enable.idempotence", "").lower() == "true":
        options["max.in.flight"] = JAVA["max.in.flight"]  # librdkafka lowers what nobody has set
    for name, value in given.items():
        options[_ONE_NAME.get(name, name)] = value
    if java:
        _as_java_decides(options, given)
    return Producer(file, client, options)


def _as_java_decides(options: dict[str, str], given: dict[str, str]) -> None:
    # Where idempotence is not asked for, Java's client quietly does without it when another option contradicts it.
    if "enable.idempotence" not in given and (
        options["acks"] not in {"all", "-1"}
        or options["retries"] == "0"
        or not options["max.in.flight"].isdecimal()
        or int(options["max.in.flight"]) > int(JAVA["max.in.flight"])
    ):
        options["enable.idempotence"] = "false"
    if (chosen := given.get("partitioner.class", "")) not in _DEFAULT_CLASSES:
        options["partitioner"] = chosen
    if given.get("partitioner.ignore.keys", "false").lower() == "true":
        options["partitioner"] = "none: partitioner.ignore.keys=true"


def _json(file: str, text: str) -> dict[str, str]:
    try:
        found: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise UsageError(f"{file}: {error}") from None
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in found.items()}


def _properties(file: str, text: str) -> dict[str, str]:
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare[0] in "#!":
            continue
        name, mark, value = bare.partition("=")
        if not mark:
            raise UsageError(f"{file}, line {number}: {bare!r} is no name=value")
        found[name.strip()] = value.strip()
    return found
