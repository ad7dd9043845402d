"""Sending to a queue: what SQS is asked, and that no record of a key overtakes one that failed."""

from __future__ import annotations

import base64
import itertools
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import inorder
from inorder.errors import Undelivered, UsageError
from inorder.producing.relay import Relay
from inorder.producing.sqs_entry import entry_of
from inorder.sources.sqs_record import record_of, value_of
from inorder.wiring import open_sink
from tests.cli.conftest import Command, write_lines
from tests.services.fifo import FifoServer
from tests.sqs.conftest import Make
from tests.sqs.places import entry
from tests.sqs.scene import ANSWER_LOST, ITS_FAULT, OUR_FAULT, Scene


def sent(scene: Scene) -> list[tuple[str, str]]:
    """Groups and bodies, as the queue keeps them."""
    with scene.server.changed:
        return [(message.group, message.body) for message in scene.queue.messages]


def of_key(scene: Scene, key: str) -> list[str]:
    return [body for group, body in sent(scene) if group == key]


def send(producer: inorder.Producer, keys: str, each: int) -> None:
    for version in range(1, each + 1):
        for key in keys:
            producer.send(key, b"%d" % version, version=version, id=f"{key}-{version}")


def in_order(each: int) -> list[str]:
    return [str(version) for version in range(1, each + 1)]


def test_the_key_is_the_group_and_the_id_is_the_deduplication_id(scene: Scene) -> None:
    with inorder.Producer(scene.url) as producer:
        place = producer.send("k", {"a": 1}, version=1, id="k-1", headers={"trace": b"t"}).result()
    (message,) = scene.queue.messages
    assert (message.group, message.deduplication, message.body) == ("k", "k-1", '{"a":1}')
    assert place.offset == message.sequence % 2**63
    assert set(message.attributes) == {"trace", "inorder-version", "inorder-id"}


def test_a_batch_has_ten_entries_and_one_of_a_key(scene: Scene) -> None:
    keys = "abcdefghijkl"
    with inorder.Producer(scene.url) as producer:
        send(producer, keys, 5)
    for key in keys:
        assert of_key(scene, key) == in_order(5)
    requests = scene.requests("SendMessageBatch")
    groups = [[entry["MessageGroupId"] for entry in request["Entries"]] for request in requests]
    assert all(len(names) == len(set(names)) <= 10 for names in groups)
    assert len(requests) < 60


def test_an_entry_that_is_refused_stops_its_key_and_no_other(scene: Scene) -> None:
    def refuse(action: str, request: Any) -> None:
        if action == "SendMessageBatch entry" and request["MessageDeduplicationId"] == "b-2":
            raise OUR_FAULT

    scene.server.refuse = refuse
    producer = inorder.Producer(scene.url)
    send(producer, "abc", 4)
    with pytest.raises(Undelivered, match="InvalidParameterValue"):
        producer.flush()
    assert {key: of_key(scene, key) for key in "abc"} == {"a": in_order(4), "b": ["1"], "c": in_order(4)}
    assert [record.id for record in producer.undelivered()["b"][1]] == ["b-2", "b-3", "b-4"]
    scene.server.refuse = lambda action, request: None
    producer.resend("b")
    producer.close()
    assert of_key(scene, "b") == in_order(4)


def test_an_entry_that_sqs_fails_at_is_sent_again_before_the_next_of_its_key(scene: Scene) -> None:
    scene.fail("SendMessageBatch entry", ITS_FAULT, times=3, entry=2)
    with inorder.Producer(scene.url) as producer:
        send(producer, "abc", 4)
    assert {key: of_key(scene, key) for key in "abc"} == dict.fromkeys("abc", in_order(4))


@pytest.mark.parametrize("obeyed", [True, False])
def test_a_batch_whose_answer_is_lost_is_sent_again_under_the_same_ids(scene: Scene, obeyed: bool) -> None:
    scene.fail("SendMessageBatch", ANSWER_LOST if obeyed else ITS_FAULT, times=2, obeyed=obeyed)
    with inorder.Producer(scene.url) as producer:
        send(producer, "ab", 3)
    assert {key: of_key(scene, key) for key in "ab"} == dict.fromkeys("ab", in_order(3))


def test_records_without_an_id_are_each_a_message(scene: Scene) -> None:
    with inorder.Producer(scene.url) as producer:
        producer.send("k", b"same")
        producer.send("k", b"same")
    assert of_key(scene, "k") == ["same", "same"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"plain", b"text"),
        ("köln".encode(), b"text"),
        (b"k" * 200, b"\x00\xff\xfe"),
        (b"two words", b"a\x0bb"),
        (b"\xff", b""),
    ],
)
def test_what_sqs_does_not_take_as_it_is_arrives_as_it_was(key: bytes, value: bytes) -> None:
    made = entry_of(key, value or b" ", (("inorder-id", b"x"),))
    assert len(made["MessageGroupId"]) <= 128
    assert made["MessageGroupId"].isascii()
    system = {"MessageGroupId": made["MessageGroupId"], "SequenceNumber": "7"}
    received = {
        "MessageId": "m",
        "Body": made["MessageBody"],
        "Attributes": system,
        "MessageAttributes": made["MessageAttributes"],
    }
    record = record_of(received, inorder_partition())
    assert (record.key, record.value) == (key, value or b" ")
    assert ("inorder-id", b"x") in record.headers


