"""The checks of `inorder doctor`. Each is a function of facts; it gives what it found, a sentence each, or nothing.

Its parameters are the parts of the facts that it needs, by name; one with a default is used where it is there. Why a
finding matters, and what to do about it, is in `table`.
"""

from __future__ import annotations

from collections.abc import Iterable

from inorder.doctor.facts import Consumer, Group, Producer, Sample, Store, Topic
from inorder.doctor.placement import judge

LEAST_REPLICAS = 2
SHORTEST_RETENTION_MS = 3 * 86_400_000
"""A weekend, and the day to notice."""
SHORTEST_PRODUCER_STATE_MS = 3_600_000
SPARE_S = 10.0
"""What a poll has beside the longest handler."""
BEATS_PER_SESSION = 3
MOST_SKEW_S = 5.0
MOST_IN_FLIGHT = 5
FEW_RETRIES = 1_000
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "glusterfs", "ceph"}
MEMORY = {"tmpfs", "ramfs"}
ALL_REPLICAS = {"all", "-1"}
JAVAS = {"murmur2", "murmur2_random"}

_TIMES = {"session.timeout.ms": 45_000, "heartbeat.interval.ms": 3_000}
"""With librdkafka's defaults."""
_WEAK = {
    "fsync": {"off"},
    "full_page_writes": {"off"},
    "synchronous_commit": {"off"},
    "journal_mode": {"delete", "truncate", "persist", "memory", "off"},
    "synchronous": {"off", "normal"},
}

Found = Iterable[str]


def producer_idempotence(producer: Producer) -> Found:
    if producer.options["enable.idempotence"].lower() != "true":
        yield f"{producer.file}: enable.idempotence is off ({producer.client})"


def producer_acks(producer: Producer) -> Found:
    if producer.options["acks"] not in ALL_REPLICAS:
        yield f"{producer.file}: acks={producer.options['acks']}"


def producer_in_flight(producer: Producer) -> Found:
    most = producer.options["max.in.flight"]
    idempotent = producer.options["enable.idempotence"].lower() == "true"
    if not most.isdecimal() or int(most) > (MOST_IN_FLIGHT if idempotent else 1):
        yield (
            f"{producer.file}: up to {most} requests in flight "
            f"({'with' if idempotent else 'without'} idempotence, {producer.client})"
        )


def producer_retries(producer: Producer) -> Found:
    if not producer.options["retries"].isdecimal() or int(producer.options["retries"]) < FEW_RETRIES:
        yield f"{producer.file}: retries={producer.options['retries']}"


def producer_partitioner(producer: Producer) -> Found:
    if producer.options["partitioner"] not in JAVAS:
        yield f"{producer.file}: partitioner is {producer.options['partitioner']} ({producer.client})"


def replication(topic: Topic) -> Found:
    few = [p.number for p in topic.partitions if p.replicas < LEAST_REPLICAS]
    if few and topic.config:
        yield f"{len(few)} of {len(topic.partitions)} partitions of {topic.name} are on one broker only"


def min_insync_replicas(topic: Topic) -> Found:
    least = int(topic.config.get("min.insync.replicas", LEAST_REPLICAS))
    for replicas in sorted({p.replicas for p in topic.partitions if p.replicas >= LEAST_REPLICAS}):
        if least < LEAST_REPLICAS:
            yield f"min.insync.replicas={least} on {topic.name}, with {replicas} replicas"
        elif least > replicas:
            yield f"min.insync.replicas={least} on {topic.name}, with {replicas} replicas: nothing can be written"


def unclean_leader_election(topic: Topic) -> Found:
    if topic.config.get("unclean.leader.election.enable") == "true":
        yield f"unclean.leader.election.enable=true on {topic.name}"


def retention(topic: Topic, store: Store | None = None) -> Found:
    if "delete" not in topic.config.get("cleanup.policy", ""):
        return
    limit_ms, limit_bytes = int(topic.config["retention.ms"]), int(topic.config["retention.bytes"])
    if limit_bytes >= 0:
        yield f"retention.bytes={limit_bytes} on {topic.name}: how long records stay depends on the traffic"
    if 0 <= limit_ms < SHORTEST_RETENTION_MS:
        yield f"retention.ms={limit_ms} on {topic.name}, {limit_ms / 86_400_000:.2g} days"
    age_s = store.oldest_letter_s if store else None
    if age_s is not None and 0 <= limit_ms < age_s * 1000:
        yield (
            f"retention.ms={limit_ms} on {topic.name}, and the oldest dead letter or parked key has been open for "
            f"{age_s / 86_400:.2g} days"
        )


