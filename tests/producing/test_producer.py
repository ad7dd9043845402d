"""What a producer promises its user, on a broker that fails on request."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import inorder
from inorder.producing import sender
from tests.producing.fake import DESYNCHRONIZED, NO_RIGHTS, FakeChannel


def stop(producer: inorder.Producer, broker: FakeChannel, key: str = "A", value: bytes = b"a1") -> inorder.Delivery:
    """Let the broker refuse a record."""
    broker.refused.add(value)
    delivery = producer.send(key, value, version=1, id=f"{key}-1")
    with pytest.raises(inorder.Undelivered):
        delivery.result(5)
    return delivery


def test_a_record_is_delivered_with_its_version_and_id(producer: inorder.Producer, broker: FakeChannel) -> None:
    place = producer.send("A", {"amount": 5}, version=7, id="e7", headers={"trace": b"t"}).result(5)
    assert (place.partition, place.offset) == (0, 0)
    headers = (("trace", b"t"), ("inorder-version", b"7"), ("inorder-id", b"e7"))
    assert broker.log == [(b"A", b'{"amount":5}', headers)]


def test_a_key_whose_record_is_refused_stops_and_others_flow_on(
    producer: inorder.Producer, broker: FakeChannel
) -> None:
    stopped = stop(producer, broker)
    behind = producer.send("A", b"a2", version=2)
    assert producer.send("B", b"b1").result(5)
    assert broker.log == [(b"B", b"b1", ())]
    assert stopped.problem is not None
    assert "MSG_SIZE_TOO_LARGE" in str(stopped.problem)
    assert list(producer.undelivered()) == ["A"]
    assert producer.undelivered()["A"][1] == [stopped, behind]
    with pytest.raises(inorder.Undelivered, match="MSG_SIZE_TOO_LARGE"):
        behind.result(5)


def test_records_that_were_sent_together_with_a_refused_one_are_delivered(
    producer: inorder.Producer, broker: FakeChannel
) -> None:
    broker.silent = True
    broker.refused.add(b"bad")
    for key, value in (("A", b"bad"), ("B", b"b1"), ("A", b"a2"), ("B", b"b2"), ("C", b"c1")):
        producer.send(key, value)
    broker.silent = False
    with pytest.raises(inorder.Undelivered) as raised:
        producer.flush(5)
    assert [record.value for record in raised.value.records] == [b"bad", b"a2"]
    assert (broker.values(b"B"), broker.values(b"C"), broker.values(b"A")) == ([b"b1", b"b2"], [b"c1"], [])


def test_what_is_resent_is_the_same_record_under_the_same_id(producer: inorder.Producer, broker: FakeChannel) -> None:
    first = stop(producer, broker)
    second = producer.send("A", b"a2", version=2, id="A-2")
    broker.refused.clear()
    assert producer.resend("A") == 1
    assert first.result(5)
    assert second.result(5)
    ids = [dict(headers)["inorder-id"] for _, _, headers in broker.log]
    assert (broker.values(b"A"), ids) == ([b"a1", b"a2"], [b"A-1", b"A-2"])
    assert producer.undelivered() == {}
    assert producer.resend("A") == 0


def test_what_is_discarded_is_given_back(producer: inorder.Producer, broker: FakeChannel) -> None:
    stopped = stop(producer, broker)
    behind = producer.send("A", b"a2", version=2)
    assert producer.discard("A") == [stopped, behind]
    assert producer.send("A", b"a3", version=3).result(5)
    producer.flush(5)
    assert broker.values(b"A") == [b"a3"]


def test_who_waits_for_what_is_discarded_is_told(producer: inorder.Producer, broker: FakeChannel) -> None:
    stopped = stop(producer, broker)
    told: list[str] = []

    def wait() -> None:
        with pytest.raises(inorder.Undelivered) as raised:
            stopped.result()
        told.append(str(raised.value))

    producer.discard("A")
    assert producer.send("A", b"a2").result(5), "of another record of the key nothing is said"
    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(10)
    assert told == ["not delivered: <A version 1 id A-1> (it was discarded)"]


def test_keys_that_are_no_text_are_told_apart(producer: inorder.Producer, broker: FakeChannel) -> None:
    for key, value in ((b"\xff", b"1"), (b"\xfe", b"2")):
        broker.refused.add(value)
        producer.send(key, value)
    with pytest.raises(inorder.Undelivered):
        producer.flush(5)
    assert sorted(producer.undelivered()) == ["\\xfe", "\\xff"]
    for key in (b"\xff", b"\xfe"):
        producer.discard(key)


def test_after_a_fatal_error_everything_under_way_is_sent_again(
    producer: inorder.Producer, broker: FakeChannel, caplog: pytest.LogCaptureFixture
) -> None:
    broker.broken = [DESYNCHRONIZED] * 2
    with caplog.at_level(logging.WARNING, "inorder.producer"):
        for version in range(1, 20):
            producer.send("A", b"%d" % version, version=version)
        producer.flush(10)
    assert broker.values(b"A") == [b"%d" % version for version in range(1, 20)]
    assert broker.resets == 2
    assert "OUT_OF_ORDER_SEQUENCE_NUMBER" in caplog.text


def test_when_nothing_helps_every_key_stops_and_the_fatal_error_is_named(
    producer: inorder.Producer, broker: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "LONGEST_PAUSE_S", 0.01)
    broker.broken = [DESYNCHRONIZED] * 100
    producer.send("A", b"a1")
    with pytest.raises(inorder.Undelivered, match=r"NO_PROGRESS.*OUT_OF_ORDER_SEQUENCE_NUMBER"):
        producer.flush(10)
    broker.broken = []
    producer.resend()
    producer.flush(5)
    assert broker.values(b"A") == [b"a1"]


def test_without_the_right_to_write_every_key_stops(producer: inorder.Producer, broker: FakeChannel) -> None:
    broker.silent = True
    for key in "ABC":
        producer.send(key, b"1")
    broker.broken = [NO_RIGHTS]
    broker.silent = False
    with pytest.raises(inorder.Undelivered, match="TOPIC_AUTHORIZATION_FAILED") as raised:
        producer.flush(5)
    assert len(raised.value.records) == 3


def test_without_an_acknowledgement_in_time_the_key_stops(producer: inorder.Producer, broker: FakeChannel) -> None:
    broker.delivery_timeout_s = 0.3
    broker.silent = True
    first = producer.send("A", b"a1")
    second = producer.send("A", b"a2")
    with pytest.raises(inorder.Undelivered, match="DELIVERY_TIMEOUT"):
        first.result(5)
    broker.silent = False
    assert producer.send("B", b"b1").result(5)
    assert broker.values(b"A") == []
    producer.resend()
    assert second.result(5)
    assert broker.values(b"A") == [b"a1", b"a2"]


def test_flush_says_what_is_still_under_way(producer: inorder.Producer, broker: FakeChannel) -> None:
    broker.silent = True
    producer.send("A", b"a1", version=4, id="e4")
    with pytest.raises(inorder.Undelivered, match="<A version 4 id e4> \\(no acknowledgement yet\\)"):
        producer.flush(0.05)
    broker.silent = False
    producer.flush(5)


def test_close_says_what_was_not_delivered_and_closes(broker: FakeChannel) -> None:
    producer = inorder.Producer("fake://")
    stop(producer, broker)
    with pytest.raises(inorder.Undelivered, match="MSG_SIZE_TOO_LARGE"):
        producer.close()
    assert broker.closed
    with pytest.raises(inorder.UsageError, match="closed"):
        producer.send("A", b"a2")
    producer.close()


def test_leaving_a_block_says_what_was_not_delivered(broker: FakeChannel) -> None:
    with pytest.raises(inorder.Undelivered, match="MSG_SIZE_TOO_LARGE"), inorder.Producer("fake://") as producer:
        stop(producer, broker)


def test_the_error_of_the_block_comes_first(broker: FakeChannel, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError), inorder.Producer("fake://") as producer:
        raise KeyError(stop(producer, broker))
    assert "not delivered to a fake broker" in caplog.text


def test_a_program_that_ends_without_close_is_told(
    producer: inorder.Producer, broker: FakeChannel, caplog: pytest.LogCaptureFixture
) -> None:
    stop(producer, broker)
    producer._warn_at_exit()
    assert "ends without close()" in caplog.text


def test_sending_waits_for_room(
    producer: inorder.Producer, broker: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "MOST_RECORDS", 10)
    broker.silent = True
    sent: list[int] = []

    def work() -> None:
        for number in range(30):
            sent.append(number)
            producer.send("A", b"%d" % number)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.2)
    assert len(sent) == 11
    broker.silent = False
    thread.join(5)
    producer.flush(5)
    assert broker.values(b"A") == [b"%d" % n for n in range(30)]


def test_async_sending_keeps_the_order_when_there_is_no_room(
    producer: inorder.Producer, broker: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "MOST_RECORDS", 10)

    async def send(number: int) -> None:
        await (await producer.send_async("A", b"%d" % number))

    async def main() -> None:
        await asyncio.gather(*(send(number) for number in range(100)))
        await producer.flush_async(5)

    asyncio.run(main())
    assert broker.values(b"A") == [b"%d" % number for number in range(100)]


def test_awaiting_a_record_that_is_refused_raises(broker: FakeChannel) -> None:
    async def main() -> None:
        async with inorder.Producer("fake://") as producer:
            await (await producer.send_async("B", b"b1"))
            broker.refused.add(b"a1")
            with pytest.raises(inorder.Undelivered, match="MSG_SIZE_TOO_LARGE"):
                await (await producer.send_async("A", b"a1"))
            producer.discard("A")

    asyncio.run(main())
    assert broker.closed


def test_a_flush_that_is_cancelled_waits_for_nothing_more(producer: inorder.Producer, broker: FakeChannel) -> None:
    broker.silent = True
    producer.send("A", b"a1")

    async def main() -> None:
        flushing = asyncio.create_task(producer.flush_async())
        await asyncio.sleep(0)
        flushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flushing

    running = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    running.start()
    running.join(10)
    assert not running.is_alive()


def test_a_loop_that_is_closed_while_it_waits_holds_up_no_other(
    producer: inorder.Producer, broker: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.silent = True
    first = producer.send("A", b"a1")
    gone = asyncio.new_event_loop()

    async def wait() -> None:
        await first

    waiting = gone.create_task(wait())
    gone.run_until_complete(asyncio.sleep(0))
    waiting.cancel()
    gone.run_until_complete(asyncio.wait({waiting}))
    gone.close()
    # As if it were closed between the question and the message.
    monkeypatch.setattr(gone, "is_closed", lambda: False)

    async def main() -> None:
        second = await producer.send_async("B", b"b1")
        following = asyncio.create_task(second_place(second))
        await asyncio.sleep(0)
        broker.silent = False
        await asyncio.wait_for(following, 10)

    async def second_place(second: inorder.Delivery) -> None:
        await second

    asyncio.run(main())
    assert (broker.values(b"A"), broker.values(b"B")) == ([b"a1"], [b"b1"])


def test_many_threads_send_at_once(producer: inorder.Producer, broker: FakeChannel) -> None:
    def work(key: str) -> None:
        for version in range(1, 201):
            producer.send(key, b"%d" % version, version=version)

    threads = [threading.Thread(target=work, args=(key,)) for key in "ABCD"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    producer.flush(5)
    for key in (b"A", b"B", b"C", b"D"):
        assert broker.values(key) == [b"%d" % version for version in range(1, 201)]


@pytest.mark.parametrize(
    ("key", "value", "options", "says"),
    [
        ("", b"x", {}, "needs a key"),
        ("A", None, {}, "needs a value"),
        ("A", object(), {}, "cannot be encoded"),
        ("A", b"x", {"version": 0}, "version=0"),
        ("A", b"x", {"version": True}, "version=True"),
        ("A", b"x", {"id": ""}, "id=''"),
        ("A", b"x", {"id": "\ud800"}, "is no text that can be sent"),
        ("\ud800", b"x", {}, "is no text that can be sent"),
        (None, b"x", {}, "key=None"),
        (bytearray(b"A"), b"x", {}, "key=bytearray"),
        ("A", b"x", {"headers": {"": b"x"}}, "the name of a header is a text"),
        ("A", b"x", {"headers": {1: b"x"}}, "the name of a header is a text"),
        ("A", b"x", {"headers": {"a\0b": b"x"}}, "the name of a header is a text"),
        ("A", b"x", {"headers": {"\udcff": b"x"}}, "the name of a header.*is no text that can be sent"),
        ("A", b"x", {"headers": {"a": 1}}, "a has int"),
        ("A", b"x", {"headers": {"a": None}}, "a has NoneType"),
    ],
)
def test_what_cannot_be_sent_is_said_at_once(
    producer: inorder.Producer, key: Any, value: object, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(inorder.UsageError, match=says):
        producer.send(key, value, **options)
    producer.flush(5)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind_are_sent_as_they_are(
    producer: inorder.Producer, broker: FakeChannel, kind: Callable[[bytes], Any]
) -> None:
    producer.send("A", kind(b"raw")).result(5)
    assert broker.values(b"A") == [b"raw"]


def test_a_url_that_names_no_broker_is_refused() -> None:
    with pytest.raises(inorder.UsageError, match=r"is no place to send to: write embedded://…, kafka://…"):
        inorder.Producer("http://localhost/topic")
