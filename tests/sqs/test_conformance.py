"""What the worker relies on in a queue, on two servers: each test states one rule of the `Queue` port."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from inorder.core.event import Partition, Slice
from inorder.ports import Queue
from inorder.sources.sqs import SqsSource
from tests.sqs.conftest import Make
from tests.sqs.places import PATIENCE_S, TestQueue, until


class Consumer:
    """One worker's source, and what it is given and told."""

    def __init__(self, queue: TestQueue, **options: int) -> None:
        self.queue = queue
        self.source = SqsSource.from_url(queue.source_url(**{"wait_s": 0, **options}))
        self.owned: set[Partition] = set()
        self.slices: list[Slice] = []
        self.source.subscribe(self)
        self.source.poll(0, 0)

    def assigned(self, partitions: Sequence[Partition]) -> None:
        self.owned |= set(partitions)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        self.owned -= set(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        raise AssertionError("a queue is never lost")

    def poll(self, most: int = 100, timeout_s: float = 0.05) -> list[Slice]:
        found = self.source.poll(most, timeout_s)
        self.slices += found
        return found

    def until(self, count: int) -> list[bytes | None]:
        """Wait for so many messages in all."""
        until(f"{count} messages came", lambda: self.poll() is None or len(self.slices) >= count)
        return self.values()

    def values(self) -> list[bytes | None]:
        return [value for piece in self.slices for value in piece.values]

    def settle(self, pieces: Sequence[Slice] | None = None) -> None:
        self.source.settle([piece.next_offset for piece in (self.slices if pieces is None else pieces)])

    def die(self) -> None:
        """As if its process were dead: it asks for nothing, and extends nothing."""
        source = self.source
        with source._changed:
            source._stopping = True
            source._changed.notify_all()
            assert source._changed.wait_for(lambda: not source._asking, PATIENCE_S)
        source._ended.set()

    def watch(self, seconds: float) -> None:
        """Poll for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.poll()


@pytest.fixture
def open_consumer() -> Iterator[type[Consumer]]:
    made: list[Consumer] = []

    class Noted(Consumer):
        def __init__(self, queue: TestQueue, **options: int) -> None:
            super().__init__(queue, **options)
            made.append(self)

    yield Noted
    for consumer in made:
        consumer.source.close()


def numbered(count: int, prefix: str = "") -> list[bytes]:
    return [f"{prefix}{number}".encode() for number in range(count)]


Open = type[Consumer]


def test_a_queue_is_told_from_a_log(make: Make, open_consumer: Open) -> None:
    assert isinstance(open_consumer(make()).source, Queue)


def test_messages_of_a_group_come_in_order_once_each_is_settled(make: Make, open_consumer: Open) -> None:
    queue = make()
    queue.send_many([(group, f"{group}{n}") for n in range(25) for group in ("a", "b", "c")])
    consumer = open_consumer(queue)
    came: list[bytes | None] = []

    def work() -> bool:
        found = consumer.poll()
        came.extend(value for piece in found for value in piece.values)
        consumer.settle(found)
        return len(came) == 75

    until("all came", work)
    for group in "abc":
        mine = [value for value in came if value and value.startswith(group.encode())]
        assert mine == numbered(25, group)
    until("the queue is empty", lambda: queue.counts() == (0, 0))
    assert consumer.source.lost == 0


def test_a_message_comes_whole(make: Make, open_consumer: Open) -> None:
    queue, before_ms = make(), int(time.time() * 1000)
    queue.client.send_message(
        QueueUrl=queue.url,
        MessageBody='{"a":1} é',
        MessageGroupId="key",
        MessageDeduplicationId="d",
        MessageAttributes={
            "n": {"DataType": "String", "StringValue": "1"},
            "raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        },
    )
    consumer = open_consumer(queue)
    consumer.until(1)
    record = consumer.slices[0].record(0)
    assert (record.partition, record.key, record.value) == (Partition(queue.name, 0), b"key", '{"a":1} é'.encode())
    headers = dict(record.headers)
    assert headers["n"] == b"1"
    assert headers["raw"] == b"\x00\xff"
    assert headers["sqs-group"] == b"key"
    assert len(headers["sqs-message-id"]) == 36
    assert 0 <= record.offset < 2**63
    if "sqs.fifo" not in queue.endpoint and record.timestamp_ms is not None and record.timestamp_ms > 10**12:
        assert before_ms - 1000 <= record.timestamp_ms <= before_ms + 60_000


def test_a_poll_gives_no_more_than_asked_for_and_waits_no_longer(make: Make, open_consumer: Open) -> None:
    queue = make()
    consumer = open_consumer(queue)
    started = time.monotonic()
    assert consumer.poll(timeout_s=0.1) == []
    assert time.monotonic() - started < PATIENCE_S / 2
    queue.send_many([(f"g{n}", str(n)) for n in range(20)])
    sizes: list[int] = []

    def work() -> bool:
        sizes.append(len(consumer.poll(most=7)))
        return sum(sizes) == 20

    until("all came", work)
    assert max(sizes) <= 7


def test_a_waiting_poll_returns_when_a_message_is_there(make: Make, open_consumer: Open) -> None:
    queue = make()
    consumer = open_consumer(queue)
    sender = threading.Timer(0.1, queue.send, ("a", ["now"]))
    sender.start()
    found = consumer.poll(timeout_s=PATIENCE_S)
    sender.join()
    assert [value for piece in found for value in piece.values] == [b"now"]


def test_nobody_else_is_given_the_group_before_all_of_its_run_is_settled(make: Make, open_consumer: Open) -> None:
    queue = make()
    queue.send("a", numbered(5))
    consumer = open_consumer(queue)
    consumer.until(5)
    assert queue.receive() == []
    consumer.settle(consumer.slices[:4])
    until("four are deleted", lambda: queue.counts()[1] == 1)
    queue.send("a", ["later"])
    consumer.settle(consumer.slices[4:])
    assert consumer.until(6) == [*numbered(5), b"later"]


def test_other_groups_go_on_beside_one_that_is_not_settled(make: Make, open_consumer: Open) -> None:
    queue = make()
    queue.send("stuck", numbered(3))
    consumer = open_consumer(queue)
    consumer.until(3)
    queue.send("free", numbered(30, "f"))
    seen = consumer.slices.copy()

    def work() -> bool:
        found = consumer.poll()
        consumer.settle(found)
        return len(consumer.slices) - len(seen) == 30

    until("the other group is through", work)


def test_without_a_settlement_everything_comes_again(make: Make, open_consumer: Open) -> None:
    queue = make(visibility_s=2)
    queue.send("a", numbered(5))
    first = Consumer(queue)
    first.until(5)
    first.die()
    second = open_consumer(queue)
    assert second.until(5) == numbered(5)
    assert not first.slices[0].lease or not first.slices[0].lease.holds()


def test_what_was_settled_before_a_crash_does_not_come_again(make: Make, open_consumer: Open) -> None:
    queue = make(visibility_s=2)
    queue.send("a", numbered(5))
    first = Consumer(queue)
    first.until(5)
    first.settle(first.slices[:2])
    until("two are deleted", lambda: sum(queue.counts()) == 3)
    first.die()
    assert open_consumer(queue).until(3) == numbered(5)[2:]


def test_a_lease_is_extended_until_the_message_is_settled(make: Make, open_consumer: Open) -> None:
    queue = make(visibility_s=2)
    queue.send("a", numbered(3))
    consumer, other = open_consumer(queue), open_consumer(queue)
    end = time.monotonic() + 3
    until("it came", lambda: consumer.poll() or other.poll())
    while time.monotonic() < end:
        consumer.poll()
        other.poll()
    mine = consumer if consumer.slices else other
    assert len(consumer.slices) + len(other.slices) == 3
    assert all(piece.lease and piece.lease.holds() for piece in mine.slices)
    mine.settle()
    until("all are deleted", lambda: queue.counts() == (0, 0))
    assert mine.source.lost == 0


def test_who_leaves_gives_back_at_once_what_was_not_settled(make: Make, open_consumer: Open) -> None:
    queue = make()
    queue.send("a", numbered(5))
    first = open_consumer(queue)
    first.until(5)
    first.settle(first.slices[:2])
    first.source.close()
    assert first.owned == set(), "closing revokes"
    assert open_consumer(queue).until(3) == numbered(5)[2:], "its visibility is 30 s, and nobody waited for that"


def test_a_paused_queue_gives_nothing_and_loses_nothing(make: Make, open_consumer: Open) -> None:
    queue = make()
    consumer = open_consumer(queue)
    consumer.source.pause([Partition(queue.name, 0)])
    queue.send_many([(f"g{n}", str(n)) for n in range(10)])
    consumer.watch(0.3)
    assert consumer.slices == []
    consumer.source.resume([Partition(queue.name, 0)])
    assert sorted(map(bytes, filter(None, consumer.until(10)))) == numbered(10)


def test_no_more_is_received_than_may_be_in_flight(make: Make, open_consumer: Open) -> None:
    queue = make()
    queue.send_many([(f"g{n}", str(n)) for n in range(60)])
    consumer = open_consumer(queue, in_flight=20)
    consumer.until(20)
    consumer.watch(0.3)
    assert len(consumer.slices) == 20
    consumer.settle(consumer.slices[:10])
    consumer.until(30)


def test_workers_share_and_nothing_is_given_to_two(make: Make, open_consumer: Open) -> None:
    queue = make()
    consumers = [open_consumer(queue, in_flight=20) for _ in range(3)]
    queue.send_many([(f"g{n}", str(n)) for n in range(60)])

    def work() -> bool:
        for consumer in consumers:
            consumer.settle(consumer.poll())
        return sum(len(consumer.slices) for consumer in consumers) >= 60

    until("all came", work)
    given = [value for consumer in consumers for value in consumer.values()]
    assert len(given) == len(set(given)) == 60
    assert sum(bool(consumer.slices) for consumer in consumers) > 1


def test_the_end_is_reached_only_when_all_is_deleted(make: Make, open_consumer: Open) -> None:
    queue = make()
    consumer = open_consumer(queue)
    until("an empty queue is at its end", consumer.source.at_end)
    queue.send_many([(f"g{n}", str(n)) for n in range(3)])
    assert not consumer.source.at_end(), "nothing was read"
    consumer.until(3)
    assert not consumer.source.at_end(), "nothing was settled"
    consumer.settle(consumer.slices[:2])
    assert not any(consumer.source.at_end() for _ in range(3)), "one was not settled"
    consumer.settle(consumer.slices[2:])
    until("it is at its end", consumer.source.at_end)


def test_the_end_is_not_reached_while_another_worker_has_something(make: Make, open_consumer: Open) -> None:
    queue = make()
    other = open_consumer(queue)
    queue.send("a", ["zero"])
    other.until(1)
    consumer = open_consumer(queue)
    assert not any(consumer.source.at_end() for _ in range(3))
    other.settle()
    until("it is at its end", consumer.source.at_end)
