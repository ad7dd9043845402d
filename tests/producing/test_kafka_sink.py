"""The sink of `inorder produce` on Kafka: all of a file, or a clear line that says how much, and never out of order."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

import inorder
from inorder.producing.kafka import KafkaSink
from tests.producing.reading import read_topic, values_of

Topic = Callable[..., str]


def test_records_come_in_their_order(topic: Topic) -> None:
    url = topic(partitions=2, max_message_bytes=3000)  # small batches, as the topic asks
    sink = KafkaSink.from_url(url)
    sink.send([(b"k%d" % (n % 3), b"%d" % n + b"x" * 200) for n in range(300)])
    assert sink.flush() == 300
    sink.close()
    rows = read_topic(url)
    for key in range(3):
        assert [int((v or b"").rstrip(b"x")) for v in values_of(rows, b"k%d" % key)] == list(range(key, 300, 3))


@pytest.mark.parametrize("at", [0, 20])
def test_nothing_comes_after_a_record_that_the_broker_refuses(topic: Topic, at: int) -> None:
    """What comes before it is a prefix. How long depends on the batches; at least as long as the message says."""
    url = topic(max_message_bytes=3000)
    sink = KafkaSink.from_url(f"{url}?message.max.bytes=1000000&batch.num.messages=4&linger.ms=0")

    def send_all() -> None:
        sink.send([(b"k", b"%d" % n + b"x" * (5000 if n == at else 0)) for n in range(60)])
        sink.flush()

    with pytest.raises(inorder.Unreachable, match="Message size too large") as caught:
        send_all()
    sink.close()
    found = values_of(read_topic(url), b"k")
    assert found == [b"%d" % n for n in range(len(found))]
    said = re.search(r"took (\d+) of \d+ records", str(caught.value))
    assert said is not None
    assert min(at, 1) <= int(said[1]) <= len(found) <= at


def test_options_that_would_reorder_are_refused() -> None:
    with pytest.raises(inorder.UsageError, match="a retry can put a key's records out of order"):
        KafkaSink.from_url("kafka://127.0.0.1:1/topic?enable.idempotence=false")
