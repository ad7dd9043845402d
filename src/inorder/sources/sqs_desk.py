"""The requests that an SQS source makes of its queue: receive, delete, extend, give back. No threads, no decisions.

A receive that was perhaps obeyed is repeated under the same attempt id, so that its messages are not locked in vain.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inorder.sources.sqs_leases import Message, Refused
from inorder.sources.sqs_record import SYSTEM_ATTRIBUTES, Raw
from inorder.sources.sqs_url import MOST_IN_BATCH

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class Desk:
    """One queue, as its client sees it. Any thread may use it."""

    def __init__(self, client: SQSClient, url: str, visibility_s: int, wait_s: int) -> None:
        self.client = client
        self.visibility_s = visibility_s
        self.wait_s = wait_s
        self._url = url
        self._receive: dict[str, Any] = {
            "QueueUrl": url,
            "MaxNumberOfMessages": MOST_IN_BATCH,
            # Always: the queue's own may be changed while we go by it.
            "VisibilityTimeout": visibility_s,
            "WaitTimeSeconds": wait_s,
            "MessageSystemAttributeNames": SYSTEM_ATTRIBUTES,
            "MessageAttributeNames": ("All",),
        }

    def receive(self, attempt: str) -> Sequence[Raw]:
        """Up to ten messages. The same attempt again gives the same ones, if its answer was lost."""
        return self.client.receive_message(**self._receive, ReceiveRequestAttemptId=attempt).get("Messages", ())

    def delete(self, messages: Sequence[Message]) -> Refused:
        """Delete up to ten messages."""
        entries = [{"Id": str(message.number), "ReceiptHandle": message.handle} for message in messages]
        return _refused(self.client.delete_message_batch(QueueUrl=self._url, Entries=entries))  # type: ignore[arg-type]

    def extend(self, messages: Sequence[Message], visibility_s: int) -> Refused:
        """Let up to ten messages be ours for so long from now on; for 0 seconds: give them back."""
        entries = [
            {"Id": str(message.number), "ReceiptHandle": message.handle, "VisibilityTimeout": visibility_s}
            for message in messages
        ]
        answer = self.client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[arg-type]
        return _refused(answer)

    def size(self) -> int:
        """About how many messages the queue has, given out or not."""
        found = self.client.get_queue_attributes(
            QueueUrl=self._url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )
        return sum(int(count) for count in found["Attributes"].values())


def new_attempt() -> str:
    """A name for the next receive."""
    return uuid.uuid4().hex


def _refused(answer: Any) -> Refused:
    found = Refused({}, {})
    for entry in answer.get("Failed", ()):
        into = found.final if entry.get("SenderFault") else found.again
        into[int(entry["Id"])] = f"{entry.get('Code')}: {entry.get('Message', '')}"
    return found
