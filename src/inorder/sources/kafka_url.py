"""The URLs of Kafka: `kafka://host:port[,host:port…]/TOPIC?group=…`, other query keys being librdkafka's options.

It never opens anything, and never prints the value of an option: passwords are among them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from inorder.errors import UsageError

FORM = "kafka://host:port[,host:port]/TOPIC?group=GROUP"

Settings = dict[str, Any]

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")


class Location(NamedTuple):
    """What a Kafka URL names. `options` are the query keys, but for `group`."""

    bootstrap: str
    topic: str
    group: str | None
    options: dict[str, str]


def parse(url: str) -> Location:
    """The parts of `url`."""
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise UsageError(f"not a Kafka URL ({error}): write {FORM}") from None
    if parts.scheme != "kafka" or not parts.netloc:
        raise UsageError(f"not a Kafka URL: write {FORM}")
    if "@" in parts.netloc:
        raise UsageError("a Kafka URL takes credentials as sasl.username= and sasl.password=")
    topic = unquote(parts.path.removeprefix("/"))
    if not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
        raise UsageError(f"{topic!r} cannot be the name of a Kafka topic: write {FORM}")
    options: dict[str, str] = {}
    for name, value in pairs:
        if name in options:
            raise UsageError(f"the Kafka URL gives {name} twice")
        options[name] = value
    group = options.pop("group", None)
    if group == "":
        raise UsageError(f"the Kafka URL gives an empty group: write {FORM}")
    return Location(parts.netloc, topic, group, options)


def settings(
    defaults: Mapping[str, str | int | bool],
    options: Mapping[str, str],
    fixed: Mapping[str, tuple[str | int | bool, str]],
) -> Settings:
    """librdkafka's configuration: `defaults`, over them `options`, over them `fixed`.

    Each fixed value comes with the reason why a URL must not change it.
    """
    for name, value in options.items():
        if name in fixed and value.lower() != str(fixed[name][0]).lower():
            raise UsageError(f"{name} cannot be set in the Kafka URL: {fixed[name][1]}")
    return {**defaults, **options, **{name: value for name, (value, _) in fixed.items()}}
