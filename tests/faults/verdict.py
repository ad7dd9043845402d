"""What became of every entry that was acknowledged: four counts, which must all be 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

Histories = Mapping[str, Sequence[int]]
"""The versions of each account, in the order they took effect."""


class Verdict(NamedTuple):
    """Over all accounts. A duplicate effect is no disorder, and a lost entry makes none."""

    lost: int = 0
    double: int = 0
    out_of_order: int = 0
    stuck: int = 0

    def __str__(self) -> str:
        return f"lost {self.lost}, double {self.double}, out of order {self.out_of_order}, stuck {self.stuck}"

    def __add__(self, other: object) -> Verdict:
        assert isinstance(other, Verdict)
        return Verdict(*(one + another for one, another in zip(self, other, strict=True)))


def judge(histories: Histories, acknowledged: Mapping[str, int], stuck: int, at_least_once: bool) -> Verdict:
    """`stuck`: what had not come to rest in time. `at_least_once`: effects may be repeated, as without `tx`."""
    lost = double = out_of_order = 0
    for account, last in acknowledged.items():
        history = histories.get(account, ())
        times = Counter(history)
        lost += sum(version not in times for version in range(1, last + 1))
        double += 0 if at_least_once else sum(count - 1 for count in times.values())
        out_of_order += sum(later < earlier for earlier, later in pairwise(dict.fromkeys(history)))
    return Verdict(lost, double, out_of_order, stuck)
