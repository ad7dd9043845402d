"""`inorder relay`: publishes what is committed in an outbox, each key in the order of its versions.

It may publish an event again after a crash, under the same id. It never skips one, and never publishes one that is not
committed.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Sequence

import msgspec

from inorder.errors import Mismatch, NotFound, Undelivered, Unreachable
from inorder.producing.delivery import Delivery
from inorder.producing.outbox import DEFAULT_NAME
from inorder.producing.outbox_tables import OutboxTables, Row
from inorder.producing.producer import Producer
from inorder.wiring import open_outbox

BATCH = 2_000
"""Events published before they are marked as such."""
LEASE_S = 10.0
"""How long a relay that is not heard of keeps its part of the keys. Then others publish them."""
POLL_S = 0.05
"""How long a relay that found nothing waits before it looks again."""
RETRY_S = 5.0
"""How long a key rests whose event was not taken; twice as long each time, up to a limit."""
LONGEST_RETRY_S = 300.0
EXPIRE_EVERY_S = 60.0
DAY_S = 86_400.0

_log = logging.getLogger("inorder.relay")


class RelayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a relay did: the closing document of `inorder relay --json`."""

    published: int
    unsent: int
    """Events that are committed and not published, now. -1: the database does not answer."""
    stopped: dict[str, str]
    """Keys that rest because the broker did not take an event of theirs, and why."""


class Rest:
    """A key that was not taken: why, and when it is tried again."""

    def __init__(self, why: str, times: int) -> None:
        self.why = why
        self.times = times
        self.until = time.monotonic() + min(LONGEST_RETRY_S, RETRY_S * 2 ** (times - 1))


class Relay:
    """Publishes one outbox to one topic. Several may run at once: they share the keys out between them.

    `keep_days` is how long published events stay in the table: 0 removes them at once.
    Raises `UsageError` for a wrong URL, `NotFound` for a SQLite file that is not there, `Unreachable` when the database
    or the broker does not answer at start; later on it waits for them.
    """

    def __init__(self, store: str, to: str, *, outbox: str = DEFAULT_NAME, keep_days: float = 0.0) -> None:
        self._tables: OutboxTables = open_outbox(store, outbox)
        if not self._tables.is_there():
            raise NotFound(
                f"outbox {self._tables.name}: there is no such file: "
                "name the one that events are added to, or let its program call prepare() first"
            )
        self._tables.make()
        if not self._tables.has_been_used():
            where = self._tables.name
            _log.warning(
                "outbox %s of %s has had no event yet: waits for the first, if it is the right one", outbox, where
            )
        self._producer = Producer(to)
        self._keep_s = keep_days * DAY_S
        self._name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._lanes: list[int] = []
        self._renew_at = 0.0
        self._leased_until = 0.0
        self._expire_at = 0.0
        self._resting: dict[str, Rest] = {}
        self._unmarked: list[int] = []
        self._stop = threading.Event()
        self.published = 0

    def stop(self) -> None:
        """Finish what is under way, and return from `run`. May be called from a signal handler."""
        self._stop.set()

    def run(self, until_idle_s: float | None = None) -> RelayReport:
        """Publish until stopped, or until there was nothing to publish for `until_idle_s`."""
        active_at = time.monotonic()
        try:
            while not self._stop.is_set():
                try:
                    busy = self._turn()
                except (Unreachable, Mismatch) as error:
                    _log.warning("%s; tried again", error)
                    self._renew_at = 0.0
                    self._stop.wait(1.0)
                    continue
                if busy:
                    active_at = time.monotonic()
                elif until_idle_s is not None and time.monotonic() - active_at > until_idle_s:
                    break
                else:
                    self._stop.wait(POLL_S)
            return self._report()
        finally:
            self._close()

    def _turn(self) -> bool:
        self._mark()
        self._renew(may_release=True)
        now = time.monotonic()
        if self._keep_s and now > self._expire_at:
            self._expire_at = now + EXPIRE_EVERY_S
            self._tables.expire(self._keep_s)
        resting = [key for key, rest in self._resting.items() if rest.until > now]
        rows = self._tables.unsent(self._lanes, resting, BATCH) if self._lanes else []
        if time.monotonic() > self._leased_until:
            return True  # it took so long that others may publish these by now
        if rows:
            self._publish(rows)
        return bool(rows)

    def _renew(self, may_release: bool) -> None:
        now = time.monotonic()
        if now >= self._renew_at:
            before = self._lanes
            self._lanes = self._tables.renew(self._name, LEASE_S, may_release)
            self._renew_at = now + LEASE_S / 3
            self._leased_until = now + LEASE_S
            if len(before) != len(self._lanes):
                _log.info("outbox %s: %d lanes of keys are ours", self._tables.outbox, len(self._lanes))

    def _publish(self, rows: Sequence[Row]) -> None:
        sent = [
            (row, self._producer.send(row.key, row.value, version=row.version, id=row.id, headers=dict(row.headers)))
            for row in rows
        ]
        give_up_at = float("inf")
        while not self._settled([delivery for _, delivery in sent]) and time.monotonic() < give_up_at:
            if self._stop.is_set():
                give_up_at = min(give_up_at, time.monotonic() + LEASE_S)
            try:
                self._renew(may_release=False)
            except (Unreachable, Mismatch) as error:
                _log.warning("%s; what is under way goes on", error)
        done = [row for row, delivery in sent if delivery.done]
        self.published += len(done)
        self._unmarked += [row.number for row in done]
        for key in {row.key for row in done}:
            self._resting.pop(key, None)
        for key, (problem, _) in self._producer.undelivered().items():
            # What waits is in the table; it comes back from there, the same bytes under the same id.
            self._producer.discard(key)
            earlier = self._resting.get(key)
            self._resting[key] = Rest(str(problem), earlier.times + 1 if earlier else 1)
        self._mark()

    def _mark(self) -> None:
        if self._unmarked:
            self._tables.sent(self._unmarked, keep=self._keep_s > 0)
            self._unmarked = []

    def _settled(self, deliveries: Sequence[Delivery]) -> bool:
        """Wait for a part of the lease; whether each of these is delivered or its key is stopped."""
        try:
            self._producer.flush(LEASE_S / 4)
        except Undelivered:
            return all(delivery.done or delivery.problem is not None for delivery in deliveries)
        return True

    def _report(self) -> RelayReport:
        stopped = {key: rest.why for key, rest in sorted(self._resting.items())}
        try:
            unsent = self._tables.unsent_count()
        except Unreachable:
            unsent = -1
        return RelayReport(published=self.published, unsent=unsent, stopped=stopped)

    def _close(self) -> None:
        try:
            self._producer.close(LEASE_S)
        except Undelivered as error:
            _log.warning("%s; it is still in the outbox", error)
        try:
            self._tables.leave(self._name)
        except Unreachable as error:
            _log.warning("%s; its keys are free in %g s", error, LEASE_S)
        finally:
            self._tables.close()
