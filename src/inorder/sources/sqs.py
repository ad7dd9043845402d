"""SQS FIFO as a source: `sqs://QUEUE.fifo?region=…`. It has one partition, which all workers of the queue have at once.

Threads receive, delete and extend, so that none of these waits for another. What it gives out is ours by a lease, and
is extended until it is settled; then it is deleted, one by one, ten at a time. It never deletes what was not settled,
and never extends a lease that is over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from botocore.exceptions import BotoCoreError, ClientError

from inorder.core.event import Partition, Record, Slice
from inorder.errors import UsageError
from inorder.ports import Listener
from inorder.sources import sqs_contact as contact
from inorder.sources import sqs_url
from inorder.sources.sqs_deletions import Deletions
from inorder.sources.sqs_desk import Desk, new_attempt
from inorder.sources.sqs_leases import Leases, Message
from inorder.sources.sqs_record import Raw, offset_of, record_of, value_of
from inorder.sources.sqs_url import MOST_IN_BATCH, Location

RECEIVERS = 8
IN_FLIGHT = 1_000
"""Messages given out and not deleted, of one worker: each must be extended, and is kept from the other workers."""
WAIT_S = 5
"""How long a request waits for a first message. A worker that stops waits as long, so as not to leave any locked."""
UNASKED_S = 0.05
"""Between two requests that do not wait and found nothing."""
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
"""Bounds of the pause after a request that failed."""
ATTEMPT_S = 240.0
"""How long an attempt id is good for: SQS forgets it after five minutes."""
CLOSE_S = 20.0
"""Longest time for what is under way when the source is closed."""
EMPTY_TWICE = 2
"""How often in a row the queue must say that it is empty: its counts are approximate."""

_log = logging.getLogger("inorder.source")


class SqsSource:
    """One worker's share of a queue. See `inorder.ports.Queue`.

    Each method is called from one thread at a time; the listener is called from within `poll` and `close`.
    """

    def __init__(self, location: Location, clock: Callable[[], float] = time.monotonic) -> None:
        self._location = location
        self._clock = clock
        self._receivers = location.receivers or RECEIVERS
        self._most = location.in_flight or IN_FLIGHT
        self._client = contact.connect(location, 2 * self._receivers + 2)
        self._listener: Listener | None = None
        self._partition = Partition(location.queue, 0)
        self._changed = threading.Condition()
        self._ready: deque[Message] = deque()
        self._threads: list[threading.Thread] = []
        self._assigned = self._paused = self._stopping = self._closed = False
        self._failure: Exception | None = None
        self._asking = 0
        """Requests for messages under way."""
        self._busy = False
        """Whether the last answer had messages: then all receivers ask, else one."""
        self._empty = 0
        self._ended = threading.Event()

    @classmethod
    def from_url(cls, url: str, group: str | None = None) -> SqsSource:
        """The source that `url` names. A queue has no groups: what one consumer has deleted, no other is given."""
        return cls(sqs_url.parse(url))

    @property
    def lost(self) -> int:
        """Messages that were settled and could not be deleted, because they were somebody else's by then."""
        return self._deletions.lost

    def subscribe(self, listener: Listener) -> None:
        """Find the queue. Its partition is assigned during the first poll."""
        place = contact.find(self._client, self._location)
        visibility_s = self._location.visibility_s or int(place.attributes.get("VisibilityTimeout", "30"))
        if visibility_s < 1:
            raise UsageError(f"{self._location.where} has a visibility timeout of 0: add visibility_s= to the URL")
        wait_s = WAIT_S if self._location.wait_s is None else self._location.wait_s
        self._desk = Desk(self._client, place.url, visibility_s, wait_s)
        self._leases = Leases(visibility_s, self._clock)
        self._deletions = Deletions(self._desk, self._receivers, self._location.where)
        self._listener = listener

    def poll(self, most: int, timeout_s: float) -> list[Slice]:
        """Up to `most` messages, waiting at most `timeout_s` for the first."""
        if not self._assigned and self._listener is not None:
            self._assigned = True
            self._listener.assigned([self._partition])
            self._start()
        with self._changed:
            self._changed.wait_for(lambda: self._failure or (self._ready and not self._paused), timeout_s)
            if self._failure is not None:
                raise self._failure
            count = 0 if self._paused else min(most, len(self._ready))
            taken = [self._ready.popleft() for _ in range(count)]
        return [self._slice(message) for message in taken]

    def _slice(self, message: Message) -> Slice:
        raw = message.raw
        return Slice(
            self._partition, (raw,), (value_of(raw),), message.number, self._record, offset_of, lease=message.run
        )

    def _record(self, raw: Raw) -> Record:
        return record_of(raw, self._partition)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Never called: in a queue nothing is below anything."""

    def settle(self, deliveries: Sequence[int]) -> None:
        """Delete these, as soon as can be."""
        with self._changed:
            messages = [found for number in deliveries if (found := self._leases.take(number)) is not None]
            self._changed.notify_all()
        self._deletions.add(messages)

    def forget(self, deliveries: Sequence[int]) -> None:
        """Do not extend these any more."""
        with self._changed:
            for number in deliveries:
                self._leases.take(number)
            self._changed.notify_all()

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Give out nothing, and ask for nothing, until resumed."""
        with self._changed:
            self._paused = self._paused or self._partition in partitions

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Go on."""
        with self._changed:
            self._paused = self._paused and self._partition not in partitions
            self._changed.notify_all()

    def at_end(self) -> bool:
        """Whether everything is deleted, by us and by all others, as far as the queue knows."""
        with self._changed:
            if len(self._leases) or self._deletions.pending:
                self._empty = 0
                return False
        try:
            size = self._desk.size()
        except (BotoCoreError, ClientError) as error:
            _log.warning("%s", contact.translated(error, self._location))
            size = 1
        self._empty = 0 if size else self._empty + 1
        return self._empty >= EMPTY_TWICE

    def close(self) -> None:
        """Delete what is settled, give back the rest, and leave."""
        if self._closed:
            return
        self._closed = True
        if self._assigned and self._listener is not None:
            self._listener.revoked([self._partition])
        until = time.monotonic() + CLOSE_S
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            # What comes as the answer to a request under way must be given back too.
            self._changed.wait_for(lambda: not self._asking, CLOSE_S)
        if self._assigned:
            self._deletions.close(until)
            self._ended.set()
            self._threads[0].join(max(0.0, until - time.monotonic()))  # or it might extend what we give back
            with self._changed:
                rest = self._leases.rest()
            for batch in rest:
                self._give_back(batch)
            if self.lost:
                _log.warning("%s: %d messages were somebody else's before they were deleted", self._where, self.lost)
        self._client.close()

    def _give_back(self, batch: Sequence[Message]) -> None:
        try:
            self._desk.extend(batch, 0)
        except (BotoCoreError, ClientError) as error:
            _log.info(
                "%s; what it has of ours is free when its time is over", contact.translated(error, self._location)
            )

    @property
    def _where(self) -> str:
        return self._location.where

    # threads

    def _start(self) -> None:
        works = [(self._extend_always, ())] + [
            (self._receive_always, (number == 0,)) for number in range(self._receivers)
        ]
        self._threads = [
            threading.Thread(target=work, args=args, name="inorder-sqs", daemon=True) for work, args in works
        ]
        for thread in self._threads:
            thread.start()

    def _may_ask(self, first: bool) -> bool:
        room = len(self._leases) + MOST_IN_BATCH * (self._asking + 1) <= max(self._most, MOST_IN_BATCH)
        return room and not self._paused and (first or self._busy)

    def _receive_always(self, first: bool) -> None:
        attempt, begun_at, pause_s = new_attempt(), time.monotonic(), FIRST_PAUSE_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._failure or self._may_ask(first))
                if self._stopping or self._failure:
                    return
                self._asking += 1
            asked_at = self._clock()
            try:
                raws = self._desk.receive(attempt)
            except Exception as error:
                with self._changed:
                    self._asking -= 1
                    self._note_failure(error)
                    stopped = self._changed.wait_for(lambda: self._stopping or self._failure, pause_s)
                if stopped:
                    return
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                if not contact.is_lost(error) or time.monotonic() - begun_at > ATTEMPT_S:
                    attempt, begun_at = new_attempt(), time.monotonic()
                continue
            attempt, begun_at, pause_s = new_attempt(), time.monotonic(), FIRST_PAUSE_S
            with self._changed:
                self._asking -= 1
                self._ready += self._leases.given(raws, asked_at)
                self._busy = bool(raws)
                self._changed.notify_all()
                if not raws and self._desk.wait_s < 1:
                    self._changed.wait_for(lambda: self._stopping, UNASKED_S)

    def _note_failure(self, error: Exception) -> None:
        if not isinstance(error, BotoCoreError | ClientError):
            self._failure = error
        elif contact.is_final(error):
            self._failure = contact.translated(error, self._location)
        else:
            _log.warning("%s; tried again", contact.translated(error, self._location))
        self._changed.notify_all()

    def _extend_always(self) -> None:
        """Keep what was given out ours, until it is settled."""
        tick_s = min(1.0, self._desk.visibility_s / 10)
        while not self._ended.wait(tick_s):
            self.extend_now()

    def extend_now(self) -> None:
        """Extend what has used up half of its time."""
        with self._changed:
            batches = self._leases.to_extend()
        for batch in batches:
            asked_at = self._clock()
            try:
                refused = self._desk.extend(batch, self._desk.visibility_s)
            except (BotoCoreError, ClientError) as error:
                _log.warning("%s; tried again", contact.translated(error, self._location))
                continue
            with self._changed:
                lost = self._leases.extended(batch, refused, asked_at)
            if lost:
                _log.warning("%s: %d runs of messages are somebody else's by now", self._where, len(lost))
