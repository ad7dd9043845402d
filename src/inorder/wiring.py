"""Which adapter a URL names. The only module that knows adapters by name; each is imported when it is used."""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from inorder.errors import UsageError
from inorder.ports import Sink, Source

_SOURCES = {
    "embedded": ("inorder.sources.embedded", "EmbeddedSource"),
    "kafka": ("inorder.sources.kafka", "KafkaSource"),
    "sqs": ("inorder.sources.sqs", "SqsSource"),
}
_LAGS = {
    "embedded": ("inorder.sources.embedded_lag", "EmbeddedLag"),
    "kafka": ("inorder.sources.kafka_lag", "KafkaLag"),
    "sqs": ("inorder.sources.sqs_lag", "SqsLag"),
}
_SINKS = {
    "embedded": ("inorder.producing.embedded", "EmbeddedSink"),
    "kafka": ("inorder.producing.kafka", "KafkaSink"),
    "sqs": ("inorder.producing.sqs", "SqsSink"),
}
_CHANNELS = {
    "embedded": ("inorder.producing.embedded_channel", "EmbeddedChannel"),
    "kafka": ("inorder.producing.kafka_channel", "KafkaChannel"),
    "sqs": ("inorder.producing.sqs_channel", "SqsChannel"),
}
_OUTBOXES = {
    "sqlite": ("inorder.producing.sqlite_outbox", "SqliteOutbox"),
    "postgresql": ("inorder.producing.postgres_outbox", "PostgresOutbox"),
}
_SOURCE_FACTS = {
    "embedded": ("inorder.doctor.embedded_facts", "EmbeddedFacts"),
    "kafka": ("inorder.doctor.kafka_facts", "KafkaFacts"),
    "sqs": ("inorder.doctor.sqs_facts", "SqsFacts"),
}
_STORE_FACTS = {
    "sqlite": ("inorder.doctor.sqlite_facts", "SqliteFacts"),
    "postgresql": ("inorder.doctor.postgres_facts", "PostgresFacts"),
}
_STORES = {
    "sqlite": ("inorder.stores.sqlite", "SqliteStore"),
    "postgresql": ("inorder.stores.postgres", "PostgresStore"),
}
_FILE = ("inorder.sources.file", "FileSource")
_EXTRAS = {"boto3": "sqs", "botocore": "sqs", "confluent_kafka": "kafka", "psycopg": "postgres"}


def open_source(url: str, group: str) -> Source:
    """The source that `url` names. `group` is the consumer group unless the URL names one."""
    scheme = _scheme(url)
    if scheme in {"", "file"}:
        if scheme and urlsplit(url).netloc not in {"", "localhost"}:
            raise UsageError(f"{url!r} names no file here: write file:///absolute.jsonl, or the path alone")
        return _adapter(_FILE)(unquote(urlsplit(url).path) if scheme else url)  # type: ignore[no-any-return]
    source: Source = _adapter(_known(_SOURCES, scheme, url, "source")).from_url(url, group)
    return source


def open_lag(url: str, group: str) -> Any:
    """Call it for how many records a group is behind on the source that `url` names. To be closed."""
    return _adapter(_known(_LAGS, _scheme(url), url, "live stream")).from_url(url, group)


def has_lag(url: str) -> bool:
    """Whether `open_lag` knows the kind of source that `url` names."""
    return _scheme(url) in _LAGS


def is_one_reader(url: str) -> bool:
    """Whether `url` names a source without groups: every reader would be given all of it."""
    return _scheme(url) in {"", "file"}


def open_sink(url: str, partitions: int | None = None) -> Sink:
    """The producing end of a source that `url` names. `partitions` creates a topic that is not there."""
    sink: Sink = _adapter(_known(_SINKS, _scheme(url), url, "sink")).from_url(url, partitions)
    return sink


def open_channel(url: str) -> Any:
    """The producing end of a source that `url` names, as `inorder.Producer` uses it."""
    return _adapter(_known(_CHANNELS, _scheme(url), url, "place to send to")).from_url(url)


def open_outbox(url: str, name: str) -> Any:
    """The tables of an outbox in the database that `url` names."""
    return _adapter(_known(_OUTBOXES, _scheme(url), url, "database of an outbox")).from_url(url, name)


def source_facts(url: str, group: str | None) -> Any:
    """What a doctor asks the broker that `url` names."""
    return _adapter(_known(_SOURCE_FACTS, _scheme(url), url, "broker to examine"))(url, group)


def store_facts(url: str) -> Any:
    """What a doctor asks the store that `url` names."""
    return _adapter(_known(_STORE_FACTS, _scheme(url), url, "store"))(url)


def open_store(url: str, stream: str, *, create: bool = True) -> Any:
    """The store that `url` names, for one stream ("" for a look at all of it)."""
    return _adapter(_known(_STORES, _scheme(url), url, "store")).from_url(url, stream, create)


def lasting(url: str) -> str:
    """The URL of a store that names the same one when the program has moved to another directory."""
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or parts.netloc or parts.query or not parts.path[1:]:
        return url
    return f"sqlite:///{quote(os.path.abspath(unquote(parts.path[1:])))}"


def public(url: str) -> str:
    """A URL without what may be secret in it: its user, password and options."""
    return re.sub(r"(?<=://)[^/]*@", "", url.partition("?")[0]) if "://" in url else url


def check_source(url: str) -> None:
    """Raises `UsageError` when `url` names no source."""
    if not is_one_reader(url):
        _known(_SOURCES, _scheme(url), url, "source")


def check_sink(url: str) -> None:
    """Raises `UsageError` when `url` names no sink."""
    _known(_SINKS, _scheme(url), url, "sink")


def check_store(url: str) -> None:
    """Raises `UsageError` when `url` names no store."""
    _known(_STORES, _scheme(url), url, "store")


def _scheme(url: str) -> str:
    if "://" not in url:
        return ""
    if "#" in url:
        # Else all behind it would be left out without a word.
        raise UsageError(f"{public(url)!r} has a # in it: write %23")
    try:
        return urlsplit(url).scheme
    except ValueError as error:
        raise UsageError(f"{public(url)!r} is no URL: {error}") from None


def _known(table: dict[str, tuple[str, str]], scheme: str, url: str, what: str) -> tuple[str, str]:
    if scheme == "postgres":
        scheme = "postgresql"
    if scheme not in table:
        forms = ", ".join(f"{name}://…" for name in table)
        raise UsageError(f"{public(url)!r} is no {what}: write {forms}{' or a file' if what == 'source' else ''}")
    return table[scheme]


def _adapter(place: tuple[str, str]) -> Any:
    module, name = place
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        raise UsageError(f"{error.name} is not installed: pip install 'inorder[{extra}]'") from None
