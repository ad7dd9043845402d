"""The counts say what is wrong, and only that: each fault is planted once."""

from __future__ import annotations

import pytest

from tests.faults.verdict import Verdict, judge

ACKNOWLEDGED = {"a": 4, "b": 2}
RIGHT = {"a": [1, 2, 3, 4], "b": [1, 2]}


@pytest.mark.parametrize(
    ("wrong", "verdict"),
    [
        ({}, Verdict()),
        ({"a": [1, 2, 3, 4, 5]}, Verdict()),  # kept, though the producer was never told
        ({"a": [1, 2, 4]}, Verdict(lost=1)),
        ({"b": []}, Verdict(lost=2)),
        ({"a": [1, 2, 3, 3, 4, 4, 4]}, Verdict(double=3)),
        ({"a": [1, 3, 2, 4]}, Verdict(out_of_order=1)),
        ({"a": [1, 2, 1, 2, 3, 4]}, Verdict(double=2)),
    ],
)
def test_each_wrong_is_counted_as_itself(wrong: dict[str, list[int]], verdict: Verdict) -> None:
    assert judge({**RIGHT, **wrong}, ACKNOWLEDGED, 0, at_least_once=False) == verdict
    assert judge({**RIGHT, **wrong}, ACKNOWLEDGED, 0, at_least_once=True) == verdict._replace(double=0)


def test_verdicts_add_up_and_are_one_line() -> None:
    total = Verdict(1, 2, 3, 0) + judge(RIGHT, ACKNOWLEDGED, 4, at_least_once=True)
    assert str(total) == "lost 1, double 2, out of order 3, stuck 4"
