"""The checks of `inorder doctor` for queues. See `checks`."""

from __future__ import annotations

from inorder.doctor.checks import SHORTEST_RETENTION_MS, Found
from inorder.doctor.facts import Queue, Store

FEW_RECEIVES = 100
"""A message that waits behind a failing one of its run is received as often as that one, without ever being tried."""
LEAST_VISIBILITY_S = 10
LONGEST_HANDLER_S = 12 * 3600


def queue_fifo(queue: Queue) -> Found:
    if queue.attributes.get("FifoQueue") != "true":
        yield f"{queue.name} is a standard queue"


def queue_visibility(queue: Queue) -> Found:
    if queue.handler_s >= LONGEST_HANDLER_S:
        yield f"a handler may take {queue.handler_s:g} s, and no message of {queue.name} stays ours for 12 hours"
    elif queue.visibility_s < max(LEAST_VISIBILITY_S, queue.handler_s):
        yield (
            f"the visibility timeout of {queue.name} is {queue.visibility_s:g} s, and a handler may take "
            f"{queue.handler_s:g} s"
        )


def queue_redrive(queue: Queue) -> Found:
    if queue.max_receives is not None and queue.max_receives < FEW_RECEIVES:
        yield f"maxReceiveCount={queue.max_receives} on {queue.name}"


def queue_retention(queue: Queue, store: Store | None = None) -> Found:
    limit_s = int(queue.attributes.get("MessageRetentionPeriod", SHORTEST_RETENTION_MS // 1000))
    if limit_s * 1000 < SHORTEST_RETENTION_MS:
        yield f"messages of {queue.name} expire after {limit_s / 86_400:.2g} days"
    if queue.dead_letter_retention_s is not None and queue.dead_letter_retention_s < limit_s:
        days = queue.dead_letter_retention_s / 86_400
        yield f"messages of the dead-letter queue of {queue.name} expire after {days:.2g} days, sooner than its own"
    age_s = store.oldest_letter_s if store else None
    if age_s is not None and limit_s < age_s:
        yield (
            f"messages of {queue.name} expire after {limit_s / 86_400:.2g} days, and the oldest dead letter or parked "
            f"key has been open for {age_s / 86_400:.2g} days"
        )


def queue_deduplication_scope(queue: Queue) -> Found:
    if queue.attributes.get("DeduplicationScope") == "queue":
        yield f"DeduplicationScope=queue on {queue.name}"


def queue_content_deduplication(queue: Queue) -> Found:
    if queue.attributes.get("ContentBasedDeduplication") == "true":
        yield f"ContentBasedDeduplication=true on {queue.name}"


def queue_throughput(queue: Queue) -> Found:
    if queue.attributes.get("FifoThroughputLimit") == "perQueue":
        yield f"FifoThroughputLimit=perQueue on {queue.name}: 300 requests a second for all groups together"
