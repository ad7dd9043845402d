"""What a doctor knows of a cluster, a store and a producer. Plain values: whoever gathers them explains nothing.

A part that is None was not asked for, or does not exist for this broker or database. What was asked for and could not
be learned is in `unknown`, by the name of the part.
"""

from __future__ import annotations

import msgspec


class Partition(msgspec.Struct, frozen=True):
    """One partition of the topic, now."""

    number: int
    replicas: int
    in_sync: int


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """The topic as its cluster has it."""

    name: str
    partitions: list[Partition]
    config: dict[str, str]
    """Its settings, with those it has from its brokers."""
    brokers: dict[str, str]
    """Settings of one broker."""


class Sampled(msgspec.Struct, frozen=True):
    """One record of the sample, without its value."""

    partition: int
    offset: int
    key: bytes
    timestamp_ms: int | None


class Sample(msgspec.Struct, frozen=True):
    """The oldest and the newest records of each partition. `at_ms` is our clock when they were read."""

    records: list[Sampled]
    at_ms: int


class Group(msgspec.Struct, frozen=True):
    """How far a consumer group is."""

    name: str
    expired: dict[int, int]
    """Records of each partition that expired before the group had committed them."""


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue as its service has it, and what a handler needs of it."""

    name: str
    attributes: dict[str, str]
    """Those that the service tells; an emulator may leave some out."""
    visibility_s: float
    max_receives: int | None
    """After so many receives the service moves a message to its dead-letter queue; None: never."""
    dead_letter_retention_s: float | None
    handler_s: float


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker would read. `options` are librdkafka's, as inorder sets them for this URL."""

    options: dict[str, str]
    handler_s: float
    drain_s: float


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """The store."""

    name: str
    durability: dict[str, str]
    """What decides whether a commit survives a crash: the setting, and its value."""
    orders: dict[str, str]
    """The order of each stream."""
    partitions_seen: int
    """Partitions of the topic that its workers have had; 0 before the first run."""
    oldest_letter_s: float | None
    """Age of the oldest open dead letter or parked key."""
    clock_ahead_s: float
    """The database's clock minus ours."""


class Producer(msgspec.Struct, frozen=True):
    """The configuration of a producer, with the defaults of its client library filled in."""

    file: str
    client: str
    options: dict[str, str]


class Facts(msgspec.Struct, kw_only=True):
    """Everything that was learned."""

    topic: Topic | None = None
    sample: Sample | None = None
    group: Group | None = None
    queue: Queue | None = None
    consumer: Consumer | None = None
    store: Store | None = None
    producer: Producer | None = None
    unknown: dict[str, str] = msgspec.field(default_factory=dict)
