"""librdkafka's options for a member of a group: what inorder changes of its defaults, and what no URL may change."""

from __future__ import annotations

from collections.abc import Mapping

from inorder.sources import kafka_url

_DEFAULTS: kafka_url.Settings = {
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    # A group notices new partitions with the metadata. librdkafka's own default is five minutes.
    "topic.metadata.refresh.interval.ms": 5_000,
    # For how long librdkafka stops fetching once its queue is full. Its own default, a second, starves a fast consumer.
    "fetch.queue.backoff.ms": 5,
    "reconnect.backoff.max.ms": 2_000,
    "max.poll.interval.ms": 300_000,
    # How long a request to a broker that hangs holds up the next. librdkafka's own default is a minute.
    "socket.timeout.ms": 10_000,
}
_OURS = "inorder commits what is settled, and nothing else"
_FIXED: dict[str, tuple[str | int | bool, str]] = {
    "enable.auto.commit": (False, _OURS),
    "enable.auto.offset.store": (False, _OURS),
    "enable.partition.eof": (False, "inorder finds the end of a topic by itself"),
}


def member_settings(bootstrap: str, group: str, options: Mapping[str, str]) -> kafka_url.Settings:
    """The configuration of a member of `group`."""
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


def is_eager(settings: kafka_url.Settings) -> bool:
    """Whether a rebalance takes all partitions away first. librdkafka refuses strategies of both sorts together."""
    return "cooperative" not in str(settings.get("partition.assignment.strategy", "cooperative"))


def starts_at_end(settings: kafka_url.Settings) -> bool:
    """Whether a group that has committed nothing begins with what is produced from then on."""
    return settings["auto.offset.reset"] in {"latest", "largest", "end"}


def poll_limit_s(settings: kafka_url.Settings) -> float:
    """How long a member may go without polling."""
    return int(settings["max.poll.interval.ms"]) / 1000
