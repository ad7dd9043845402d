"""What a producer needs to know of its topic before it sends. Never changes it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from inorder.sources.kafka_url import Settings

ASK_S = 5.0
"""How long the cluster may take to answer a question about the topic."""
SMALLEST_LIMIT = 1_000
"""librdkafka takes no smaller message.max.bytes."""
BATCH_OVERHEAD = 500

_OURS_TO_SET = {"message.max.bytes", "batch.size"}


def batch_limits(admin: AdminClient, topic: str, given: Collection[str]) -> Settings:
    """Options that build no larger batches than the topic takes: one that is too large fails with all of its records.

    None where a URL has `given` its own, or where we have no right to ask.
    """
    if _OURS_TO_SET & set(given):
        return {}
    resource = ConfigResource(ResourceType.TOPIC, topic)
    with suppress(KafkaException, KeyError, TimeoutError):
        answer = admin.describe_configs([resource], request_timeout=ASK_S)[resource].result(ASK_S)
        limit = max(SMALLEST_LIMIT, int(answer["max.message.bytes"].value))
        return {"message.max.bytes": limit, "batch.size": limit - BATCH_OVERHEAD}
    return {}
