"""The real parts work, and nothing of them stays behind."""

import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, Producer

from tests.services import ElasticMQ, KafkaCluster, Postgres, ServiceError
from tests.services.guardian import alive

# Prints what it started, then waits to be killed.
STARTS_AND_WAITS = """
import time
from tests.services import Postgres
with Postgres() as postgres:
    print(postgres._process.pid, postgres._directory, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_produced_record_is_consumed_by_a_group(kafka: KafkaCluster, protocol: str) -> None:
    topic = kafka.create_topic(f"smoke-{uuid.uuid4().hex}", partitions=2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True})
    producer.produce(topic, key=b"k", value=b"v")
    assert producer.flush(20) == 0

    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": topic,
            "group.protocol": protocol,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        consumer.subscribe([topic])
        record = consumer.poll(20)
    finally:
        consumer.close()

    assert record is not None
    assert record.error() is None
    assert (record.key(), record.value()) == (b"k", b"v")


def test_a_topic_grows(kafka: KafkaCluster) -> None:
    topic = kafka.create_topic(f"grow-{uuid.uuid4().hex}", partitions=1)
    kafka.grow(topic, 3)
    assert len(kafka.admin.list_topics(topic, timeout=10).topics[topic].partitions) == 3


def test_a_cluster_of_three_outlives_a_killed_broker(kafka_three: KafkaCluster) -> None:
    topic = kafka_three.create_topic(f"killed-{uuid.uuid4().hex}", partitions=3)
    kafka_three.kill(0)
    try:
        producer = Producer({"bootstrap.servers": kafka_three.bootstrap, "acks": "all"})
        for partition in range(3):
            producer.produce(topic, value=b"v", partition=partition)
        assert producer.flush(30) == 0
    finally:
        kafka_three.start(0)


def test_each_fresh_database_is_empty(postgres: Postgres) -> None:
    for _ in range(2):
        with psycopg.connect(postgres.fresh_database()) as connection:
            connection.execute("CREATE TABLE t (i int)")
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_what_postgres_committed_survives_a_crash() -> None:
    with Postgres() as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE t AS SELECT 1 AS i")
        server.stop_immediate()
        server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT i FROM t").fetchone() == (1,)


def test_a_fifo_queue_keeps_the_order_of_a_group(sqs: ElasticMQ) -> None:
    queue = sqs.create_fifo(f"smoke-{uuid.uuid4().hex}", visibility_s=5)
    for body in ("1", "2", "3"):
        sqs.client.send_message(QueueUrl=queue, MessageBody=body, MessageGroupId="k", MessageDeduplicationId=body)
    received = sqs.client.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=5)
    assert [message["Body"] for message in received["Messages"]] == ["1", "2", "3"]


def test_a_service_that_is_not_ours_is_not_touched() -> None:
    with KafkaCluster(at="127.0.0.1:1") as cluster, pytest.raises(ServiceError, match="not ours"):
        cluster.kill(0)


@pytest.mark.postgres
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_program_that_started_it(number: signal.Signals) -> None:
    program = subprocess.Popen([sys.executable, "-c", STARTS_AND_WAITS], stdout=subprocess.PIPE, text=True)
    with program:
        assert program.stdout is not None
        pid, directory = program.stdout.readline().split()
        assert alive(int(pid))
        program.send_signal(number)
    deadline = time.monotonic() + 10
    while (_runs(int(pid)) or Path(directory).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(int(pid))
    assert not Path(directory).exists()


def _runs(pid: int) -> bool:
    """Running, and not merely waiting for a parent to collect it."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.strip().startswith("Z")
