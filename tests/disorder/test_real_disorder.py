"""Real disorder, from a real producer on a real broker: what makes it, what it costs, and who does not have it."""

from __future__ import annotations

from pathlib import Path

from tests.disorder.proxy import Fate, KafkaProxy, Plan
from tests.disorder.stream import IN_ORDER, Stream, guarded, naive


def suffer(at: int, fate: Fate) -> Plan:
    """One produce request of all has this fate."""
    return lambda number, _: fate if number == at else Fate.PASS


def test_a_retry_with_several_requests_in_flight_reorders(stream: Stream, proxy: KafkaProxy, tmp_path: Path) -> None:
    proxy.follow(suffer(2, Fate.DAMAGE))
    stream.produce_with_librdkafka(max_in_flight=5)
    assert proxy.suffered == [Fate.DAMAGE]
    arrived = stream.versions()
    assert sorted(arrived) == IN_ORDER
    assert arrived != IN_ORDER
    wrong, _ = stream.consume(naive, tmp_path)
    assert wrong == arrived
    right, report = stream.consume(guarded, tmp_path)
    assert right == IN_ORDER
    assert report.released > 0


def test_a_lost_acknowledgement_duplicates(stream: Stream, proxy: KafkaProxy, tmp_path: Path) -> None:
    proxy.follow(suffer(2, Fate.LOSE_ACK))
    stream.produce_with_librdkafka(max_in_flight=1)
    assert proxy.suffered == [Fate.LOSE_ACK]
    arrived = stream.versions()
    assert sorted(set(arrived)) == IN_ORDER
    assert len(arrived) > len(IN_ORDER)
    wrong, _ = stream.consume(naive, tmp_path)
    assert wrong == arrived
    right, report = stream.consume(guarded, tmp_path)
    assert right == IN_ORDER
    assert report.outcomes["duplicate"] == len(arrived) - len(IN_ORDER)


def test_a_lost_acknowledgement_with_several_requests_in_flight_does_both(
    stream: Stream, proxy: KafkaProxy, tmp_path: Path
) -> None:
    proxy.follow(lambda number, _: {1: Fate.DAMAGE, 4: Fate.LOSE_ACK}.get(number, Fate.PASS))
    stream.produce_with_librdkafka(max_in_flight=5)
    arrived = stream.versions()
    assert len(arrived) > len(IN_ORDER)
    assert list(dict.fromkeys(arrived)) != IN_ORDER
    wrong, _ = stream.consume(naive, tmp_path)
    right, report = stream.consume(guarded, tmp_path)
    assert (wrong, right) == (arrived, IN_ORDER)
    assert report.outcomes["duplicate"] > 0


def test_inorders_producer_shows_neither(stream: Stream, proxy: KafkaProxy, tmp_path: Path) -> None:
    fates = {0: Fate.DAMAGE, 3: Fate.LOSE_ACK, 5: Fate.DAMAGE, 9: Fate.LOSE_ACK}
    proxy.follow(lambda number, _: fates.get(number, Fate.PASS))
    stream.produce_with_inorder()
    assert len(proxy.suffered) == 4
    assert stream.versions() == IN_ORDER
    state, report = stream.consume(naive, tmp_path)
    assert state == IN_ORDER
    assert report.received == len(IN_ORDER)


def test_idempotence_alone_does_not_protect_the_first_batch_of_a_partition(stream: Stream, proxy: KafkaProxy) -> None:
    """Why inorder's producer sends the first record to each partition alone.

    A broker that knows nothing of a producer takes the second batch as its first. When the first one is sent again, it
    looks like a duplicate, and librdkafka reports it as delivered: it is in the topic nowhere.
    """
    proxy.follow(suffer(0, Fate.DAMAGE))
    stream.produce_with_librdkafka(enable_idempotence=True, enable_gapless_guarantee=True)
    assert proxy.suffered == [Fate.DAMAGE]
    assert set(IN_ORDER) - set(stream.versions()) == {1, 2}


def test_inorders_producer_does(stream: Stream, proxy: KafkaProxy) -> None:
    proxy.follow(suffer(0, Fate.DAMAGE))
    stream.produce_with_inorder()
    assert proxy.suffered == [Fate.DAMAGE]
    assert stream.versions() == IN_ORDER
