"""The scripted source keeps the rules of the port: it is put through the suite that every source passes.

Left out is what is about sessions, which a test double does not have: here a test says itself who is gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from inorder.ports import Source
from tests.sources.harness import Harness
from tests.sources.test_source_conformance import (
    test_a_joining_member_takes_over_without_gaps_or_repeats,
    test_a_pause_in_the_middle_of_a_partition_repeats_nothing,
    test_a_paused_partition_gives_nothing_and_loses_nothing,
    test_a_poll_gives_no_more_than_asked_for,
    test_a_poll_waits_no_longer_than_asked_to,
    test_a_record_comes_whole,
    test_a_waiting_poll_returns_when_a_record_is_there,
    test_after_a_crash_records_come_again_from_the_committed_offset,
    test_each_group_is_given_everything,
    test_growth_is_noticed,
    test_members_share_and_nothing_is_given_to_two,
    test_records_of_a_partition_come_in_order,
    test_revoked_returns_before_another_member_gets_the_partition,
    test_the_end_is_not_reached_while_another_member_is_behind,
    test_the_end_is_reached_only_when_all_is_committed,
    test_what_is_committed_while_revoked_counts,
    test_who_joins_anew_has_its_partitions_revoked_and_assigned_again,
    test_who_leaves_hands_over_without_a_wait,
    test_without_a_commit_everything_comes_again,
)
from tests.worker.scripted import ScriptedSource, ScriptedTopic

__all__ = [
    "test_a_joining_member_takes_over_without_gaps_or_repeats",
    "test_a_pause_in_the_middle_of_a_partition_repeats_nothing",
    "test_a_paused_partition_gives_nothing_and_loses_nothing",
    "test_a_poll_gives_no_more_than_asked_for",
    "test_a_poll_waits_no_longer_than_asked_to",
    "test_a_record_comes_whole",
    "test_a_waiting_poll_returns_when_a_record_is_there",
    "test_after_a_crash_records_come_again_from_the_committed_offset",
    "test_each_group_is_given_everything",
    "test_growth_is_noticed",
    "test_members_share_and_nothing_is_given_to_two",
    "test_records_of_a_partition_come_in_order",
    "test_revoked_returns_before_another_member_gets_the_partition",
    "test_the_end_is_not_reached_while_another_member_is_behind",
    "test_the_end_is_reached_only_when_all_is_committed",
    "test_what_is_committed_while_revoked_counts",
    "test_who_joins_anew_has_its_partitions_revoked_and_assigned_again",
    "test_who_leaves_hands_over_without_a_wait",
    "test_without_a_commit_everything_comes_again",
]


class ScriptedHarness:
    topic = "topic"
    session_timeout_s = 0.4
    patience_s = 4.0

    def __init__(self) -> None:
        self._topic = ScriptedTopic()

    def produce(self, partition: int, values: Sequence[bytes], key: bytes | None = None) -> None:
        self._topic.put(partition, values, key, headers=(("n", b"1"),))

    def open(self, group: str = "group") -> Source:
        found = self._topic.group(group)
        found.spreads = True
        return found.member()

    def grow(self, partitions: int) -> None:
        self._topic.grow(partitions)

    def kill(self, source: Source) -> None:
        assert isinstance(source, ScriptedSource)
        source.group.remove(source)

    def silence(self, source: Source) -> None:
        self.kill(source)


@pytest.fixture
def harness() -> Harness:
    """A topic of its own for each test."""
    return ScriptedHarness()


def test_nothing_is_seized_from_an_owner_that_began_to_take_over_while_the_last_one_was_waited_for() -> None:
    topic = ScriptedTopic(partitions=1)
    group = topic.group()
    first, second = group.member(), group.member()
    group.owners[0], first.taking_over = first, True
    seizing = threading.Thread(target=group.seize, args=(0,), daemon=True)
    seizing.start()
    time.sleep(0.05)
    with topic.changed:
        first.taking_over, group.owners[0], second.taking_over = False, second, True
        topic.changed.notify_all()
    time.sleep(0.05)
    assert group.owners == {0: second}
    with topic.changed:
        second.taking_over = False
        topic.changed.notify_all()
    seizing.join(10)
    assert group.owners == {}
