"""Deletes what is settled: ten messages a request, several requests at once, again while SQS is to blame.

A message that cannot be deleted because it is somebody else's by now is counted, and comes again as a duplicate.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import BotoCoreError, ClientError

from inorder.sources import sqs_contact as contact
from inorder.sources.sqs_desk import Desk
from inorder.sources.sqs_leases import Message
from inorder.sources.sqs_url import MOST_IN_BATCH

MOST_TRIES = 6
PAUSE_S = 0.2
"""Before a request that failed is repeated; twice as long each time."""

_log = logging.getLogger("inorder.source")


class Deletions:
    """What is to be deleted, and the threads that do it. Any thread may use it."""

    def __init__(self, desk: Desk, threads: int, where: str) -> None:
        self._desk = desk
        self._where = where
        self._changed = threading.Condition()
        self._waiting: deque[Message] = deque()
        self._pool = ThreadPoolExecutor(threads, "inorder-sqs-delete")
        self._closing = False
        self.pending = 0
        """Messages that are neither deleted nor given up on."""
        self.lost = 0
        """Messages that were somebody else's."""

    def add(self, messages: Sequence[Message]) -> None:
        """Delete these, in this order as far as they share requests."""
        with self._changed:
            self._waiting += messages
            self.pending += len(messages)
        for _ in range(0, len(messages), MOST_IN_BATCH):
            self._pool.submit(self._delete_some)

    def close(self, until: float) -> None:
        """Wait for what is under way, until that time at most."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self.pending, until - time.monotonic())
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _delete_some(self) -> None:
        with self._changed:
            batch = [self._waiting.popleft() for _ in range(min(MOST_IN_BATCH, len(self._waiting)))]
        while batch:
            batch = self._try(batch)
            if batch:
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, PAUSE_S * 2 ** batch[0].tries)

    def _try(self, batch: list[Message]) -> list[Message]:
        """Make one request. Returns what is to be tried again."""
        lost: Iterable[str] = ()
        again: list[Message] = []
        try:
            refused = self._desk.delete(batch)
        except (BotoCoreError, ClientError) as error:
            why = contact.one_line(error)
            again = batch
        else:
            lost = refused.final.values()
            again = [message for message in batch if message.number in refused.again]
            why = next(iter(refused.again.values()), "")
        for message in again:
            message.tries += 1
        given_up = [message for message in again if message.tries >= MOST_TRIES]
        if again:
            _log.warning("%s: %d messages are not deleted: %s", self._where, len(again), why)
        for reason in lost:
            _log.info("%s: a message was somebody else's before it was deleted: %s", self._where, reason)
        again = [message for message in again if message.tries < MOST_TRIES]
        with self._changed:
            self.lost += len(list(lost)) + len(given_up)
            self.pending -= len(batch) - len(again)
            self._changed.notify_all()
        return again
