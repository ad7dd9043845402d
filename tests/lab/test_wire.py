"""A producer whose batches get lost: what sequence numbers keep right, and what becomes of it without them."""

from __future__ import annotations

import pytest

from inorder.lab.wire import send

BATCHES = list(range(30))


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_with_sequence_numbers_the_log_has_everything_once_and_in_order(seed: str) -> None:
    assert send(BATCHES, seed, sequenced=True, lost=0.3, unanswered=0.3) == BATCHES


def test_without_them_what_was_lost_comes_behind_later_ones() -> None:
    log = send(BATCHES, "1", sequenced=False, lost=0.2)
    assert log != BATCHES
    assert sorted(log) == BATCHES


def test_without_them_what_was_not_answered_is_there_twice() -> None:
    log = send(BATCHES, "1", sequenced=False, unanswered=0.2)
    assert len(log) == len(BATCHES) + 6
    assert set(log) == set(BATCHES)
