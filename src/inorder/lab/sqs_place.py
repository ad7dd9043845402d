"""A queue of SQS, or of an emulator, as a place of an experiment: made when it begins, deleted when it ends."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

from inorder.errors import Unreachable
from inorder.lab.places import Put
from inorder.sources import sqs_contact as contact
from inorder.sources.sqs_url import MOST_IN_BATCH, Location

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

VISIBILITY_S = 30


class SqsPlace:
    """See `inorder.lab.places.Place`. A record's route is its message group."""

    def __init__(self, endpoint: str, through: str | None = None) -> None:
        self.partitions = 0
        self._through = through or endpoint
        """Where consumers connect."""
        self._location = Location(f"inorder-lab-{uuid.uuid4().hex[:12]}.fifo", endpoint=endpoint)
        self._client = contact.connect(self._location, 4)
        with contact.telling(self._location):
            made = self._client.create_queue(
                QueueName=self._location.queue,
                Attributes={"FifoQueue": "true", "VisibilityTimeout": str(VISIBILITY_S)},
            )
        self._queue = made["QueueUrl"]

    def url(self) -> str:
        """See `Place`."""
        return f"sqs://{self._location.queue}?endpoint={quote(self._through, safe='')}&wait_s=1"

    def put(self, records: Sequence[Put]) -> list[tuple[int, int]]:
        """See `Place`. Each is another message, also one that is put twice."""
        for batch in _batches(records):
            entries: list[SendMessageBatchRequestEntryTypeDef] = [
                {
                    "Id": str(number),
                    "MessageBody": one.value.decode(),
                    "MessageGroupId": one.route or uuid.uuid4().hex,
                    "MessageDeduplicationId": uuid.uuid4().hex,
                }
                for number, one in enumerate(batch)
            ]
            with contact.telling(self._location):
                answer = self._client.send_message_batch(QueueUrl=self._queue, Entries=entries)
            if answer.get("Failed"):
                raise Unreachable(f"{self._location.where} did not take the lab's messages")
        return []

    def grow(self, partitions: int) -> None:
        """See `Place`. A queue has none."""
        raise NotImplementedError("a queue has no partitions")

    def close(self) -> None:
        """See `Place`."""
        with suppress(BotoCoreError, ClientError):
            self._client.delete_queue(QueueUrl=self._queue)
        self._client.close()


def round_trips(endpoint: str, through: str, times: int = 12) -> tuple[float, float]:
    """How long a receive of ten messages takes over `through`, and how long their deletion: lower quartiles."""
    place = SqsPlace(endpoint)
    client = contact.connect(Location(place._location.queue, endpoint=through), 1)
    receives, deletions = [], []
    try:
        for number in range(times):
            place.put([Put(f"{number}-{one}", b"x" * 60) for one in range(MOST_IN_BATCH)])
            began = time.perf_counter()
            found = client.receive_message(QueueUrl=place._queue, MaxNumberOfMessages=MOST_IN_BATCH)["Messages"]
            received = time.perf_counter()
            client.delete_message_batch(
                QueueUrl=place._queue,
                Entries=[{"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]} for at, one in enumerate(found)],
            )
            receives.append(received - began)
            deletions.append(time.perf_counter() - received)
    finally:
        client.close()
        place.close()
    return statistics.quantiles(receives, n=4)[0], statistics.quantiles(deletions, n=4)[0]


def _batches(records: Sequence[Put]) -> Iterator[list[Put]]:
    """As they come, but no two of one group in a batch: not everybody keeps the order within one."""
    batch: list[Put] = []
    for one in records:
        if len(batch) == MOST_IN_BATCH or (one.route and any(one.route == other.route for other in batch)):
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch
