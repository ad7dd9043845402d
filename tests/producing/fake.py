"""A broker that fails as it is told to, for what no real one does on request."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from inorder.producing.channel import Fault, Outgoing, Place, Problem, Report

TOO_LARGE = Problem(Fault.SUSPECT, "MSG_SIZE_TOO_LARGE", "too large")
DESYNCHRONIZED = Problem(Fault.BROKEN, "OUT_OF_ORDER_SEQUENCE_NUMBER", "fatal: desynchronized")
NO_RIGHTS = Problem(Fault.REFUSED, "TOPIC_AUTHORIZATION_FAILED", "no right to write")

Row = tuple[bytes, bytes, tuple[tuple[str, bytes], ...]]


class FakeChannel:
    """Keeps records in a log. A value in `refused` is not taken; `silent` answers nothing; `broken` fails once each."""

    where = "a fake broker"
    delivery_timeout_s = 60.0
    one_at_a_time = False

    def __init__(self) -> None:
        self.log: list[Row] = []
        self.refused: set[bytes] = set()
        self.silent = False
        self.broken: list[Problem] = []
        self.resets = 0
        self.closed = False
        self._handed: deque[Outgoing] = deque()
        self._arrived = threading.Event()
        self._reports: list[Report] = []

    def hand_over(self, record: Outgoing) -> Problem | None:
        self._handed.append(record)
        self._arrived.set()
        return None

    def wait(self, timeout_s: float) -> None:
        if not self._arrived.wait(timeout_s) or self.silent:
            time.sleep(0.001)
            return
        if self.broken:
            self._reports.append(Report(None, self.broken.pop(0)))
            return
        self._arrived.clear()
        while self._handed:
            record = self._handed.popleft()
            if record.value in self.refused:
                # As Kafka does: what came with it fails too, and what comes after it is not looked at.
                self._reports += [Report(record, TOO_LARGE)]
                self._reports += [Report(self._handed.popleft(), TOO_LARGE)] if self._handed else []
                break
            self._keep(record)
            self._reports.append(Report(record, Place(0, len(self.log) - 1)))

    def _keep(self, record: Outgoing) -> None:
        self.log.append((record.key, record.value, record.headers))

    def reports(self) -> Sequence[Report]:
        found, self._reports = self._reports, []
        return found

    def prove(self, record: Outgoing) -> Place | Problem | None:
        if record.value in self.refused:
            return TOO_LARGE._replace(fault=Fault.RECORD)
        self._keep(record)
        return Place(0, len(self.log) - 1)

    def reset(self) -> None:
        self.resets += 1
        self._handed.clear()
        self._reports.clear()

    def close(self) -> None:
        self.closed = True

    def values(self, key: bytes) -> list[bytes]:
        """What the log has of a key, in its order."""
        return [value for at, value, _ in self.log if at == key]
