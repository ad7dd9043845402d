"""Dead letters of others come in with what they were, and copies go out for those who watch a topic."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import msgspec
import psycopg
from confluent_kafka import Producer

from inorder.core.event import Partition, Record
from inorder.core.order import Order
from inorder.deadletters.bridges import exporting, importing, spring
from inorder.deadletters.operating import Operator
from inorder.sources.embedded import EmbeddedBroker, Message
from inorder.stores.postgres import PostgresStore
from inorder.wiring import open_lag
from tests.cli.conftest import Command
from tests.deadletters.conftest import kinds
from tests.deadletters.replays import Fault, ReplayBench, results
from tests.deadletters.test_command import BANK, YES, line
from tests.services import KafkaCluster
from tests.stores.making import letter
from tests.worker.bench import entries, until
from tests.worker.consumers import Entry

BY = Operator("tester", "because", 1_800_000_000.0)
FAILURE = "org.springframework.kafka.listener.ListenerExecutionFailedException"


def spring_headers(topic: str, partition: int, offset: int, group: str = "java") -> tuple[tuple[str, bytes], ...]:
    """As Spring for Apache Kafka writes them."""
    return (
        ("trace", b"kept"),
        ("kafka_dlt-original-topic", topic.encode()),
        ("kafka_dlt-original-partition", struct.pack(">i", partition)),
        ("kafka_dlt-original-offset", struct.pack(">q", offset)),
        ("kafka_dlt-original-timestamp", struct.pack(">q", 1_700_000_000_000)),
        ("kafka_dlt-original-timestamp-type", b"CreateTime"),
        ("kafka_dlt-original-consumer-group", group.encode()),
        ("kafka_dlt-exception-fqcn", FAILURE.encode()),
        ("kafka_dlt-exception-cause-fqcn", b"com.example.LedgerClosed"),
        ("kafka_dlt-exception-message", b"Listener failed; the ledger\nis closed"),
        ("kafka_dlt-exception-stacktrace", b"com.example.LedgerClosed: \n\tat Ledger.post(Ledger.java:7)"),
    )


def dead_letter_topic(bench: ReplayBench, *records: tuple[Entry | bytes, tuple[tuple[str, bytes], ...]]) -> str:
    """A topic that another consumer has written to; returns its URL."""
    path = bench.path.parent / "others.db"
    broker = EmbeddedBroker(path)
    if "dlt" not in broker.topics():
        broker.create_topic("dlt", 2)
    values = [(one if isinstance(one, bytes) else msgspec.json.encode(one), headers) for one, headers in records]
    broker.append_many("dlt", [Message(b"k", value, headers) for value, headers in values])
    broker.close()
    return f"embedded://{path}/dlt"


def test_spring_headers_are_read_and_written() -> None:
    record = Record(Partition("entries.DLT", 0), 5, b"k", b"v", spring_headers("entries", 3, 8412), 1)
    original = spring.read(record)
    assert (original.record.partition, original.record.offset) == (Partition("entries", 3), 8412)
    assert original.record.timestamp_ms == 1_700_000_000_000
    assert original.record.headers == (("trace", b"kept"),)
    assert original.group == "java"
    assert original.detail == "LedgerClosed: Listener failed; the ledger\\nis closed"
    assert original.trace is not None
    assert "Ledger.java:7" in original.trace


def test_a_record_without_headers_is_itself_and_odd_headers_do_no_harm() -> None:
    here = Record(Partition("entries.DLT", 1), 5, None, b"v")
    assert (spring.read(here).record, spring.read(here).group) == (here, None)
    for odd in (b"", b"abc", b"\xff" * 8, b"9" * 40):
        headers = tuple((f"kafka_dlt-original-{name}", odd) for name in ("topic", "partition", "offset", "timestamp"))
        found = spring.read(msgspec.structs.replace(here, headers=headers))
        assert found.record.partition == here.partition
        assert found.record.offset == here.offset


def test_headers_that_other_programs_write_as_digits() -> None:
    headers = (
        ("kafka_dlt-original-topic", b"entries"),
        ("kafka_dlt-original-partition", b"12"),
        ("kafka_dlt-original-offset", b"34"),
    )
    found = spring.read(Record(Partition("dlt", 0), 5, None, b"v", headers)).record
    assert (found.partition, found.offset) == (Partition("entries", 12), 34)


def test_digits_are_digits_though_they_are_as_many_as_a_binary_number_has_bytes() -> None:
    headers = (
        ("kafka_dlt-original-topic", b"entries"),
        ("kafka_dlt-original-partition", b"1200"),
        ("kafka_dlt-original-offset", b"34345678"),
    )
    found = spring.read(Record(Partition("dlt", 0), 5, None, b"v", headers)).record
    assert (found.partition, found.offset) == (Partition("entries", 1200), 34_345_678)


def test_a_number_that_no_broker_has_is_none() -> None:
    headers = (
        ("kafka_dlt-original-topic", b"entries"),
        ("kafka_dlt-original-partition", b"123456789012"),
        ("kafka_dlt-original-offset", b"34"),
    )
    found = spring.read(Record(Partition("dlt", 0), 5, None, b"v", headers)).record
    assert (found.partition, found.offset) == (Partition("dlt", 0), 5)


@kinds("fold")
def test_letters_of_others_with_an_odd_time_or_half_of_an_event_are_listed(
    bench: ReplayBench, command: Command
) -> None:
    odd_time = [
        (name, struct.pack(">q", 2**62) if name.endswith("timestamp") else value)
        for name, value in spring_headers("entries", 0, 1)
    ]
    half = b'{"key": "b", "version": "two", "id": "b-2"}'
    url = dead_letter_topic(bench, (entries("a", 1)[0], tuple(odd_time)), (half, spring_headers("entries", 0, 2)))
    assert importing.import_letters(bench.declare(), bench.url, url, BY).imported == 2
    assert bench.dead() == [("a", 1, "failed"), ("b", None, "malformed")]
    found = command("dlq", "list", "--store", bench.url, "--json").document
    assert {row["key"] for row in found["by_key"]} == {"a", "b"}
    assert command("dlq", "show", "a", "--store", bench.url).code == 0


@kinds("fold", "tx", "call")
def test_letters_of_others_are_taken_over_once_and_replayed_in_order(bench: ReplayBench) -> None:
    bench.produce(*entries("a", 1))
    consumer = bench.declare()
    bench.work(consumer)
    third, second = entries("a", 3, 2)
    url = dead_letter_topic(
        bench,
        (third, spring_headers("entries", 0, 12)),
        (second, spring_headers("entries", 0, 11)),
        (b"no json", spring_headers("entries", 0, 13)),
        (entries("b", 1)[0], spring_headers("entries", 0, 14, group="somebody-else")),
    )
    store = bench.url
    found = importing.import_letters(consumer, store, url, BY, of_group="java")
    assert (found.read, found.imported, found.unreadable, found.of_others) == (4, 3, 1, 1)
    assert importing.import_letters(consumer, store, url, BY).read == 0, "it goes on where it stopped"
    dead_letter_topic(bench, (third, spring_headers("entries", 0, 12)))
    again = importing.import_letters(consumer, store, url, BY)
    assert (again.read, again.imported, again.known) == (1, 0, 1)
    assert bench.parked() == [], "nothing is parked by an import"
    row = next(row for row in bench.letters() if row.letter.version == 2)
    assert (row.letter.key, row.letter.event_id, row.letter.record.offset) == ("a", "a-2", 11)
    assert row.letter.detail.startswith("LedgerClosed: ")
    summary = bench.replay(consumer)
    assert sorted(results(summary), key=str) == [
        ("a", 2, "applied"),
        ("a", 3, "applied"),
        (None, None, "unreadable"),
    ]
    assert bench.effects() == {"a": [1, 2, 3]}
    assert bench.outcomes() == {"applied": 1, "dead_lettered": 1, "replayed": 2}


@kinds("fold")
def test_copies_go_out_once_and_can_be_read_back(bench: ReplayBench) -> None:
    fault = Fault(("a", 1), ("b", 1))
    bench.produce(*entries("a", 1, 2), b"no json")
    consumer = bench.declare(fault)
    bench.work(consumer)
    path = bench.path.parent / "others.db"
    broker = EmbeddedBroker(path)
    broker.create_topic("dlt", 1)
    url = f"embedded://{path}/dlt"
    assert exporting.export_letters(bench.look, url, BY).copied == 2
    assert exporting.export_letters(bench.look, url, BY).copied == 0
    bench.produce(*entries("b", 1))
    bench.work(consumer)
    assert exporting.export_letters(bench.look, url, BY).copied == 1
    assert sum(broker.ends("dlt").values()) == 3
    assert len([row for row in bench.letters() if row.status == "open"]) == 3, "a copy is no hand-over"
    broker.close()

    found = importing.import_letters(consumer, f"sqlite:///{bench.path.parent}/second.db", url, BY, of_group="stream")
    assert (found.imported, found.unreadable) == (3, 1)


def test_a_letter_that_is_written_late_is_copied_too(postgres_url: str, tmp_path: Path) -> None:
    """Its number is lower than that of one that could be read already."""
    broker = EmbeddedBroker(tmp_path / "others.db")
    broker.create_topic("dlt", 1)
    url = f"embedded://{tmp_path}/others.db/dlt"
    look, late, early = (PostgresStore(postgres_url, "stream") for _ in range(3))
    for store in (look, late, early):
        store.register(Order.STRICT, 0)
    copying = threading.Thread(target=exporting.export_letters, args=(look, url, BY), daemon=True)
    with psycopg.connect(postgres_url, autocommit=True) as link:

        def is_past_it() -> bool:
            waits = link.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
            return not copying.is_alive() or waits != (0,)

        with late.transaction() as tx:
            assert tx.import_letter(letter(1), 1)
            with early.transaction() as other:
                assert other.import_letter(letter(2), 1)
            copying.start()
            until("it waits, or has copied what it could read", is_past_it)
    copying.join()
    exporting.export_letters(look, url, BY)
    assert sum(broker.ends("dlt").values()) == 2
    for store in (look, late, early):
        store.close()
    broker.close()


def test_the_verbs_of_the_bridges(command: Command) -> None:
    Path("bank.py").write_text(BANK)
    broker = EmbeddedBroker("others.db")
    broker.create_topic("dlt", 1)
    broker.create_topic("copies", 1)
    value = msgspec.json.encode(line("bob", 1))
    broker.append_many("dlt", [Message(b"bob", value, spring_headers("entries", 0, 7))])
    said = command("dlq", "import", "bank.py:balance", "--from", "embedded://others.db/dlt", *YES, "--json")
    assert said.code == 0
    assert (said.document["read"], said.document["imported"]) == (1, 1)
    said = command("dlq", "export", "--to", "embedded://others.db/copies", *YES)
    assert said.code == 0
    assert "1 letter copied" in said.out
    assert sum(broker.ends("copies").values()) == 1
    plan = command("dlq", "plan", "bank.py:balance", "--json").document["plan"]
    assert command("dlq", "replay", plan, *YES).code == 0
    assert command("dlq", "import", "bank.py:balance", "--from", "nowhere://x", *YES).code == 2
    broker.close()


@kinds("fold")
def test_bridges_to_a_real_kafka(bench: ReplayBench, kafka: KafkaCluster) -> None:
    theirs, ours = kafka.create_topic("bridge-theirs", 2), kafka.create_topic("bridge-ours", 1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all"})
    for entry, offset in zip(entries("a", 2, 1), (21, 20), strict=True):
        headers: list[tuple[str, str | bytes | None]] = list(spring_headers("entries", 0, offset))
        producer.produce(theirs, msgspec.json.encode(entry), b"a", headers=headers)
    assert producer.flush(10) == 0
    consumer = bench.declare()
    source = f"kafka://{kafka.bootstrap}/{theirs}?session.timeout.ms=6000"
    found = importing.import_letters(consumer, bench.url, source, BY)
    assert (found.read, found.imported) == (2, 2)
    assert importing.import_letters(consumer, bench.url, source, BY).read == 0
    copies = f"kafka://{kafka.bootstrap}/{ours}"
    assert exporting.export_letters(bench.look, copies, BY).copied == 2
    copied = importing.import_letters(consumer, f"sqlite:///{bench.path.parent}/second.db", copies, BY)
    assert (copied.read, copied.imported, copied.unreadable) == (2, 2, 0)
    assert results(bench.replay(consumer)) == [("a", 1, "applied"), ("a", 2, "applied")]
    lag = open_lag(f"kafka://{kafka.bootstrap}/{theirs}", "stream-dead-letters")
    assert lag() == 0
    nobody = open_lag(f"kafka://{kafka.bootstrap}/{theirs}?group=nobody", "other")
    assert nobody() == 2
    lag.close()
    nobody.close()
