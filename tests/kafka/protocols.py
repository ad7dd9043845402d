"""The three ways of being in a consumer group, with sessions that are short enough to wait out in a test."""

from __future__ import annotations

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.services import KafkaCluster

SESSION_S = 1.5
HEARTBEAT_S = 0.2

CLASSIC = {
    "session.timeout.ms": str(int(SESSION_S * 1000)),
    "heartbeat.interval.ms": str(int(HEARTBEAT_S * 1000)),
}
PROTOCOLS = {
    "cooperative": {**CLASSIC, "partition.assignment.strategy": "cooperative-sticky"},
    "eager": {**CLASSIC, "partition.assignment.strategy": "range"},
    "kip848": {"group.protocol": "consumer"},
}
QUICK = {
    # A member that is not polled leaves: the nearest thing to a silent one, as librdkafka sends heartbeats by itself.
    "max.poll.interval.ms": str(int(SESSION_S * 1000)),
    "topic.metadata.refresh.interval.ms": "200",
    "reconnect.backoff.max.ms": "200",
}


def options(protocol: str) -> dict[str, str]:
    """librdkafka's options for a member."""
    return {**QUICK, **PROTOCOLS[protocol]}


def prepare_group(kafka: KafkaCluster, protocol: str, group: str) -> None:
    """In KIP-848 the broker keeps the session's length, for each group."""
    if protocol == "kip848":
        times = {"consumer.session.timeout.ms": SESSION_S, "consumer.heartbeat.interval.ms": HEARTBEAT_S}
        entries = [
            ConfigEntry(name, str(int(seconds * 1000)), incremental_operation=AlterConfigOpType.SET)
            for name, seconds in times.items()
        ]
        resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=entries)
        kafka.admin.incremental_alter_configs([resource])[resource].result(10)
