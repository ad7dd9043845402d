"""A producer with several batches on the way at once, over a connection that loses some of them, or their answers.

With sequence numbers, the broker takes a batch only if it is the next one of its producer: Kafka's own rule
(enable.idempotence). Without, it takes what comes. Pure: the same seed loses the same.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from typing import TypeVar

IN_FLIGHT = 5
"""Batches on the way at once. What is lost is sent again behind them."""

Batch = TypeVar("Batch")


def send(
    batches: Sequence[Batch], seed: str, sequenced: bool, lost: float = 0.0, unanswered: float = 0.0
) -> list[Batch]:
    """What the broker's log has in the end. This share of the batches is lost at first, or its first answer is."""
    chance = random.Random(seed)
    count = len(batches)
    dropped = set(chance.sample(range(count), round(lost * count)))
    silent = set(chance.sample(range(count), round(unanswered * count)))
    under_way: list[tuple[float, int]] = [(float(number), number) for number in range(len(batches))]
    heapq.heapify(under_way)
    log: list[Batch] = []
    expected = 0
    while under_way:
        at, number = heapq.heappop(under_way)
        again = at + IN_FLIGHT + 0.5, number
        if number in dropped:
            dropped.remove(number)
            heapq.heappush(under_way, again)
        elif sequenced and number > expected:
            heapq.heappush(under_way, again)
        else:
            if not sequenced or number == expected:
                log.append(batches[number])
                expected += 1
            if number in silent:
                silent.remove(number)
                heapq.heappush(under_way, again)
    return log
