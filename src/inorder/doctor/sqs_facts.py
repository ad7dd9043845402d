"""Asks SQS for the settings of a queue and of its dead-letter queue. It receives nothing, and changes nothing."""

from __future__ import annotations

import json

from inorder.doctor.facts import Facts, Queue
from inorder.errors import InorderError
from inorder.sources import sqs_contact as contact
from inorder.sources import sqs_url


class SqsFacts:
    """What `inorder doctor --from sqs://…` learns. A standard queue may be named: that is a finding."""

    def __init__(self, url: str, group: str | None) -> None:
        self._at = sqs_url.parse(url, fifo=False)
        self.source = f"sqs://{self._at.queue}"

    def gather(self, facts: Facts, handler_s: float, drain_s: float) -> None:
        """Add what can be learned. Raises `Unreachable` or `UsageError` when there is no queue."""
        client = contact.connect(self._at, 1)
        try:
            attributes = contact.find(client, self._at).attributes
            policy = json.loads(attributes.get("RedrivePolicy", "{}"))
            kept_s: float | None = None
            if policy:
                dead = policy["deadLetterTargetArn"].rpartition(":")[2]
                try:
                    found = contact.find(client, self._at._replace(queue=dead)).attributes
                    kept_s = float(found["MessageRetentionPeriod"])
                except (InorderError, KeyError):
                    kept_s = None  # perhaps in another account; its check passes over it
        finally:
            client.close()
        facts.queue = Queue(
            name=self._at.queue,
            attributes=attributes,
            visibility_s=self._at.visibility_s or float(attributes.get("VisibilityTimeout", "30")),
            max_receives=int(policy["maxReceiveCount"]) if policy else None,
            dead_letter_retention_s=kept_s,
            handler_s=handler_s,
        )
