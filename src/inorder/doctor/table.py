"""The table of all checks: what each looks at, why what it finds can break order, and how to mend it.

A check's name is its anchor in the runbook.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import NamedTuple

from inorder.doctor import checks, queue_checks

RUNBOOK = "docs/runbook.md"


class Check(NamedTuple):
    """One line of the table."""

    name: str
    look: Callable[..., Iterable[str]]
    why: str
    fix: str

    @property
    def link(self) -> str:
        """Where the runbook says more."""
        return f"{RUNBOOK}#{self.name}"

    @property
    def needs(self) -> list[str]:
        """The parts of the facts without which it cannot be decided."""
        parameters = inspect.signature(self.look).parameters.values()
        return [one.name for one in parameters if one.default is inspect.Parameter.empty]

    @property
    def uses(self) -> list[str]:
        """The parts that it looks at."""
        return list(inspect.signature(self.look).parameters)


TABLE = (
    Check(
        "producer-idempotence",
        checks.producer_idempotence,
        "a request that is sent again after a lost answer is in the topic twice, and behind requests sent after it",
        "set enable.idempotence=true, or send with inorder.Producer",
    ),
    Check(
        "producer-acks",
        checks.producer_acks,
        "a record that only the leader has is lost with it, and later versions of its key are not",
        "set acks=all",
    ),
    Check(
        "producer-in-flight",
        checks.producer_in_flight,
        "when one of several requests fails, those behind it are kept before it is sent again",
        "set enable.idempotence=true and max.in.flight.requests.per.connection=5, or 1 without idempotence",
    ),
    Check(
        "producer-retries",
        checks.producer_retries,
        "a record that is given up on during a short outage is missing, and later versions of its key are not",
        "leave retries at its default, and bound the time instead: delivery.timeout.ms",
    ),
    Check(
        "producer-partitioner",
        checks.producer_partitioner,
        "producers that place keys differently put one key into two partitions, which are read at the same time",
        "set partitioner=murmur2_random in librdkafka's clients; leave partitioner.class out in Java's",
    ),
    Check(
        "replication",
        checks.replication,
        "with the broker's disk, acknowledged events are lost; what is produced again gets another order",
        "give the topic 3 replicas (kafka-reassign-partitions.sh)",
    ),
    Check(
        "min-insync-replicas",
        checks.min_insync_replicas,
        "an acknowledged event may be on one broker only, and be lost with it while later ones are kept",
        "set min.insync.replicas=2 on the topic, with 3 replicas and acks=all",
    ),
    Check(
        "unclean-leader-election",
        checks.unclean_leader_election,
        "a replica that lags behind may become the leader: the end of the log is lost, and its offsets are given again",
        "set unclean.leader.election.enable=false",
    ),
    Check(
        "retention",
        checks.retention,
        "events that expire before they are read leave a gap that never fills; nothing can be read again after a fix",
        "set retention.ms to more than your longest outage and the age of your oldest dead letter, retention.bytes=-1",
    ),
    Check(
        "expired-unread",
        checks.expired_unread,
        "these events will never be read: their entities wait for the missing versions until they are parked",
        "find the entities with `inorder dlq list`, get the events from their origin, or skip the versions; then raise "
        "retention.ms",
    ),
    Check(
        "compaction",
        checks.compaction,
        "strict order waits for versions that compaction has removed, for ever",
        "set cleanup.policy=delete, or declare the consumer with order=latest if each event holds the whole state",
    ),
    Check(
        "partition-growth",
        checks.partition_growth,
        "keys have moved: their older events are in another partition than their newer ones, and are read beside them",
        "nothing for strict, latest and commutative order: early events are held; let consumers without a guard read "
        "everything before the growth first",
    ),
    Check(
        "partitioner-mismatch",
        checks.partitioner_mismatch,
        "a producer that places keys as Java's clients do puts the same key into another partition as well",
        "let all producers of the topic use one partitioner: murmur2_random, which is Java's",
    ),
    Check(
        "producer-state",
        checks.producer_state,
        "a broker that has forgotten an idle producer takes any batch of it as the first: a failed one is overtaken",
        "set producer.id.expiration.ms back to its default, 86400000",
    ),
    Check(
        "session-timeout",
        checks.session_timeout,
        "a worker that is a little late loses its partitions, and another one works on the same keys",
        "set session.timeout.ms=45000 and heartbeat.interval.ms=3000, within what the brokers allow",
    ),
    Check(
        "poll-limit",
        checks.poll_limit,
        "the partition is taken away while a handler runs, and another worker begins with the same event",
        "raise max.poll.interval.ms in the URL above handler_s and drain_s, or lower these limits",
    ),
    Check(
        "isolation-level",
        checks.isolation_level,
        "events of aborted transactions take effect",
        "leave isolation.level out of the URL: inorder reads what is committed",
    ),
    Check(
        "offset-reset",
        checks.offset_reset,
        "partitions without a committed offset, such as new ones, are begun at their end: first events are skipped",
        "leave auto.offset.reset out of the URL: inorder begins with the earliest record",
    ),
    Check(
        "queue-fifo",
        queue_checks.queue_fifo,
        "a standard queue delivers in any order, and gives one entity's events to several workers at once",
        "create a FIFO queue, whose name ends with .fifo; a queue cannot be changed into one",
    ),
    Check(
        "queue-visibility",
        queue_checks.queue_visibility,
        "a worker that misses one extension loses its messages while its handler runs, and another begins with them",
        "set VisibilityTimeout above the consumer's handler_s, or visibility_s= in the URL; what is done is deleted at "
        "once",
    ),
    Check(
        "queue-redrive",
        queue_checks.queue_redrive,
        "a run that is received again counts for all of its messages: events that were never tried are moved away, and "
        "later versions of their keys are not",
        "set maxReceiveCount to 1000 or leave RedrivePolicy out: inorder keeps dead letters itself, one event each",
    ),
    Check(
        "queue-retention",
        queue_checks.queue_retention,
        "events that expire before they are read leave a gap that never fills; nothing can be sent again after a fix",
        "set MessageRetentionPeriod=1209600 on the queue and on its dead-letter queue, which is the most there is",
    ),
    Check(
        "queue-deduplication-scope",
        queue_checks.queue_deduplication_scope,
        "an event whose id was used for another key in the last five minutes is swallowed, and its key has a gap",
        "set DeduplicationScope=messageGroup and FifoThroughputLimit=perMessageGroupId, unless ids are unique over all "
        "keys",
    ),
    Check(
        "queue-content-deduplication",
        queue_checks.queue_content_deduplication,
        "a producer that leaves the id out has an event swallowed that says the same as one of the last five minutes",
        "set ContentBasedDeduplication=false, and send with inorder.Producer, whose deduplication id is the event's",
    ),
    Check(
        "queue-throughput",
        queue_checks.queue_throughput,
        "requests beyond the limit are refused, and a producer that gives up leaves a gap",
        "set FifoThroughputLimit=perMessageGroupId with DeduplicationScope=messageGroup, and send in batches of ten",
    ),
    Check(
        "clock-skew-producers",
        checks.clock_of_producers,
        "retention goes by these times: records from the future outlive older ones of their key, or are refused",
        "keep the clocks of producers and brokers in step (NTP), or set message.timestamp.type=LogAppendTime",
    ),
    Check(
        "clock-skew-store",
        checks.clock_of_store,
        "waiting times and leases go by both clocks: keys are parked too early or tried too late",
        "keep the clocks of workers and database in step (NTP)",
    ),
    Check(
        "store-durability",
        checks.store_durability,
        "a commit that a crash undoes comes after offsets that were committed: its events are never read again",
        "PostgreSQL: synchronous_commit=on, fsync=on, full_page_writes=on; SQLite: journal_mode=WAL, synchronous=FULL",
    ),
    Check(
        "store-place",
        checks.store_place,
        "SQLite's locks and its log need a local disk: elsewhere two workers may both believe to be the only writer",
        "put the file on a local disk, or use PostgreSQL",
    ),
)
"""In the order in which they are told."""


def as_markdown() -> str:
    """The section of the runbook: one heading a check, which is the anchor that findings link to."""
    parts = [
        f"### {check.name}\n\n**Why it can break order.** {_sentence(check.why)}\n\n**Fix.** {_sentence(check.fix)}\n"
        for check in TABLE
    ]
    return "\n" + "\n".join(parts) + "\n"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    print(as_markdown(), end="")
