"""What is left out of a job, or taken out of it, and under which fences the rest is written.

Pure: no thread, no store.
"""

from __future__ import annotations

from inorder.core.effect import NoRoom
from inorder.core.engine import Unit
from inorder.core.event import Event, Malformed, Partition, Record, Slice
from inorder.worker.job import Job
from inorder.worker.standstill import Standstill
from tests.worker.played import HERE, THERE

FENCES = {HERE: 7, THERE: 8}


def job(partition: Partition, events: int, malformed: bool = False) -> Job:
    """So many events of one slice, and perhaps a record behind them that cannot be read."""
    records = [Record(partition, n, b"k", b"") for n in range(events + malformed)]
    piece = Slice.of(partition, records)
    unit = Unit(partition, FENCES[partition], piece.next_offset, len(piece), 0)
    found = Job()
    found.add(
        unit,
        piece,
        [Event(f"k{n}", 1, f"id{n}", 1, None, piece, n) for n in range(events)],
        [Malformed("unreadable", piece, events)] if malformed else [],
    )
    return found


def both() -> Job:
    """Three events and a malformed record of one partition, two events of another."""
    found = job(HERE, 3, malformed=True)
    found.absorb(job(THERE, 2))
    return found


def partitions(of: Job) -> list[int]:
    return [event.slice.partition.number for event in of.events]


def test_what_is_taken_over_keeps_its_order_and_its_fence() -> None:
    found = both()
    assert (len(found), partitions(found), found.fences) == (6, [0, 0, 0, 1, 1], FENCES)
    assert [unit.partition for unit in found.units] == [HERE, THERE]
    found.absorb(job(THERE, 0, malformed=True))
    assert [one.slice.partition for one in found.malformed] == [HERE, THERE]


def test_nothing_is_left_of_a_partition_that_went() -> None:
    found = both()
    found.without([HERE])
    assert (partitions(found), found.malformed, found.fences) == ([1, 1], [], {THERE: 8})
    assert [unit.partition for unit in found.units] == [THERE]


def test_a_partition_is_taken_out_with_all_that_came_from_it() -> None:
    found = both()
    out = found.split(HERE)
    assert (partitions(out), len(out.malformed), out.fences) == ([0, 0, 0], 1, {HERE: 7})
    assert (partitions(found), found.malformed) == ([1, 1], [])


def test_what_came_before_the_first_one_stays_under_the_fence_it_was_received_under() -> None:
    found = both()
    out = found.split(HERE, found.events[1])
    assert [event.key for event in found.events] == ["k0", "k0", "k1"]
    assert [event.key for event in out.events] == ["k1", "k2"]
    assert found.fences == FENCES, "k0 of the first partition is still to be written"
    assert [unit.partition for unit in found.units] == [THERE], "its slice is settled with what was taken out"


def test_a_job_that_takes_over_what_is_left_of_another_stands_under_its_fence_too() -> None:
    left = job(HERE, 2)
    left.split(HERE, left.events[1])
    found = job(THERE, 1)
    found.absorb(left)
    assert found.fences == FENCES
    found.without([HERE])
    assert found.fences == {THERE: 8}, "a partition that went is asked about no more"


def no_room(of: Job) -> NoRoom:
    return NoRoom(of.events[0], "no room")


def test_a_partition_is_full_until_what_found_no_room_was_tried_again() -> None:
    still, one = Standstill(), job(HERE, 1)
    still.put_aside(no_room(one))
    assert still.full == {HERE: str(no_room(one))}
    assert still.try_again() == ([one.events[0]], [])
    assert HERE in still.full, "it is being tried"
    still.tried()
    assert (still.full, still.try_again()) == ({}, ([], []))


def test_a_partition_that_went_is_full_no_more() -> None:
    still, one = Standstill(), both()
    still.put_aside(no_room(one))
    still.try_again()
    still.put_aside(no_room(one))
    still.stop("k", one.events, no_room(one))
    assert still.forget({HERE}) == [("k", one.events[3:])]
    assert (still.full, still.try_again()) == ({}, ([], []))


def test_what_stands_still_for_another_partition_stays() -> None:
    still, one = Standstill(), both()
    still.put_aside(no_room(one))
    still.stop("k", one.events[:1], no_room(one))
    assert still.forget({THERE}) == []
    assert still.try_again() == ([one.events[0]], [("k", one.events[:1])])
