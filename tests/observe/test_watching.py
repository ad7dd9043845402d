"""The numbers of one worker, asked for by several at once: a page, a probe and an exporter."""

from __future__ import annotations

import threading

from inorder.core.event import Partition
from inorder.core.order import Order
from inorder.observe import metrics
from inorder.observe.meter import Meter, Snapshot
from inorder.observe.metrics import Metric
from inorder.observe.watching import Watching

MEANWHILE_S = 0.3
"""How long one thread gives another that may have to wait for it."""


class Slow(Meter):
    """Lets a second thread ask just when the first is about to be answered, and go on when it has been."""

    def __init__(self, ask: threading.Thread) -> None:
        super().__init__()
        self._ask = ask
        self.begun, self.answered = threading.Event(), threading.Event()

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        if threading.current_thread() is self._ask:
            self.begun.set()
            self.answered.wait(MEANWHILE_S)
        elif metric is metrics.PAUSED and self._ask.ident is None:
            self._ask.start()
            self.begun.wait(MEANWHILE_S)
        super().set(metric, value, *labels)


def ages(snapshot: Snapshot) -> int:
    return sum(one.name == metrics.OLDEST_UNSETTLED_S.name for one in snapshot.numbers)


def test_who_asks_while_another_is_answered_takes_no_series_from_it() -> None:
    watching = Watching(Order.STRICT)
    watching.owned([Partition("t", 0), Partition("t", 1)], came=2)
    found: list[Snapshot] = []
    other = threading.Thread(target=lambda: found.append(watching.snapshot()))
    watching._meter = meter = Slow(other)
    found.append(watching.snapshot())
    meter.answered.set()
    other.join()
    assert [ages(one) for one in found] == [2, 2]
