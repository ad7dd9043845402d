"""A Kafka cluster of one or three brokers (KRaft, every broker also a controller)."""

import base64
import os
import shutil
import signal
import uuid
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from tests.services import processes
from tests.services.maven import JAVA, cache_directory, classpath
from tests.services.processes import Command

VERSION = "4.4.0"
COORDINATES = f"org.apache.kafka:kafka_2.13:{VERSION}+org.slf4j:slf4j-simple:1.7.36"
CLUSTER_ID = "aW5vcmRlci10ZXN0cy0xMg"
START_TIMEOUT_S = 100.0
TOPIC_TIMEOUT_S = 20.0
JAVA_OPTIONS = ["-Xmx512m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
# The first compiler alone: half the start-up time, less speed later.
FAST_START = ["-XX:TieredStopAtLevel=1"]


class KafkaCluster:
    """`with KafkaCluster(brokers=3) as kafka:`. Brokers are numbered from 0. With `at`, a running cluster is
    used: topics can be made there, brokers not touched."""

    def __init__(
        self,
        brokers: int = 1,
        *,
        at: str | None = None,
        config: Mapping[str, str] | None = None,
        fast_start: bool = True,
    ) -> None:
        self.bootstrap = at or ""
        self._ours = at is None
        self._size = brokers
        self._config = dict(config or {})
        self._java_options = JAVA_OPTIONS + (FAST_START if fast_start else [])
        self._brokers: list[_Broker] = []
        self._directory: Path | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """The cluster INORDER_TEST_KAFKA names, else one broker of its own."""
        return cls(at=os.environ.get("INORDER_TEST_KAFKA"))

    def __enter__(self) -> Self:
        if self._ours:
            self._directory = processes.work_directory("kafka")
            try:
                self._start_all(self._directory)
            except BaseException:
                self._end_all()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_all()

    # topics

    def create_topic(self, name: str, partitions: int = 1, **config: str | int) -> str:
        """Make a topic and wait until every partition has a leader. `retention_ms=1000` sets retention.ms."""
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        topic = NewTopic(name, num_partitions=partitions, config=settings)
        self.admin.create_topics([topic])[name].result(TOPIC_TIMEOUT_S)
        self._await_leaders(name, partitions)
        return name

    def grow(self, topic: str, partitions: int) -> None:
        """Raise the number of partitions to `partitions`."""
        self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(TOPIC_TIMEOUT_S)
        self._await_leaders(topic, partitions)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """As retention does it: what comes before this offset is gone."""
        where = TopicPartition(topic, partition, before)

        def deleted() -> bool:
            # A client looks for the leader in what it remembers, and may go on remembering that there was none.
            client = self._new_admin()
            try:
                client.delete_records([where])[where].result(TOPIC_TIMEOUT_S)
            except KafkaException:
                return False
            return True

        processes.wait_until(deleted, f"the first {before} records of {topic} are deleted", timeout_s=TOPIC_TIMEOUT_S)

    @cached_property
    def admin(self) -> AdminClient:
        return self._new_admin()

    def _new_admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "reconnect.backoff.max.ms": 200, "log_level": 0})

    # brokers

    def kill(self, broker: int) -> None:
        """SIGKILL: no leadership is handed over, nothing is flushed."""
        self._broker(broker).end(signal.SIGKILL)

    def stop(self, broker: int) -> None:
        """A controlled shutdown."""
        self._broker(broker).end(signal.SIGTERM)

    def start(self, broker: int) -> None:
        """Start a killed or stopped broker again, with its data and port, and wait until it has joined."""
        self._broker(broker).start()
        self._await_broker(self._broker(broker))

    def lose(self, topic: str, partition: int) -> None:
        """What the brokers have of a partition is gone, as with their disks. They do not run."""
        if self._directory is None:
            raise processes.ServiceError(f"the cluster at {self.bootstrap} is not ours to touch")
        for log in self._directory.glob(f"*/data/{topic}-{partition}"):
            shutil.rmtree(log)

    def pause(self, broker: int) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._broker(broker).signal(signal.SIGSTOP)

    def resume(self, broker: int) -> None:
        self._broker(broker).signal(signal.SIGCONT)

    def log(self, broker: int) -> str:
        return self._broker(broker).log.read_text(errors="replace")

    def _broker(self, index: int) -> "_Broker":
        if not self._ours:
            raise processes.ServiceError(f"the cluster at {self.bootstrap} is not ours to touch")
        return self._brokers[index]

    def _start_all(self, directory: Path) -> None:
        java: Command = [JAVA, *self._java_options, "-cp", classpath(COORDINATES)]
        self._brokers = [_Broker(node, directory / str(node), java) for node in range(1, self._size + 1)]
        self.bootstrap = ",".join(f"127.0.0.1:{broker.port}" for broker in self._brokers)
        for broker in self._brokers:
            broker.prepare(self._brokers, self._config)
            broker.start()
        for broker in self._brokers:
            self._await_broker(broker)

    def _end_all(self) -> None:
        for broker in self._brokers:
            broker.end(signal.SIGKILL)
        if self._directory is not None:
            processes.remove(self._directory)

    def _await_broker(self, broker: "_Broker") -> None:
        def joined() -> bool:
            if not processes.listening(broker.port):
                return False
            try:
                return broker.node in self.admin.list_topics(timeout=1).brokers
            except KafkaException:
                return False

        what = f"Kafka broker {broker.node - 1} is up"
        processes.wait_until(joined, what, process=broker.process, log=broker.log, timeout_s=START_TIMEOUT_S)

    def _await_leaders(self, topic: str, partitions: int) -> None:
        def led() -> bool:
            found = self.admin.list_topics(topic, timeout=TOPIC_TIMEOUT_S).topics[topic].partitions
            return len(found) >= partitions and all(p.leader >= 0 and p.error is None for p in found.values())

        processes.wait_until(led, f"topic {topic} has leaders", timeout_s=TOPIC_TIMEOUT_S)


