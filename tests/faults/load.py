"""Entries of a few accounts, sent without end by inorder's producer, some of them twice; and what was acknowledged."""

from __future__ import annotations

import random
import threading
import time
from collections import deque

import inorder
from inorder.producing.delivery import Delivery
from tests.e2e.accounts import Entry

TWICE = 0.1


class Load:
    """`with Load(url, accounts=12, per_s=100, seed=1) as load:` sends in a thread of its own."""

    def __init__(self, url: str, accounts: int, per_s: float, seed: int) -> None:
        self.accounts = [f"account-{number}" for number in range(accounts)]
        self.acknowledged = dict.fromkeys(self.accounts, 0)
        """The last version of each account that the brokers keep."""
        self.sent = dict.fromkeys(self.accounts, 0)
        self._rng = random.Random(seed)
        self._pause_s = 1 / per_s
        self._under_way: deque[Delivery] = deque()
        self._producer = inorder.Producer(url)
        self._going = threading.Event()
        self._going.set()
        self._rests = threading.Event()
        self._ended = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._ended:
                if not self._going.is_set():
                    self._rests.set()
                    self._going.wait()
                    continue
                self._send(self._rng.choice(self.accounts))
                time.sleep(self._pause_s)
        except BaseException as error:
            self.error = error
        self._rests.set()

    def _send(self, account: str) -> None:
        self.sent[account] = version = self.sent[account] + 1
        entry = Entry(account, version, f"{account}-{version}", self._rng.randint(-50, 100))
        self._under_way.append(self._producer.send(account, entry, version=version, id=entry.id))
        if self._rng.random() < TWICE:
            # Without a version, or the producer would refuse to send one twice.
            self._producer.send(account, entry, id=entry.id)
        while self._under_way and self._under_way[0].done:
            self._note(self._under_way.popleft())

    def _note(self, delivery: Delivery) -> None:
        assert delivery.version is not None
        account = delivery.key.decode()
        self.acknowledged[account] = max(self.acknowledged[account], delivery.version)

    def rest(self, timeout_s: float) -> None:
        """Send nothing more for now, and wait until all that was sent is acknowledged."""
        self._rests.clear()
        self._going.clear()
        assert self._rests.wait(timeout_s), "the producer waits for room"
        if self.error is not None:
            raise self.error
        self._producer.flush(timeout_s)
        while self._under_way:
            self._note(self._under_way.popleft())

    def go_on(self) -> None:
        self._going.set()

    def close(self) -> None:
        """Send no more, and give up what is not acknowledged."""
        self._ended = True
        self._going.set()
        self._thread.join(30)
        for account in self._producer.undelivered():
            self._producer.discard(account)
        self._producer.close(30)
