"""What the worker relies on, whatever the broker: each test states one rule of the `Source` port."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from inorder.core.event import Partition
from inorder.ports import GroupSource
from tests.sources.harness import Consumer, Harness, for_a_while, until


def numbered(count: int, prefix: str = "") -> list[bytes]:
    return [f"{prefix}{number}".encode() for number in range(count)]


def owning(harness: Harness, partitions: int = 2, group: str = "group") -> Consumer:
    """A consumer that owns the whole topic."""
    consumer = Consumer(harness, group)
    until("it owns the topic", lambda: len(consumer.owned) == partitions, consumer)
    return consumer


def test_records_of_a_partition_come_in_order(harness: Harness) -> None:
    zeros, ones = numbered(150, "zero "), numbered(150, "one ")
    harness.produce(0, zeros)
    harness.produce(1, ones)
    consumer = Consumer(harness)
    until("all came", lambda: len(consumer.received) == 300, consumer)
    assert consumer.values(0) == zeros
    assert consumer.values(1) == ones
    offsets = [record.offset for record in consumer.received if record.partition.number == 0]
    assert offsets == sorted(set(offsets))


def test_a_record_comes_whole(harness: Harness) -> None:
    before_ms = int(time.time() * 1000)
    harness.produce(1, [b'{"a":1}\x00\xff'], key=b"key")
    consumer = Consumer(harness)
    until("it came", lambda: bool(consumer.received), consumer)
    (record,) = consumer.received
    assert record.partition == Partition(harness.topic, 1)
    assert (record.key, record.value) == (b"key", b'{"a":1}\x00\xff')
    assert record.headers == (("n", b"1"),)
    assert record.timestamp_ms is not None
    assert before_ms - 1000 <= record.timestamp_ms <= before_ms + 60_000


def test_a_poll_gives_no_more_than_asked_for(harness: Harness) -> None:
    consumer = owning(harness)
    harness.produce(0, numbered(20))
    harness.produce(1, numbered(20))
    sizes: list[int] = []
    deadline = time.monotonic() + harness.patience_s
    while sum(sizes) < 40 and time.monotonic() < deadline:
        sizes.append(len(consumer.poll(most=7)))
    assert sum(sizes) == 40
    assert max(sizes) <= 7


def test_a_poll_waits_no_longer_than_asked_to(harness: Harness) -> None:
    consumer = owning(harness)
    started = time.monotonic()
    assert consumer.poll(timeout_s=0.1) == []
    assert 0.09 < time.monotonic() - started < 1


def test_a_waiting_poll_returns_when_a_record_is_there(harness: Harness) -> None:
    consumer = owning(harness)
    started = time.monotonic()
    producer = threading.Timer(0.1, harness.produce, (0, [b"now"]))
    producer.start()
    records = consumer.poll(timeout_s=harness.patience_s)
    producer.join()
    assert [record.value for record in records] == [b"now"]
    assert 0.1 < time.monotonic() - started < harness.patience_s / 2


def test_after_a_crash_records_come_again_from_the_committed_offset(harness: Harness) -> None:
    harness.produce(0, numbered(10))
    first = owning(harness)
    until("all came", lambda: len(first.received) == 10, first)
    first.commit({0: first.received[6].offset})
    harness.kill(first.source)
    second = Consumer(harness)
    until("the rest came again", lambda: len(second.received) == 4, second)
    for_a_while(0.05, second)
    assert second.values() == numbered(10)[6:]


def test_without_a_commit_everything_comes_again(harness: Harness) -> None:
    harness.produce(0, numbered(10))
    first = owning(harness)
    until("all came", lambda: len(first.received) == 10, first)
    harness.kill(first.source)
    second = Consumer(harness)
    until("all came again", lambda: second.values() == numbered(10), second)


def test_who_leaves_hands_over_without_a_wait(harness: Harness) -> None:
    first = owning(harness)
    second = Consumer(harness)
    until("they share", lambda: len(first.owned) == len(second.owned) == 1, first, second)
    first.source.close()
    assert first.owned == set(), "closing revokes"
    started = time.monotonic()
    until("the other has all", lambda: len(second.owned) == 2, second)
    assert time.monotonic() - started < harness.session_timeout_s


def test_revoked_returns_before_another_member_gets_the_partition(harness: Harness) -> None:
    first = owning(harness)
    second = Consumer(harness)
    during: list[bool] = []

    def drain(partitions: Sequence[Partition]) -> None:
        for_a_while(harness.session_timeout_s / 4, second)
        during.append(bool(second.owned & set(partitions)))

    first.on_revoked = drain
    until("they share", lambda: len(first.owned) == len(second.owned) == 1, first, second)
    assert during
    assert not any(during)


def test_what_is_committed_while_revoked_counts(harness: Harness) -> None:
    for partition in (0, 1):
        harness.produce(partition, numbered(10))
    first = owning(harness)
    until("all came", lambda: len(first.received) == 20, first)
    first.on_revoked = first.commit_all
    second = Consumer(harness)
    until("they share", lambda: len(first.owned) == len(second.owned) == 1, first, second)
    (moved,) = second.owned
    harness.produce(moved.number, [b"next"])
    until("the next one came", lambda: bool(second.received), second, first)
    assert second.values() == [b"next"]


def test_a_commit_after_losing_a_partition_is_ignored(harness: Harness) -> None:
    harness.produce(0, numbered(10))
    harness.produce(1, numbered(10))
    zombie = owning(harness)
    until("all came", lambda: len(zombie.received) == 20, zombie)
    harness.silence(zombie.source)
    heir = owning(harness)
    zombie.commit_all()
    harness.kill(heir.source)
    third = owning(harness)
    until("nothing was skipped", lambda: len(third.received) == 20, third)


def test_who_lost_its_session_is_told_and_joins_again(harness: Harness) -> None:
    sleeper = owning(harness)
    harness.silence(sleeper.source)
    other = owning(harness)
    until("it is told", lambda: len(sleeper.lost_ever) == 2, sleeper, other)
    until("it shares again", lambda: len(sleeper.owned) == len(other.owned) == 1, sleeper, other)
    assert sleeper.owned.isdisjoint(other.owned)


def test_who_joins_anew_has_its_partitions_revoked_and_assigned_again(harness: Harness) -> None:
    harness.produce(0, numbered(10))
    consumer = owning(harness)
    until("all came", lambda: len(consumer.received) == 10, consumer)
    revoked: list[Partition] = []
    consumer.on_revoked = revoked.extend
    consumer.source.pause([consumer.partition(1)])
    consumer.commit({0: consumer.received[6].offset})
    assert isinstance(consumer.source, GroupSource)
    consumer.source.rejoin()
    until("it let go", lambda: len(revoked) == 2, consumer)
    harness.produce(1, [b"new"])
    until("it goes on from what is committed", lambda: len(consumer.received) == 15, consumer)
    assert consumer.values(0) == [*numbered(10), *numbered(10)[6:]]
    assert consumer.values(1) == [b"new"], "and nothing is paused"
    assert consumer.lost_ever == set()
    other = Consumer(harness)
    until("they share", lambda: len(other.owned) == len(consumer.owned) == 1, other, consumer)


def test_a_paused_partition_gives_nothing_and_loses_nothing(harness: Harness) -> None:
    consumer = owning(harness)
    consumer.source.pause([consumer.partition(0)])
    harness.produce(0, numbered(10))
    harness.produce(1, numbered(10))
    until("the other one came", lambda: len(consumer.values(1)) == 10, consumer)
    for_a_while(0.1, consumer)
    assert consumer.values(0) == []
    consumer.source.resume([consumer.partition(0)])
    until("all came", lambda: len(consumer.values(0)) == 10, consumer)
    assert consumer.values(0) == numbered(10)


def test_a_pause_in_the_middle_of_a_partition_repeats_nothing(harness: Harness) -> None:
    consumer = owning(harness)
    harness.produce(0, numbered(100))
    until("some came", lambda: bool(consumer.poll(most=10)), consumer)
    for _ in range(5):
        consumer.source.pause([consumer.partition(0)])
        assert consumer.poll() == []
        consumer.source.resume([consumer.partition(0)])
        consumer.poll(most=10)
    until("all came", lambda: len(consumer.received) >= 100, consumer)
    assert consumer.values() == numbered(100)


def test_polling_with_everything_paused_keeps_the_membership(harness: Harness) -> None:
    busy = owning(harness)
    busy.source.pause(busy.owned)
    for_a_while(harness.session_timeout_s * 1.5, busy)
    other = Consumer(harness)
    until("they share", lambda: len(other.owned) == 1, other, busy)
    assert busy.lost_ever == set()


def test_members_share_and_nothing_is_given_to_two(harness: Harness) -> None:
    harness.grow(6)
    consumers = [Consumer(harness) for _ in range(3)]
    for consumer in consumers:
        consumer.on_revoked = consumer.commit_all
    until("each has two", lambda: all(len(c.owned) == 2 for c in consumers), *consumers)
    for partition in range(6):
        harness.produce(partition, numbered(50, f"{partition}: "))
    until("all came", lambda: sum(len(c.received) for c in consumers) >= 300, *consumers)
    for_a_while(0.05, *consumers)
    given = [(r.partition, r.offset) for c in consumers for r in c.received]
    assert len(given) == len(set(given)) == 300


def test_a_joining_member_takes_over_without_gaps_or_repeats(harness: Harness) -> None:
    harness.grow(4)
    first = owning(harness, partitions=4)
    first.on_revoked = first.commit_all
    for partition in range(4):
        harness.produce(partition, numbered(30))
    until("some came", lambda: len(first.received) >= 20, first)
    second = Consumer(harness)
    until("they share", lambda: len(first.owned) == len(second.owned) == 2, first, second)
    until("all came", lambda: len(first.received) + len(second.received) >= 120, first, second)
    for partition in range(4):
        assert first.values(partition) + second.values(partition) == numbered(30)


def test_growth_is_noticed(harness: Harness) -> None:
    consumer = owning(harness)
    harness.grow(4)
    harness.produce(3, [b"new"])
    until("the new ones are assigned", lambda: len(consumer.owned) == 4, consumer)
    until("its record came", lambda: consumer.values(3) == [b"new"], consumer)


def test_each_group_is_given_everything(harness: Harness) -> None:
    harness.produce(0, numbered(10))
    one, other = owning(harness, group="one"), owning(harness, group="other")
    until("all came twice", lambda: len(one.received) == len(other.received) == 10, one, other)
    one.commit_all()
    assert one.source.at_end()
    assert not other.source.at_end()


def test_the_end_is_reached_only_when_all_is_committed(harness: Harness) -> None:
    consumer = owning(harness)
    assert consumer.source.at_end(), "an empty topic"
    harness.produce(0, numbered(3))
    harness.produce(1, numbered(3))
    assert not consumer.source.at_end(), "nothing was read"
    until("all came", lambda: len(consumer.received) == 6, consumer)
    assert not consumer.source.at_end(), "nothing was committed"
    consumer.commit_all([consumer.partition(0)])
    assert not consumer.source.at_end(), "one partition was not committed"
    consumer.commit_all()
    assert consumer.source.at_end()
    harness.produce(1, [b"more"])
    assert not consumer.source.at_end(), "there is more"


def test_the_end_is_not_reached_while_another_member_is_behind(harness: Harness) -> None:
    first = owning(harness)
    second = Consumer(harness)
    until("they share", lambda: len(first.owned) == len(second.owned) == 1, first, second)
    harness.produce(0, [b"zero"])
    harness.produce(1, [b"one"])
    until("both came", lambda: len(first.received) == len(second.received) == 1, first, second)
    second.commit_all()
    harness.kill(first.source)
    assert not second.source.at_end(), "the dead one had not committed"
    until("its record came again", lambda: len(second.received) == 2, second)
    second.commit_all()
    assert second.source.at_end()


def test_the_partitions_of_a_dead_member_come_over_after_its_session(harness: Harness) -> None:
    first = owning(harness)
    second = Consumer(harness)
    until("they share", lambda: len(first.owned) == len(second.owned) == 1, first, second)
    (partition,) = first.owned
    harness.kill(first.source)
    for_a_while(harness.session_timeout_s / 4, second)
    assert partition not in second.owned, "its session is not over"
    harness.produce(partition.number, [b"waiting"])
    until("its record came", lambda: second.values(partition.number) == [b"waiting"], second)