class _Broker:
    """One broker process: its ports, its directory, its settings."""

    def __init__(self, node: int, directory: Path, java: Command) -> None:
        self.node = node
        self.port = processes.free_port()
        self.controller_port = processes.free_port()
        self.log = directory / "log"
        self.process: processes.Process | None = None
        self._directory = directory
        self._java = java

    def prepare(self, voters: "list[_Broker]", config: Mapping[str, str]) -> None:
        data = self._directory / "data"
        quorum = ",".join(f"{voter.node}@127.0.0.1:{voter.controller_port}" for voter in voters)
        settings = {
            **_settings(len(voters)),
            "node.id": str(self.node),
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "controller.quorum.voters": quorum,
            "log.dirs": str(data),
            **config,
        }
        self._directory.mkdir()
        _write_properties(self._directory / "server.properties", settings)
        shutil.copytree(_formatted(self._java), data)
        identity = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        meta = {"version": "1", "cluster.id": CLUSTER_ID, "node.id": str(self.node), "directory.id": identity}
        _write_properties(data / "meta.properties", meta)

    def start(self) -> None:
        command = [*self._java, "kafka.Kafka", self._directory / "server.properties"]
        self.process = processes.start(command, self.log)

    def end(self, number: int) -> None:
        if self.process is not None:
            processes.end(self.process, number)

    def signal(self, number: int) -> None:
        if self.process is None or self.process.poll() is not None:
            raise processes.ServiceError(f"Kafka broker {self.node - 1} is not running")
        self.process.send_signal(number)


def _settings(brokers: int) -> dict[str, str]:
    replicas, in_sync = str(brokers), str(min(brokers, 2))
    return {
        "process.roles": "broker,controller",
        "controller.listener.names": "CONTROLLER",
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        # quick fail-over
        "broker.heartbeat.interval.ms": "250",
        "broker.session.timeout.ms": "2500",
        # quick groups, and sessions short enough to wait out in a test
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "group.consumer.min.session.timeout.ms": "1000",
        "group.consumer.session.timeout.ms": "6000",
        "group.consumer.min.heartbeat.interval.ms": "200",
        "group.consumer.heartbeat.interval.ms": "500",
        # internal topics: as safe as the cluster allows, and small
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": "4",
        # a small machine
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
    }


def _formatted(java: Command) -> Path:
    """A formatted, empty data directory to copy. Only meta.properties differs between brokers, and formatting
    costs a second of Java: it is done once per version."""
    template = cache_directory() / f"kafka-{VERSION}-formatted"
    if not template.exists():
        with processes.scratch_directory("kafka-format") as scratch:
            data, properties = scratch / "data", scratch / "server.properties"
            settings = {
                "process.roles": "broker,controller",
                "controller.listener.names": "CONTROLLER",
                "node.id": "1",
                "listeners": "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2",
                "controller.quorum.voters": "1@127.0.0.1:2",
                "log.dirs": str(data),
            }
            _write_properties(properties, settings)
            processes.run([*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", properties])
            ready = template.with_name(f"{template.name}.{os.getpid()}")
            shutil.copytree(data, ready)
            try:
                ready.rename(template)
            except OSError:  # another program was first
                processes.remove(ready)
    return template


def _write_properties(path: Path, settings: Mapping[str, str]) -> None:
    path.unlink(missing_ok=True)
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
