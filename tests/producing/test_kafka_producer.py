"""`inorder.Producer` on a real broker."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer as Librdkafka

import inorder
from inorder.core.partitioner import partition_for
from inorder.producing import kafka_channel
from inorder.producing.kafka_settings import RULES, choose
from inorder.sources import kafka_url
from tests.producing.reading import read_topic, values_of
from tests.services import KafkaCluster

Topic = Callable[..., str]


def test_records_come_with_their_key_value_version_and_id(topic: Topic) -> None:
    url = topic()
    with inorder.Producer(url) as producer:
        place = producer.send("A-1", {"amount": 5}, version=1, id="e1", headers={"trace": b"t"}).result(10)
    (row,) = read_topic(url)
    assert (place.partition, place.offset) == (0, 0)
    assert (row.key, row.value) == (b"A-1", b'{"amount":5}')
    assert row.headers == {"trace": b"t", "inorder-version": b"1", "inorder-id": b"e1"}


def test_a_key_goes_where_a_java_client_puts_it(topic: Topic) -> None:
    url = topic(partitions=7)
    keys = [b"key-%d" % number for number in range(100)]
    where = kafka_url.parse(url)
    theirs = Librdkafka({"bootstrap.servers": where.bootstrap, "partitioner": "murmur2_random"})
    with inorder.Producer(url) as producer:
        for key in keys:
            producer.send(key, b"ours")
            theirs.produce(where.topic, b"theirs", key)
    theirs.flush(10)
    rows = read_topic(url)
    assert len(rows) == 200
    assert {(row.key, row.partition) for row in rows} == {(key, partition_for(key, 7)) for key in keys}


def test_async_sending(topic: Topic) -> None:
    url = topic(partitions=2)

    async def main() -> None:
        async with inorder.Producer(url) as producer:
            sent = [await producer.send_async(f"k{n % 5}", b"%d" % n, version=n // 5 + 1) for n in range(500)]
            places = await asyncio.gather(*sent)
            assert {place.partition for place in places} == {0, 1}

    asyncio.run(main())
    rows = read_topic(url)
    for key in range(5):
        assert values_of(rows, b"k%d" % key) == [b"%d" % n for n in range(500) if n % 5 == key]


@pytest.mark.parametrize("slow_s", [0.0, 1.0], ids=["at once", "by a program that is busy"])
@pytest.mark.parametrize("at", [0, 20], ids=["the first batch of a partition", "a later batch"])
def test_a_record_that_the_broker_refuses_is_not_overtaken(
    topic: Topic, at: int, slow_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # message.max.bytes: librdkafka would see that it is too large by itself, and not ask the broker.
    url = topic(max_message_bytes=3000)
    producer = inorder.Producer(f"{url}?message.max.bytes=1000000&batch.num.messages=4&linger.ms=0")
    wait = producer._channel.wait

    def look_late(timeout_s: float) -> None:
        time.sleep(slow_s)  # librdkafka goes on without us
        wait(timeout_s)

    monkeypatch.setattr(producer._channel, "wait", look_late)
    for number in range(60):
        producer.send("bad" if number % 2 else "good", b"%d" % number + b"x" * (5000 if number == at + 1 else 0))
    with pytest.raises(inorder.Undelivered, match="MSG_SIZE_TOO_LARGE") as raised:
        producer.flush(20)
    assert len(raised.value.records) == 30 - at // 2
    rows = read_topic(url)
    assert list(dict.fromkeys(values_of(rows, b"bad"))) == [b"%d" % n for n in range(1, at, 2)]
    assert list(dict.fromkeys(values_of(rows, b"good"))) == [b"%d" % n for n in range(0, 60, 2)]
    producer.discard("bad")
    producer.close()


def test_a_topics_own_limit_is_known_before_a_record_is_sent(topic: Topic) -> None:
    url = topic(max_message_bytes=3000)
    with inorder.Producer(url) as producer:
        for number in range(200):
            producer.send("small", b"%d" % number + b"x" * 100)
        large = producer.send("large", b"x" * 5000)
        with pytest.raises(inorder.Undelivered, match="MSG_SIZE_TOO_LARGE"):
            large.result(5)
        producer.discard("large")
    assert len(values_of(read_topic(url), b"small")) == 200


@contextmanager
def silent(kafka: KafkaCluster) -> Iterator[None]:
    """All brokers stand still: connections stay open, and nothing answers."""
    for broker in range(3):
        kafka.pause(broker)
    try:
        yield
    finally:
        for broker in range(3):
            kafka.resume(broker)


def test_an_outage_past_the_delivery_timeout_stops_keys_and_resending_goes_on_with_them(
    kafka_three: KafkaCluster,
) -> None:
    url = f"kafka://{kafka_three.bootstrap}/{kafka_three.create_topic('long-outage')}"
    with inorder.Producer(f"{url}?delivery.timeout.ms=700") as producer:
        producer._channel.delivery_timeout_s = 60.0
        producer.send("A", b"1", version=1, id="e1").result(20)
        producer._channel.delivery_timeout_s = 0.7
        with silent(kafka_three):
            second = producer.send("A", b"2", version=2, id="e2")
            with pytest.raises(inorder.Undelivered, match=r"DELIVERY_TIMEOUT: no acknowledgement within 0.7 s"):
                second.result(10)
            producer.send("A", b"3", version=3, id="e3")
            assert len(producer.undelivered()["A"][1]) == 2
        producer._channel.delivery_timeout_s = 60.0
        assert producer.resend() == 1
    found = [(row.value, row.headers["inorder-id"]) for row in read_topic(url)]
    assert list(dict.fromkeys(found)) == [(b"1", b"e1"), (b"2", b"e2"), (b"3", b"e3")]


def test_an_outage_within_the_delivery_timeout_costs_nothing_but_time(kafka_three: KafkaCluster) -> None:
    url = f"kafka://{kafka_three.bootstrap}/{kafka_three.create_topic('short-outage')}"
    with inorder.Producer(url) as producer:
        for number in range(50):
            producer.send("A", b"%d" % number)
        producer.flush(20)
        with silent(kafka_three):
            for number in range(50, 100):
                producer.send("A", b"%d" % number)
            time.sleep(1.0)
        producer.flush(30)
    assert values_of(read_topic(url), b"A") == [b"%d" % number for number in range(100)]


def test_growth_is_noticed_and_moves_no_key_past_its_own_records(topic: Topic, kafka: KafkaCluster) -> None:
    url = topic(partitions=1)
    keys = [b"key-%d" % number for number in range(20)]
    with inorder.Producer(f"{url}?topic.metadata.refresh.interval.ms=200") as producer:
        until = time.monotonic() + 20
        version = 0
        used: set[int] = set()
        while used != set(range(5)):
            assert time.monotonic() < until
            version += 1
            sent = [producer.send(key, b"%d" % version, version=version) for key in keys]
            producer.flush(10)
            used = {delivery.result().partition for delivery in sent}
            if version == 3:
                kafka.grow(kafka_url.parse(url).topic, 5)
    where = {(row.key, row.value): row.partition for row in read_topic(url)}
    for key in keys:
        assert where[key, b"%d" % version] == partition_for(key, 5)
        partitions = [where[key, b"%d" % number] for number in range(1, version + 1)]
        assert len(list(itertools.groupby(partitions))) <= 2, "it moved more than once"


def test_a_partition_that_was_idle_begins_with_a_single_record_again(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_channel, "REOPEN_S", 0.0)
    url = topic()
    with inorder.Producer(url) as producer:
        for number in range(20):
            producer.send("A", b"%d" % number)
    assert values_of(read_topic(url), b"A") == [b"%d" % number for number in range(20)]


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("enable.idempotence=false", "a retry can put a key's records out of order"),
        ("enable.gapless.guarantee=false", "past one that the broker did not take"),
        ("acks=1", "lost with it"),
        ("request.required.acks=0", "lost with it"),
        ("max.in.flight=6", "out of order or twice"),
        ("max.in.flight.requests.per.connection=1000", "out of order or twice"),
        ("retries=3", "a short outage"),
        ("message.send.max.retries=3", "a short outage"),
        ("partitioner=consistent_random", "one key in two partitions"),
        ("queuing.strategy=lifo", "the newest records"),
    ],
)
def test_what_would_let_records_out_of_order_is_refused_with_the_reason(option: str, reason: str) -> None:
    with pytest.raises(inorder.UsageError, match=reason):
        inorder.Producer(f"kafka://127.0.0.1:1/topic?{option}")
    name, _, value = option.partition("=")
    assert choose("127.0.0.1:1", {name: value, "allow_unsafe": "true"}).settings[name] == value


def test_every_rule_has_a_case_above() -> None:
    marks = test_what_would_let_records_out_of_order_is_refused_with_the_reason.pytestmark  # type: ignore[attr-defined]
    assert {option.partition("=")[0] for option, _ in marks[0].args[1]} == set(RULES)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("transactional.id=t", "opens no transactions"),
        ("bootstrap.servers=x", "before the topic"),
        ("delivery.timeout.ms=soon", "milliseconds"),
        ("allow_unsafe=maybe", "neither true nor false"),
        ("no.such.option=1", "No such configuration property"),
    ],
)
def test_an_option_that_cannot_be_is_refused(option: str, says: str) -> None:
    with pytest.raises(inorder.UsageError, match=says):
        inorder.Producer(f"kafka://127.0.0.1:1/topic?{option}")


def test_safe_values_may_be_written_out() -> None:
    options = {"acks": "-1", "max.in.flight": "1", "enable.idempotence": "true", "delivery.timeout.ms": "1000"}
    chosen = choose("127.0.0.1:1", options)
    assert (chosen.delivery_timeout_s, chosen.own_placement) == (1.0, True)


def test_unsafe_settings_are_used_where_they_are_allowed(topic: Topic) -> None:
    url = topic()
    with inorder.Producer(f"{url}?enable.idempotence=false&acks=1&partitioner=random&allow_unsafe=true") as producer:
        for number in range(20):
            producer.send("A", b"%d" % number)
    assert len(read_topic(url)) == 20


def test_a_topic_that_is_not_there_is_said_at_once(kafka: KafkaCluster) -> None:
    with pytest.raises(inorder.UsageError, match="shows us no topic nowhere"):
        inorder.Producer(f"kafka://{kafka.bootstrap}/nowhere")
