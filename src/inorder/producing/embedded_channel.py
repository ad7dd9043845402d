"""The embedded broker for `inorder.Producer`: what was handed over is appended in one transaction after another."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from inorder.errors import Unreachable, UsageError
from inorder.producing.channel import Fault, Outgoing, Place, Problem, Report
from inorder.producing.embedded import PARTITIONS
from inorder.sources.embedded_broker import EmbeddedBroker, Message
from inorder.sources.embedded_url import count, parse

MOST_AT_ONCE = 2_000
"""Records appended in one transaction."""
DELIVERY_TIMEOUT_S = 300.0

_log = logging.getLogger("inorder.producer")


class EmbeddedChannel:
    """See `inorder.producing.channel.Channel`. A topic that is not there is created."""

    one_at_a_time = False
    delivery_timeout_s = DELIVERY_TIMEOUT_S

    def __init__(self, path: Path, topic: str, partitions: int | None = None) -> None:
        self.where = f"embedded broker {path}, topic {topic}"
        self._topic = topic
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._handed: list[Outgoing] = []
        self._done: list[Report] = []
        self._broker = EmbeddedBroker(path)
        try:
            if topic not in self._broker.topics():
                self._broker.create_topic(topic, partitions or PARTITIONS)
            elif partitions is not None:
                self._broker.grow(topic, partitions)
        except BaseException:
            self._broker.close()
            raise

    @classmethod
    def from_url(cls, url: str) -> EmbeddedChannel:
        """`embedded://path.db/TOPIC?partitions=…`."""
        path, topic, options = parse(url, known=("partitions",))
        return cls(path, topic, count(options, "partitions"))

    def hand_over(self, record: Outgoing) -> Problem | None:
        """Take a record, after all that was handed over before."""
        with self._lock:
            self._handed.append(record)
        self._arrived.set()
        return None

    def wait(self, timeout_s: float) -> None:
        """Append what was handed over. What cannot be appended now is tried again."""
        if not self._arrived.wait(timeout_s):
            return
        with self._lock:
            batch = self._handed[:MOST_AT_ONCE]
        try:
            places = self._broker.append_many(self._topic, [Message(r.key, r.value, r.headers) for r in batch])
        except Unreachable as error:
            _log.warning("%s; tried again", error)
            self._arrived.clear()
            threading.Event().wait(timeout_s)
            self._arrived.set()
            return
        except UsageError as error:
            self._done.append(Report(None, Problem(Fault.REFUSED, "REFUSED", str(error))))
            return
        self._done += [Report(record, Place(*place)) for record, place in zip(batch, places, strict=True)]
        with self._lock:
            del self._handed[: len(batch)]
            if not self._handed:
                self._arrived.clear()

    def reports(self) -> Sequence[Report]:
        """What was appended since the last call."""
        done, self._done = self._done, []
        return done

    def prove(self, record: Outgoing) -> Place | Problem | None:
        """Never asked for: an append takes all of its records, or none."""
        return None

    def reset(self) -> None:
        """Forget what was handed over and not appended."""
        with self._lock:
            self._handed = []
            self._done = []
            self._arrived.clear()

    def close(self) -> None:
        """Close the file."""
        self._broker.close()
