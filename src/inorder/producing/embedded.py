"""The embedded broker as a sink, for `inorder produce --to embedded://path.db/TOPIC`.

It creates the file and the topic when they are not there. It never changes a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inorder.sources.embedded_broker import EmbeddedBroker, Message
from inorder.sources.embedded_url import count, parse

PARTITIONS = 8
_BATCH = 2_000


class EmbeddedSink:
    """Appends to `topic` of the broker file `path`.

    `partitions` is how many the topic has from now on: a new topic begins with that many (8 by default), one
    that has fewer grows, one that has more is refused. `EmbeddedSink.from_url` takes the same from a URL.
    """

    def __init__(self, path: str | Path, topic: str, partitions: int | None = None) -> None:
        self._broker = EmbeddedBroker(path)
        self._topic = topic
        self._delivered = 0
        try:
            if topic not in self._broker.topics():
                self._broker.create_topic(topic, partitions or PARTITIONS)
            elif partitions is not None:
                self._broker.grow(topic, partitions)
        except BaseException:
            self._broker.close()
            raise

    @classmethod
    def from_url(cls, url: str, partitions: int | None = None) -> EmbeddedSink:
        """`embedded://path.db/TOPIC?partitions=…`; `partitions` is the default for `partitions=`."""
        path, topic, options = parse(url, known=("partitions",))
        return cls(path, topic, count(options, "partitions") or partitions)

    def send(self, records: Sequence[tuple[bytes | None, bytes]]) -> None:
        """Append these, each a key and a value, in this order. What was appended is on the disk."""
        for start in range(0, len(records), _BATCH):
            batch = [Message(key, value) for key, value in records[start : start + _BATCH]]
            self._broker.append_many(self._topic, batch)
            self._delivered += len(batch)

    def flush(self) -> int:
        """How many were appended since the sink was opened; nothing is ever left to wait for."""
        return self._delivered

    def close(self) -> None:
        """Close the file."""
        self._broker.close()