def expired_unread(group: Group) -> Found:
    if group.expired:
        where = ", ".join(f"{count} of partition {number}" for number, count in sorted(group.expired.items()))
        yield f"group {group.name} had not committed records that are gone: {where}"


def compaction(topic: Topic, store: Store | None = None) -> Found:
    orders = set(store.orders.values()) if store else set()
    if "compact" in topic.config.get("cleanup.policy", "") and orders != {"latest"}:
        yield f"cleanup.policy={topic.config['cleanup.policy']} on {topic.name}: older versions of a key are removed"


def partition_growth(topic: Topic, sample: Sample, store: Store | None = None) -> Found:
    count = len(topic.partitions)
    placed = judge(sample.records, count)
    if placed.grown_from is not None:
        yield (
            f"{topic.name} has {count} partitions, and {placed.elsewhere} of {placed.keyed} sampled records are where "
            f"they belonged when it had {placed.grown_from}: {placed.example}"
        )
    seen = store.partitions_seen if store else 0
    if 0 < seen < count:
        yield f"{topic.name} has {count} partitions, and the workers of the store have had {seen}"


def partitioner_mismatch(topic: Topic, sample: Sample) -> Found:
    placed = judge(sample.records, len(topic.partitions))
    if placed.elsewhere and placed.grown_from is None:
        who = placed.partitioner or "by no partitioner that is known here"
        yield f"{placed.elsewhere} of {placed.keyed} sampled records of {topic.name} are placed {who}: {placed.example}"


def producer_state(topic: Topic) -> Found:
    kept_ms = topic.brokers.get("producer.id.expiration.ms", "")
    if kept_ms.isdecimal() and int(kept_ms) < SHORTEST_PRODUCER_STATE_MS:
        yield f"producer.id.expiration.ms={kept_ms} on the brokers"


def session_timeout(consumer: Consumer, topic: Topic) -> Found:
    options, brokers = consumer.options, topic.brokers
    if options.get("group.protocol", "classic").lower() == "consumer":
        session, beat = (int(brokers.get(f"group.consumer.{name}", 0)) for name in _TIMES)
        if session < BEATS_PER_SESSION * beat:
            yield f"group.consumer.session.timeout.ms={session} on the brokers, with a heartbeat every {beat} ms"
        return
    session, beat = (int(options.get(name, default)) for name, default in _TIMES.items())
    if session < BEATS_PER_SESSION * beat:
        yield f"session.timeout.ms={session} with heartbeat.interval.ms={beat}"
    least = int(brokers.get("group.min.session.timeout.ms", 0))
    most = int(brokers.get("group.max.session.timeout.ms", session))
    if not least <= session <= most:
        yield f"session.timeout.ms={session}, and the brokers take {least} to {most}: the worker cannot join"


def poll_limit(consumer: Consumer) -> Found:
    limit_s = int(consumer.options["max.poll.interval.ms"]) / 1000
    needed_s = max(consumer.handler_s, consumer.drain_s) + SPARE_S
    if limit_s < needed_s:
        yield (
            f"max.poll.interval.ms is {limit_s:g} s, and a handler may take {consumer.handler_s:g} s, "
            f"handing a partition over {consumer.drain_s:g} s"
        )


def isolation_level(consumer: Consumer) -> Found:
    level = consumer.options["isolation.level"]
    if level != "read_committed":
        yield f"isolation.level={level}"


def offset_reset(consumer: Consumer) -> Found:
    where = consumer.options["auto.offset.reset"]
    if where not in {"earliest", "smallest", "beginning", "error"}:
        yield f"auto.offset.reset={where}"


def clock_of_producers(sample: Sample) -> Found:
    ahead_s = max((r.timestamp_ms - sample.at_ms for r in sample.records if r.timestamp_ms), default=0) / 1000
    if ahead_s > MOST_SKEW_S:
        yield f"the newest record is {ahead_s:.0f} s ahead of this machine's clock"


def clock_of_store(store: Store) -> Found:
    if abs(store.clock_ahead_s) > MOST_SKEW_S:
        how = "ahead of" if store.clock_ahead_s > 0 else "behind"
        yield f"the clock of {store.name} is {abs(store.clock_ahead_s):.0f} s {how} this machine's"


def store_durability(store: Store) -> Found:
    for name, value in store.durability.items():
        if value.lower() in _WEAK.get(name, set()):
            yield f"{name}={value} in {store.name}"


def store_place(store: Store) -> Found:
    kind = store.durability.get("file system", "")
    if kind in NETWORK:
        yield f"{store.name} is on a network file system ({kind})"
    elif kind in MEMORY:
        yield f"{store.name} is in memory ({kind})"
