"""Where an experiment's events travel: one topic of a broker, whichever broker it is.

A place takes records in exactly the order they are put, and says under which URL a consumer reads them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import quote

from inorder.errors import UsageError
from inorder.lab.results import Request
from inorder.sources.embedded_broker import EmbeddedBroker, Message

BROKERS = ("embedded", "kafka", "sqs")
SESSION_S = 2.0
"""After so long without a sign of life, a member's partitions go to others."""
TOPIC = "lab"


class Put(NamedTuple):
    """One record. `route` is what the broker keeps in order: Kafka's record key, the message group of SQS.

    None: it has no key, and goes anywhere.
    """

    route: str | None
    value: bytes
    partition: int | None = None
    """Into this partition, whatever the route says."""


class Place(Protocol):
    """One topic or queue of this experiment alone."""

    partitions: int
    """0 where a broker has none."""

    def url(self) -> str:
        """For a consumer."""

    def put(self, records: Sequence[Put]) -> list[tuple[int, int]]:
        """Append these in this order; all are kept when it returns. Where each one is, if the broker says so."""

    def grow(self, partitions: int) -> None:
        """Let there be more partitions."""

    def close(self) -> None:
        """Release what is open, and remove what was made."""


class EmbeddedPlace:
    """A topic of the embedded broker, in a file of its own."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self.partitions = partitions
        self._path = folder / "broker.db"
        self._broker = EmbeddedBroker(self._path)
        self._broker.create_topic(TOPIC, partitions)

    def url(self) -> str:
        """See `Place`."""
        return f"embedded://{quote(str(self._path))}/{TOPIC}?session_timeout_s={SESSION_S:g}"

    def put(self, records: Sequence[Put]) -> list[tuple[int, int]]:
        """See `Place`."""
        messages = [
            Message(one.route.encode() if one.route else None, one.value, partition=one.partition) for one in records
        ]
        return self._broker.append_many(TOPIC, messages)

    def grow(self, partitions: int) -> None:
        """See `Place`."""
        self._broker.grow(TOPIC, partitions)
        self.partitions = partitions

    def close(self) -> None:
        """See `Place`. The file goes with its folder."""
        self._broker.close()


@contextmanager
def folder_of_a_run() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="inorder-lab-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def place(request: Request, folder: Path, partitions: int) -> Iterator[Place]:
    """A new place on the broker that was asked for."""
    found = _open(request, folder, partitions)
    try:
        yield found
    finally:
        found.close()


def _open(request: Request, folder: Path, partitions: int) -> Place:
    if request.broker == "kafka":
        return kafka_place(request.kafka, partitions)
    if request.broker == "sqs":
        return sqs_place(request.sqs)
    if request.broker != "embedded":
        raise UsageError(f"there is no broker {request.broker!r}: write one of {', '.join(BROKERS)}")
    return EmbeddedPlace(folder, partitions)


def kafka_place(bootstrap: str | None, partitions: int) -> Place:
    """A topic of a Kafka."""
    if bootstrap is None:
        raise UsageError("this needs a Kafka to make topics on: add --kafka HOST:PORT")
    try:
        from inorder.lab.kafka_place import KafkaPlace
    except ModuleNotFoundError:
        raise UsageError("confluent_kafka is not installed: pip install 'inorder[kafka]'") from None
    return KafkaPlace(bootstrap, partitions)


def sqs_place(endpoint: str | None, through: str | None = None) -> Place:
    """A queue of an SQS. Consumers go `through` another address, if one is given."""
    if endpoint is None:
        raise UsageError("this needs an SQS to make queues on: add --sqs http://HOST:PORT")
    try:
        from inorder.lab.sqs_place import SqsPlace
    except ModuleNotFoundError:
        raise UsageError("boto3 is not installed: pip install 'inorder[sqs]'") from None
    return SqsPlace(endpoint, through)
