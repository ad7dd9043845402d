"""Puts a script's batches on an embedded broker, at a steady pace, and notes where each delivery went."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from inorder.lab.disorder import Class, Script
from inorder.lab.watching import NUMBER
from inorder.sources.embedded_broker import EmbeddedBroker, Message

TOPIC = "entries"


class Delivery(msgspec.Struct, frozen=True):
    """One append. `number` counts them; `event` is the event's number in the stream as it happened."""

    number: int
    event: int
    why: Class | None
    partition: int
    offset: int


class Producer:
    """Sends a script from a thread of its own, so many events a second; the topic grows to `grown` partitions.

    Never reads anything back.
    """

    def __init__(
        self,
        path: Path,
        script: Script,
        records: Sequence[tuple[bytes, bytes]],
        grown: int,
        per_s: float,
        tell: Callable[[str], None],
    ) -> None:
        self.deliveries: list[Delivery] = []
        self.error: BaseException | None = None
        self._path = path
        self._script = script
        self._records = records
        self._grown = grown
        self._per_s = per_s
        self._tell = tell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether everything is sent. Raises what went wrong, if anything did."""
        if self.error is not None:
            raise self.error
        return len(self.deliveries) == len(self._script)

    def close(self) -> None:
        """Send nothing more."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            broker = EmbeddedBroker(self._path)
            try:
                self._send(broker)
            finally:
                broker.close()
        except BaseException as error:
            self.error = error

    def _send(self, broker: EmbeddedBroker) -> None:
        began = time.monotonic()
        for place, batch in enumerate(self._script.batches):
            if place == self._script.grow_at:
                broker.grow(TOPIC, self._grown)
                self._tell(f"the topic grows to {self._grown} partitions")
            sent = len(self.deliveries)
            if self._stop.wait(max(0.0, began + sent / self._per_s - time.monotonic())):
                return
            messages = [
                Message(*self._records[one.event], headers=((NUMBER, str(number).encode()),))
                for number, one in enumerate(batch, sent)
            ]
            places = broker.append_many(TOPIC, messages)
            self.deliveries += [
                Delivery(number, one.event, one.why, *where)
                for number, (one, where) in enumerate(zip(batch, places, strict=True), sent)
            ]
