"""What goes on behind a producer: hands records to the channel, takes its reports, and recovers from failures.

One thread waits for reports; whoever sends hands over at once. All that is decided is decided under one lock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence

from inorder.errors import Undelivered, UsageError
from inorder.producing.channel import Channel, Fault, Place, Problem, Report
from inorder.producing.delivery import Delivery, Waiter, wake
from inorder.producing.outbound import Outbound

MOST_RECORDS = 100_000
"""Records of keys that flow and are not acknowledged. At the limit, `send` waits for room."""
MOST_BYTES = 64 * 1_048_576
"""The same in bytes."""
MOST_RESETS = 5
"""How often in a row the connection is made anew, with nothing delivered in between, before every key is stopped."""
TICK_S = 0.1
"""How often the thread looks around when nothing happens."""
CHECK_S = 0.25
"""How often it looks for records that have waited for too long."""
LONGEST_PAUSE_S = 2.0
"""Between two connections made anew."""
SHOWN = 5
"""Records that a message names."""

_log = logging.getLogger("inorder.producer")


class Sender:
    """The records of one producer, from `add` to their acknowledgement."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.outbound: Outbound[Delivery] = Outbound(channel.one_at_a_time)
        self.changed = threading.Condition()
        self.closed = False
        self._waiters: dict[int, list[Waiter]] = {}
        self._resets = 0
        self._recovering = False
        self._broken: Problem | None = None
        self._check_at = 0.0
        self._thread = threading.Thread(target=self._work, name="inorder-producer", daemon=True)
        self._thread.start()

    @property
    def has_room(self) -> bool:
        """Whether more may be sent."""
        out = self.outbound
        return self.closed or (out.active <= MOST_RECORDS and out.active_bytes <= MOST_BYTES)

    def add(self, delivery: Delivery) -> None:
        """Take a record, and hand it over unless its key is stopped or others come first."""
        delivery.since = time.monotonic()
        with self.changed:
            if self.closed:
                raise UsageError("the producer is closed")
            if self.outbound.full_behind(delivery.key):
                raise self.undelivered("no more records may wait behind a stopped one", [delivery])
            self.outbound.add(delivery)
            self._hand_over()

    def resume(self, keys: Sequence[bytes] | None) -> int:
        """Let stopped keys (all, by default) flow again. Returns how many do."""
        with self.changed:
            if keys is None:
                keys = [records[0].key for _, records in self.outbound.stuck()]
            self._resets = 0
            count = sum([self.outbound.resume(key, time.monotonic()) for key in keys])
            self._hand_over()
            return count

    def close(self) -> None:
        """End the thread, and give up what is not acknowledged."""
        with self.changed:
            self.closed = True
            wake([waiter for waiters in self._waiters.values() for waiter in waiters])
            self._waiters.clear()
            self.changed.notify_all()
        self._thread.join()
        self._channel.close()

    def _hand_over(self) -> None:
        while not self._recovering and (record := self.outbound.take()) is not None:
            problem = self._channel.hand_over(record)
            if problem is None:
                continue
            if problem.fault is Fault.RECORD:
                self._refuse(record, problem)
            else:
                # What was taken is not lost: the reset makes it ready again.
                self._broke(problem)

    # for deliveries

    def await_fate(self, delivery: Delivery, timeout_s: float | None) -> Place:
        """Wait for the outcome of one record."""
        with self.changed:
            self.changed.wait_for(lambda: self._decided(delivery), timeout_s)
        return self.fate(delivery)

    def fate(self, delivery: Delivery) -> Place:
        """Where the record is. Raises `Undelivered` if the broker does not keep it, as far as is known."""
        if delivery.place is None:
            with self.changed:
                raise self.undelivered("not delivered", [delivery])
        return delivery.place

    def problem_of(self, delivery: Delivery) -> Problem | None:
        """Why the key of this record is stopped."""
        with self.changed:
            return None if delivery.place is not None else self.outbound.problem(delivery.key)

    def watch(self, delivery: Delivery, waiter: Waiter) -> bool:
        """Let the waiter know when the outcome is there. False: it is there already."""
        with self.changed:
            if self._decided(delivery):
                return False
            self._waiters.setdefault(delivery.number, []).append(waiter)
            return True

    def undelivered(self, what: str, records: Sequence[Delivery]) -> Undelivered:
        """The error that names these. Under the lock."""
        shown = [f"{record!r} ({self._why(record)})" for record in records[:SHOWN]]
        more = f" and {len(records) - SHOWN} more" if len(records) > SHOWN else ""
        return Undelivered(f"{what}: {', '.join(shown)}{more}", records)

    def _why(self, record: Delivery) -> str:
        problem = self.outbound.problem(record.key)
        if problem is not None:
            return str(problem)
        if self.closed:
            return "the producer is closed"
        return "it was discarded" if self.outbound.gone(record) else "no acknowledgement yet"

    def _decided(self, delivery: Delivery) -> bool:
        out = self.outbound
        return delivery.place is not None or self.closed or out.gone(delivery) or out.problem(delivery.key) is not None

    def _tell(self, records: Iterable[Delivery]) -> None:
        """Wake who waits for one of these, and who waits for room or for everything."""
        if self._waiters:
            decided = [self._waiters.pop(record.number) for record in records if record.number in self._waiters]
            wake([waiter for waiters in decided for waiter in waiters])
        self.changed.notify_all()

    # the thread

    def _work(self) -> None:
        while not self.closed:
            try:
                self._turn()
            except Exception:
                _log.exception("%s: unexpected; what is under way is sent again", self._channel.where)
                self._recovering = True
                time.sleep(TICK_S)

    def _turn(self) -> None:
        self._channel.wait(TICK_S)
        suspects: list[Delivery] = []
        with self.changed:
            self._note(self._channel.reports(), suspects)
            self._check_time()
            self._hand_over()
        if self._recovering:
            self._recover(suspects)

    def _note(self, reports: Iterable[Report], suspects: list[Delivery]) -> None:
        delivered: list[Delivery] = []
        for record, result in reports:
            if isinstance(result, Place):
                if isinstance(record, Delivery):
                    record.place = result
                    self.outbound.delivered(record)
                    delivered.append(record)
            elif result.fault is Fault.REFUSED:
                self._stop(self.outbound.flowing(), result)
            elif not isinstance(record, Delivery):
                self._broke(result)
            elif result.fault is Fault.RECORD:
                self._refuse(record, result)
            else:
                self._recovering = True
                suspects.append(record)
        if delivered:
            self._resets = 0
            self._tell(delivered)

    def _check_time(self) -> None:
        now = time.monotonic()
        if now >= self._check_at:
            self._check_at = now + CHECK_S
            limit_s = self._channel.delivery_timeout_s
            problem = Problem(Fault.TIMEOUT, "DELIVERY_TIMEOUT", f"no acknowledgement within {limit_s:g} s")
            self._stop(self.outbound.expired(now - limit_s), problem)

    # failures

    def _broke(self, problem: Problem) -> None:
        self._recovering = True
        self._broken = problem
        _log.warning("%s: %s; what is under way is sent again", self._channel.where, problem)

    def _refuse(self, record: Delivery, problem: Problem) -> None:
        """This record alone is not taken: nothing else that is under way is touched."""
        _log.error("%s: %r stops its key: %s", self._channel.where, record, problem)
        self.outbound.refused(record, problem)
        self._tell(self.outbound.of([record.key]))

    def _stop(self, keys: Sequence[bytes], problem: Problem) -> None:
        if keys:
            shown = ", ".join(key.decode(errors="replace") for key in keys[:SHOWN])
            _log.error("%s: stopped %d keys (%s): %s", self._channel.where, len(keys), shown, problem)
            self._recovering = True
            self.outbound.stop(keys, problem)
            self._tell(self.outbound.of(keys))

    def _recover(self, suspects: Sequence[Delivery]) -> None:
        """Start the channel anew, try the suspects one by one, and let the rest follow in its order."""
        with self.changed:
            self._channel.reset()
            self.outbound.reset()
            self._resets += 1
            careful = self.outbound.up_to(suspects)
        # As soon as the fate of one is not known, the rest follows: what is a suspect will become one again.
        certain = all(self._prove(record) for record in careful)
        with self.changed:
            if self._resets > MOST_RESETS:
                why = f"; last: {self._broken}" if self._broken else ""
                what = f"the connection was made anew {MOST_RESETS} times, and nothing was delivered{why}"
                self._stop(self.outbound.flowing(), Problem(Fault.BROKEN, "NO_PROGRESS", what))
                self._resets = 0
            self.outbound.reset()
            self._recovering = False
            self._hand_over()
        if not certain or self._resets > 1:
            time.sleep(min(LONGEST_PAUSE_S, TICK_S * 2**self._resets))

    def _prove(self, record: Delivery) -> bool:
        """Send one record by itself. Whether its fate is known; the key of one that is not taken is stopped."""
        if self.closed or self.outbound.problem(record.key) is not None:
            return True
        result = self._channel.prove(record)
        if result is None:
            return False
        with self.changed:
            if isinstance(result, Place):
                self._resets = 0
                record.place = result
                self.outbound.delivered(record)
                self._tell([record])
            else:
                self._stop([record.key], result)
        return True