@pytest.mark.parametrize("body", ["köln", "not base64", "dGV4d"])
def test_a_body_that_others_only_call_wrapped_is_the_value_as_it_is(body: str) -> None:
    said = {"inorder-encoding": {"StringValue": "base64", "DataType": "String"}}
    assert value_of({"Body": body, "MessageAttributes": said}) == body.encode()


@pytest.mark.parametrize(
    "headers",
    [
        tuple((f"h{n}", b"%d" % n) for n in range(11)),
        (("AWS.trace", b"1"), ("no name", b"2")),
        (("twice", b"1"), ("twice", b"2"), ("empty", b"")),
        (("inorder-key", b"not the key"),),
    ],
)
def test_headers_that_cannot_be_attributes_arrive_all_the_same(headers: tuple[tuple[str, bytes], ...]) -> None:
    made = entry_of(b"k", b"v", headers)
    assert list(made["MessageAttributes"]) == ["inorder-headers"]
    received = {
        "MessageId": "m",
        "Body": made["MessageBody"],
        "Attributes": {"MessageGroupId": "k", "SequenceNumber": "7"},
        "MessageAttributes": made["MessageAttributes"],
    }
    found = record_of(received, inorder_partition()).headers
    assert tuple(pair for pair in found if not pair[0].startswith("sqs-")) == headers


def inorder_partition() -> Any:
    from inorder.core.event import Partition

    return Partition("q.fifo", 0)


@pytest.mark.parametrize(
    ("value", "headers", "why"),
    [
        (b"x" * 1_048_577, {}, "bytes, of"),
        (b"x", {"h": b"1" * 1_048_576}, "bytes, of"),
    ],
)
def test_a_record_that_sqs_would_not_take_stops_its_key_with_the_reason(
    scene: Scene, value: bytes, headers: dict[str, bytes], why: str
) -> None:
    producer = inorder.Producer(scene.url)
    producer.send("k", value, headers=headers)
    producer.send("other", b"fine")
    with pytest.raises(Undelivered, match=why):
        producer.flush()
    assert sent(scene) == [("other", "fine")]
    producer.discard("k")
    producer.close()


def test_batches_stay_below_the_limit_in_bytes(scene: Scene) -> None:
    with inorder.Producer(scene.url) as producer:
        for key in "abcdef":
            producer.send(key, b"x" * 300_000, id=key)
    sizes = [sum(len(one["MessageBody"]) for one in r["Entries"]) for r in scene.requests("SendMessageBatch")]
    assert sum(sizes) == 6 * 300_000
    assert max(sizes) <= 1_048_576


def test_produce_sends_a_file_and_a_second_time_adds_nothing(inorder: Command, scene: Scene, tmp_path: Path) -> None:
    lines = [json.loads(entry(f"a{account}", version)) for version in (1, 2, 3) for account in range(4)]
    file = write_lines(tmp_path / "entries.jsonl", lines)
    for _ in range(2):
        said = inorder("produce", file, "--to", scene.url, "--key", "account", "--json")
        assert (said.code, said.document) == (0, {"delivered": 12})
    assert len(sent(scene)) == 12
    for account in range(4):
        assert [json.loads(body)["version"] for body in of_key(scene, f"a{account}")] == [1, 2, 3]


def test_mistakes_are_told_in_one_line(inorder: Command, scene: Scene, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "entries.jsonl", [json.loads(entry("a", 1))])
    for url, why in [
        (scene.url.replace(scene.name, "nowhere.fifo"), "nowhere.fifo is not there"),
        ("sqs://standard", "keeps no order"),
        ("sqs://q.fifo?speed=1", "unknown option 'speed'"),
        ("sqs://q.fifo?receivers=0", "from 1 to 64"),
        ("sqs://q.fifo?endpoint=localhost", "write such as endpoint=http"),
        ("sqs://user:hunter2@q.fifo", "takes no credentials"),
    ]:
        said = inorder("produce", file, "--to", url, "--key", "account")
        assert said.code == 2 or "not there" in why
        assert why in said.err
        assert "Traceback" not in said.err
        assert "hunter2" not in said.err
    with pytest.raises(UsageError, match="no partitions"):
        open_sink(scene.url, 4)


def test_what_a_producer_sends_a_worker_is_given(make: Make, fifo: FifoServer) -> None:
    from inorder.sources.sqs import SqsSource
    from tests.sqs.scene import Told

    queue = make()
    binary = base64.b64decode("AAH/")
    with inorder.Producer(queue.source_url()) as producer:
        producer.send("über alles", binary, version=1, id="one")
    source = SqsSource.from_url(queue.source_url(wait_s=0))
    source.subscribe(Told())
    pieces = next(found for _ in itertools.count() if (found := source.poll(1, 1.0)))
    record = pieces[0].record(0)
    assert (record.key, record.value) == ("über alles".encode(), binary)
    assert dict(record.headers)["inorder-version"] == b"1"
    source.close()


def test_the_relay_publishes_an_outbox_to_a_queue_each_key_in_its_order(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "bank.db"
    outbox, database = inorder.Outbox(f"sqlite:///{path}"), sqlite3.connect(path)
    outbox.prepare()
    with database:
        for version in range(1, 6):
            for key in "abc":
                outbox.add(database, key, {"amount": version})
    database.close()
    report = Relay(f"sqlite:///{path}", scene.url).run(until_idle_s=0.2)
    assert (report.published, report.unsent, report.stopped) == (15, 0, {})
    for key in "abc":
        assert [json.loads(body)["amount"] for body in of_key(scene, key)] == [1, 2, 3, 4, 5]
    with scene.server.changed:
        assert len({message.deduplication for message in scene.queue.messages}) == 15
