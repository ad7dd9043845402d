"""`inorder.Producer`: sends so that the broker keeps the order of each key, whatever fails on the way.

What it never does: let a later record of a key overtake an earlier one, change a record or its id when it is sent
again, or lose one without saying so.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import time
from types import TracebackType
from typing import Any, Self

from inorder.errors import Undelivered
from inorder.producing.channel import Channel, Problem
from inorder.producing.delivery import Delivery, More, headers_of, key_bytes, value_bytes
from inorder.producing.sender import Sender
from inorder.wiring import open_channel

ROOM_CHECK_S = 0.01

_log = logging.getLogger("inorder.producer")


class Producer:
    """Sends the records of many keys, in the order of each key. Any thread may use it.

    `url` names a broker and topic as `inorder run --from` does: `kafka://host:port/TOPIC`, `sqs://QUEUE.fifo` or
    `embedded://path.db/TOPIC`. Other query keys of a Kafka URL are librdkafka's options; those that would let records
    out of order are refused, unless it has `allow_unsafe=true`.

    When a record is not delivered, its key stops: what is sent for it later waits behind, and other keys flow on.
    `undelivered` shows what is stopped and why. `resend` lets a key go on with the same record, under the same id;
    `discard` gives up what waits.

    Raises `UsageError` for a URL that cannot be used, `Unreachable` when the broker does not answer.
    """

    def __init__(self, url: str) -> None:
        self._channel: Channel = open_channel(url)
        self._sender = Sender(self._channel)
        atexit.register(self._warn_at_exit)

    def send(
        self,
        key: str | bytes | int,
        value: Any,
        *,
        version: int | None = None,
        id: str | None = None,
        headers: More = None,
    ) -> Delivery:
        """Send one record, after all that was sent for its key before. Waits only when there is no room for it.

        `value` is bytes, or anything that msgspec encodes as JSON. `version` and `id` travel as the headers
        `inorder-version` and `inorder-id` too. Call `result()` on what is returned, `await` it, or `flush`.
        """
        delivery = self._add(key, value, version, id, headers)
        if not self._sender.has_room:
            with self._sender.changed:
                self._sender.changed.wait_for(lambda: self._sender.has_room)
        return delivery

    async def send_async(
        self,
        key: str | bytes | int,
        value: Any,
        *,
        version: int | None = None,
        id: str | None = None,
        headers: More = None,
    ) -> Delivery:
        """As `send`, without holding up the event loop when there is no room. Its place in the order is taken at once.

        To wait for the delivery too, await what this returns.
        """
        delivery = self._add(key, value, version, id, headers)
        while not self._sender.has_room:
            await asyncio.sleep(ROOM_CHECK_S)
        return delivery

    def _add(self, key: str | bytes | int, value: Any, version: int | None, id: str | None, headers: More) -> Delivery:
        delivery = Delivery(
            self._sender, key_bytes(key), value_bytes(value), version, id, headers_of(version, id, headers)
        )
        self._sender.add(delivery)
        return delivery

    def undelivered(self) -> dict[str, tuple[Problem, list[Delivery]]]:
        """The keys that are stopped: why, and their records that are not acknowledged, oldest first."""
        with self._sender.changed:
            found = list(self._sender.outbound.stuck())
        return {records[0].key.decode(errors="backslashreplace"): (problem, records) for problem, records in found}

    def resend(self, key: str | bytes | int | None = None) -> int:
        """Let a stopped key, or all of them, go on: the same records, in their order. Returns how many keys do."""
        return self._sender.resume(None if key is None else [key_bytes(key)])

    def discard(self, key: str | bytes | int) -> list[Delivery]:
        """Give up what waits for a stopped key; returns it. Consumers that need these versions will wait for them.

        The broker may keep the first of them nevertheless, where the problem was a timeout.
        """
        with self._sender.changed:
            return self._sender.outbound.discard(key_bytes(key))

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until the broker keeps all that was sent. Raises `Undelivered` with the records that it does not keep.

        These are the records of stopped keys, and, after `timeout_s`, those that are still under way.
        """
        with self._sender.changed:
            self._sender.changed.wait_for(self._at_rest, timeout_s)
            self._check_left()

    async def flush_async(self, timeout_s: float | None = None) -> None:
        """As `flush`, without holding up the event loop."""
        # Not in a thread, which would go on waiting after a cancellation, and the program's end for it.
        until = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while True:
            with self._sender.changed:
                if self._at_rest() or time.monotonic() >= until:
                    self._check_left()
                    return
            await asyncio.sleep(ROOM_CHECK_S)

    def _at_rest(self) -> bool:
        return self._sender.outbound.active == 0 or self._sender.closed

    def _check_left(self) -> None:
        if left := self._sender.outbound.left():
            raise self._sender.undelivered(f"not delivered to {self._channel.where}", left)

    def close(self, timeout_s: float | None = None) -> None:
        """Flush, and release what is open. Raises `Undelivered` with the records that the broker does not keep."""
        if self._sender.closed:
            return
        try:
            self.flush(timeout_s)
        finally:
            self._sender.close()
            atexit.unregister(self._warn_at_exit)

    async def close_async(self, timeout_s: float | None = None) -> None:
        """As `close`, without holding up the event loop."""
        await asyncio.to_thread(self.close, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Undelivered as undelivered:
            if error is None:
                raise
            # The block's own error is the one that is raised.
            _log.error("%s", undelivered)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def _warn_at_exit(self) -> None:
        with self._sender.changed:
            if left := self._sender.outbound.left():
                _log.error("the program ends without close(): %s", self._sender.undelivered("not delivered", left))
