"""SQS FIFO for `inorder.Producer`: batches of ten, several at once, one record of a key at a time.

SQS takes an entry of a batch although the one before it failed. So a batch has one record of a key, and the next one
follows when that is acknowledged. A request whose answer was lost is repeated under the same deduplication ids, which
SQS remembers for longer than a record is given to be delivered.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence

from botocore.exceptions import BotoCoreError, ClientError

from inorder.producing.channel import Fault, Outgoing, Place, Problem, Report
from inorder.producing.sqs_entry import MOST_BYTES, Entry, entry_of, same_content, size_of
from inorder.sources import sqs_contact as contact
from inorder.sources import sqs_url
from inorder.sources.sqs_record import sequence
from inorder.sources.sqs_url import MOST_IN_BATCH, Location

SENDERS = 8
"""Requests under way at once."""
DELIVERY_TIMEOUT_S = 120.0
"""How long a record may be without an acknowledgement. Well below the five minutes of deduplication."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
"""Bounds of the pause after a request that failed."""

_log = logging.getLogger("inorder.producer")


class Ready:
    """A record with its entry, which never changes when it is sent again."""

    __slots__ = ("entry", "record", "size")

    def __init__(self, record: Outgoing, by_content: bool) -> None:
        self.record = record
        self.entry: Entry = entry_of(record.key, record.value, record.headers)
        if by_content:
            self.entry["MessageDeduplicationId"] = same_content(record.key, record.value)
        self.size = size_of(self.entry)


class SqsChannel:
    """See `inorder.producing.channel.Channel`. With `by_content`, records with the same key and value are the same."""

    one_at_a_time = True
    delivery_timeout_s = DELIVERY_TIMEOUT_S

    def __init__(self, location: Location, by_content: bool = False) -> None:
        self.where = location.where
        self._by_content = by_content
        self._location = location
        self._client = contact.connect(location, SENDERS)
        self._url = contact.find(self._client, location).url
        self._changed = threading.Condition()
        self._waiting: deque[Ready] = deque()
        self._reports: list[Report] = []
        self._term = 0
        """Raised by a reset: what was under way before is nobody's business any more."""
        self._closed = False
        self._threads: list[threading.Thread] = []

    @classmethod
    def from_url(cls, url: str) -> SqsChannel:
        """`sqs://QUEUE.fifo?region=…`."""
        return cls(sqs_url.parse(url))

    def hand_over(self, record: Outgoing) -> Problem | None:
        """Take a record. A problem means that SQS would not take it."""
        try:
            ready = Ready(record, self._by_content)
        except ValueError as error:
            return Problem(Fault.RECORD, "INVALID", str(error))
        with self._changed:
            self._waiting.append(ready)
            busy = len(self._waiting) > MOST_IN_BATCH * len(self._threads)
            if not self._threads or (busy and len(self._threads) < SENDERS):
                self._threads.append(threading.Thread(target=self._send_always, name="inorder-sqs-send", daemon=True))
                self._threads[-1].start()
            self._changed.notify_all()
        return None

    def wait(self, timeout_s: float) -> None:
        """Wait until there is something to report, or the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._reports, timeout_s)

    def reports(self) -> Sequence[Report]:
        """What became of records since the last call."""
        with self._changed:
            found, self._reports = self._reports, []
        return found

    def prove(self, record: Outgoing) -> Place | Problem | None:
        """Never asked for: of a batch, SQS says of each entry what became of it."""
        return None

    def reset(self) -> None:
        """Forget what was handed over and not reported."""
        with self._changed:
            self._term += 1
            self._waiting.clear()
            self._reports = []

    def close(self) -> None:
        """Release the connections."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(contact.CONNECT_S)
        self._client.close()

    # the threads

    def _send_always(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                batch, term = self._take(), self._term
            again = self._send(batch, term)
            with self._changed:
                if again and term == self._term:
                    self._waiting.extendleft(reversed(again))
                self._changed.notify_all()
                if again:
                    self._changed.wait_for(lambda: self._closed, pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S) if again else FIRST_PAUSE_S

    def _take(self) -> list[Ready]:
        """What fits into one request; of a key there is never more than one record here."""
        batch = [self._waiting.popleft()]
        size = batch[0].size
        while self._waiting and len(batch) < MOST_IN_BATCH and size + self._waiting[0].size <= MOST_BYTES:
            size += self._waiting[0].size
            batch.append(self._waiting.popleft())
        return batch

    def _send(self, batch: list[Ready], term: int) -> list[Ready]:
        """Make one request, and report. Returns what is to be sent again, the same bytes under the same ids."""
        entries = [{"Id": str(at), **ready.entry} for at, ready in enumerate(batch)]
        again: list[Ready] = []
        reports: list[Report] = []
        try:
            answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[arg-type]
        except (BotoCoreError, ClientError) as error:
            why = contact.translated(error, self._location)
            if contact.is_final(error) or contact.is_refusal(error):
                reports.append(Report(None, Problem(Fault.REFUSED, "REFUSED", str(why))))
            else:
                _log.warning("%s; sent again", why)
                again = batch
        else:
            for done in answer.get("Successful", ()):
                place = Place(0, sequence(done.get("SequenceNumber", "")))
                reports.append(Report(batch[int(done["Id"])].record, place))
            for failed in answer.get("Failed", ()):
                ready = batch[int(failed["Id"])]
                if failed.get("SenderFault"):
                    problem = Problem(Fault.RECORD, failed["Code"], failed.get("Message", ""))
                    reports.append(Report(ready.record, problem))
                else:
                    again.append(ready)
        with self._changed:
            if term == self._term:
                self._reports += reports
        return again
