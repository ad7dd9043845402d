"""ElasticMQ: SQS FIFO queues in memory. Within a message group it delivers as SQS does: the longest visible
prefix. It differs in that it takes deletes with an expired receipt handle and moves nothing on redrive."""

import json
import os
import signal
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import boto3

from tests.services import processes
from tests.services.maven import JAVA, classpath
from tests.services.processes import Command

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

COORDINATES = "org.elasticmq:elasticmq-server_2.13:1.7.1"
START_TIMEOUT_S = 60.0
REGION = "us-east-1"
JAVA_OPTIONS = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
CONFIG = """\
include classpath("application.conf")
node-address {{ protocol = http, host = "127.0.0.1", port = {port}, context-path = "" }}
rest-sqs {{ enabled = true, bind-hostname = "127.0.0.1", bind-port = {port}, sqs-limits = strict }}
rest-stats {{ enabled = false }}
"""


class ElasticMQ:
    """`with ElasticMQ() as sqs:`. With `at`, a running endpoint is used."""

    def __init__(self, *, at: str | None = None) -> None:
        self.endpoint = at or ""
        self._ours = at is None
        self._directory: Path | None = None
        self._process: processes.Process | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """The endpoint INORDER_TEST_SQS names, else one of its own."""
        return cls(at=os.environ.get("INORDER_TEST_SQS"))

    def __enter__(self) -> Self:
        if self._ours:
            self._directory = processes.work_directory("sqs")
            try:
                self._start(self._directory)
            except BaseException:
                self._end()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @cached_property
    def client(self) -> "SQSClient":
        """A client of the endpoint; the emulator takes any credentials."""
        return boto3.client(
            "sqs",
            endpoint_url=self.endpoint,
            region_name=os.environ.get("AWS_REGION", REGION),
            aws_access_key_id=os.environ.get("AWS_ACCESS_KEY_ID", "test"),
            aws_secret_access_key=os.environ.get("AWS_SECRET_ACCESS_KEY", "test"),
        )

    def create_fifo(self, name: str, visibility_s: int = 30, *, dlq: str | None = None, max_receives: int = 3) -> str:
        """Make a FIFO queue (".fifo" is added if missing) and return its URL. `dlq` is the URL of the queue
        that gets what was received `max_receives` times."""
        attributes: dict[QueueAttributeNameType, str] = {
            "FifoQueue": "true",
            "VisibilityTimeout": str(visibility_s),
        }
        if dlq is not None:
            found = self.client.get_queue_attributes(QueueUrl=dlq, AttributeNames=["QueueArn"])
            policy = {"deadLetterTargetArn": found["Attributes"]["QueueArn"], "maxReceiveCount": max_receives}
            attributes["RedrivePolicy"] = json.dumps(policy)
        full_name = name if name.endswith(".fifo") else f"{name}.fifo"
        return self.client.create_queue(QueueName=full_name, Attributes=attributes)["QueueUrl"]

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def _running(self) -> processes.Process:
        if self._process is None:
            raise processes.ServiceError("this SQS endpoint is not ours to touch")
        return self._process

    def _start(self, directory: Path) -> None:
        port = processes.free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        config, log = directory / "elasticmq.conf", directory / "log"
        config.write_text(CONFIG.format(port=port))
        java: Command = [JAVA, *JAVA_OPTIONS, f"-Dconfig.file={config}", "-cp", classpath(COORDINATES)]
        self._process = processes.start([*java, "org.elasticmq.server.Main"], log)
        processes.wait_until(
            lambda: processes.listening(port),
            "ElasticMQ is up",
            process=self._process,
            log=log,
            timeout_s=START_TIMEOUT_S,
        )

    def _end(self) -> None:
        if self._process is not None:
            processes.end(self._process, signal.SIGKILL)
        if self._directory is not None:
            processes.remove(self._directory)
