"""SQS FIFO as a sink, for `inorder produce --to sqs://QUEUE.fifo?region=…`.

The same line is the same event: its content is its deduplication id, so a file that is sent again within five minutes
adds nothing. It never goes on with a key after a record that was not delivered, and never creates a queue.
"""

from __future__ import annotations

from collections.abc import Sequence

from inorder.errors import Undelivered, Unreachable, UsageError
from inorder.producing.delivery import Delivery
from inorder.producing.sender import Sender
from inorder.producing.sqs_channel import SqsChannel
from inorder.sources import sqs_url
from inorder.sources.sqs_url import Location

NO_KEY = b"no-key"
"""The group of records without a key: they keep the order of sending among each other."""


class SqsSink:
    """See `inorder.ports.Sink`."""

    def __init__(self, location: Location) -> None:
        self._sender = Sender(SqsChannel(location, by_content=True))
        self._sent = 0

    @classmethod
    def from_url(cls, url: str, partitions: int | None = None) -> SqsSink:
        """`sqs://QUEUE.fifo?region=…`."""
        if partitions is not None:
            raise UsageError("a queue has no partitions: leave --partitions out")
        return cls(sqs_url.parse(url))

    def send(self, records: Sequence[tuple[bytes | None, bytes]]) -> None:
        """Take these, each a key and a value, in this order. Only `flush` says that they are kept."""
        for key, value in records:
            self._sender.add(Delivery(self._sender, key or NO_KEY, value, None, None, ()))
            self._sent += 1
            if not self._sender.has_room:
                with self._sender.changed:
                    self._sender.changed.wait_for(lambda: self._sender.has_room)
            self._check()

    def flush(self) -> int:
        """Wait until the queue keeps all that was sent; returns how many since the sink was opened."""
        sender = self._sender
        with sender.changed:
            sender.changed.wait_for(lambda: sender.outbound.active == 0)
        self._check()
        return self._sent

    def close(self) -> None:
        """Release the connections. What was not flushed may not be kept."""
        self._sender.close()

    def _check(self) -> None:
        """Raise when a key is stopped."""
        if not self._sender.outbound.stopped:
            return
        with self._sender.changed:
            stuck = [record for _, records in self._sender.outbound.stuck() for record in records]
            found: Undelivered = self._sender.undelivered("not delivered", stuck)
        raise Unreachable(str(found))
