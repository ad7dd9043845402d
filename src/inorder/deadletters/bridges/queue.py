"""Dead letters as a queue service moves them: the message as it was, received too often, and nobody says why.

A dead-letter queue of SQS tells from which queue a message came and how often it was given out there.
"""

from __future__ import annotations

import msgspec

from inorder.core.event import Partition, Record
from inorder.deadletters.bridges.spring import Original

SOURCE, RECEIVES = "sqs-source", "sqs-receives"
"""The headers that the source writes."""


def read(record: Record) -> Original:
    """What a message of a dead-letter queue was."""
    headers = dict(record.headers)
    source = headers.get(SOURCE, b"").decode("utf-8", "replace")
    times = headers.get(RECEIVES, b"").decode("ascii", "replace")
    moved = f"moved here by {source}'s redrive policy" if source else "found in a dead-letter queue"
    return Original(
        record=msgspec.structs.replace(record, partition=Partition(source, 0)) if source else record,
        group=None,
        detail=f"Redriven: {moved}{f', received {times} times' if times.isdigit() else ''}",
        trace=None,
    )
