"""What is measured in a run is measured right: on histories made by hand, whose counts are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inorder.lab.accounts import Entry
from inorder.lab.caught import Mechanism, caught
from inorder.lab.disorder import Class
from inorder.lab.flight import moment, peak
from inorder.lab.history import History
from inorder.lab.runlog import Decided, Decision, Line, Received, Refused, RunLog, path_of
from inorder.lab.stream import Delivery

ENTRIES = [Entry(f"e{number}", "a", number, "credit", 1) for number in range(1, 5)]


def sent(*events: int, why: Class | None = None, partition: int = 0) -> list[Delivery]:
    """Deliveries of these events, by their versions; only the first one is out of order, for `why`."""
    return [
        Delivery(number, version - 1, why if number == 0 else None, partition, number)
        for number, version in enumerate(events)
    ]


def history(folder: Path, deliveries: Sequence[Delivery], *lives: Sequence[Line]) -> History:
    for number, lines in enumerate(lives, 1):
        RunLog(path_of(folder, "inorder", str(number), 1)).write(lines)
    return History(folder, "inorder", ENTRIES, deliveries)


def decided(at: float, *outcomes: tuple[int, str], waited: bool = False) -> Decided:
    """A transaction committed at `at`, with these outcomes for deliveries of partition 0."""
    return Decided(at, [Decision(0, offset, outcome, at - 0.1, waited) for offset, outcome in outcomes])


def counts(found: History, deliveries: Sequence[Delivery], **fates: Class) -> dict[Class, dict[Mechanism, int]]:
    by = {(worker.removeprefix("worker"), 1): fate for worker, fate in fates.items()}
    return {why: dict(caught_by) for why, caught_by in caught(found, deliveries, by).items() if caught_by}


def test_a_second_copy_is_a_duplicate_of_the_producer(tmp_path: Path) -> None:
    deliveries = sent(1, 1)
    found = history(tmp_path, deliveries, [Received(1, 0, 0, 2), decided(2, (0, "applied"), (1, "duplicate"))])
    assert counts(found, deliveries) == {Class.DUPLICATE: {Mechanism.IDEMPOTENCE: 1}}


def test_a_delivery_handed_out_again_is_the_dead_workers(tmp_path: Path) -> None:
    deliveries = sent(1)
    first: list[Line] = [Received(1, 0, 0, 1), decided(2, (0, "applied"))]
    found = history(tmp_path, deliveries, first, [Received(3, 0, 0, 1), decided(4, (0, "duplicate"))])
    assert counts(found, deliveries, worker1=Class.KILL) == {Class.KILL: {Mechanism.IDEMPOTENCE: 1}}
    assert counts(found, deliveries) == {Class.REBALANCE: {Mechanism.IDEMPOTENCE: 1}}


def test_an_early_event_is_held_for_what_is_late(tmp_path: Path) -> None:
    deliveries = [Delivery(0, 1, None, 0, 0), Delivery(1, 0, Class.LATE, 0, 1)]
    lines: list[Line] = [
        Received(1, 0, 0, 1),
        decided(2, (0, "held")),
        Received(3, 0, 1, 1),
        decided(4, (1, "applied")),
        decided(5, (0, "applied"), waited=True),
    ]
    assert counts(history(tmp_path, deliveries, lines), deliveries) == {Class.LATE: {Mechanism.HOLD: 1}}


def test_early_events_of_one_batch_are_sorted_in_memory(tmp_path: Path) -> None:
    deliveries = [Delivery(0, 1, None, 0, 0), Delivery(1, 0, Class.RETRY, 0, 1)]
    sorted_there = Decided(3, [Decision(0, 1, "applied", 2.0), Decision(0, 0, "applied", 2.1)])
    found = history(tmp_path, deliveries, [Received(1, 0, 0, 2), sorted_there])
    assert counts(found, deliveries) == {Class.RETRY: {Mechanism.LANE: 1}}


def test_an_event_whose_predecessor_lies_in_another_partition_is_held_for_the_growth(tmp_path: Path) -> None:
    deliveries = [Delivery(0, 0, None, 1, 0), Delivery(1, 1, None, 0, 0)]
    found = history(tmp_path, deliveries, [Received(1, 0, 0, 1), decided(2, (0, "held"))])
    with_other: list[Line] = [Received(3, 1, 0, 1), Decided(4, [Decision(1, 0, "applied", 3.5)])]
    found = history(tmp_path, deliveries, [], with_other)
    assert counts(found, deliveries) == {Class.GROWTH: {Mechanism.HOLD: 1}}


def test_a_zombie_is_told_from_a_worker_that_was_slow(tmp_path: Path) -> None:
    deliveries = sent(1, 2)
    lines: list[Line] = [Received(1, 0, 0, 2), Refused(2, "fence", 2)]
    found = history(tmp_path, deliveries, lines)
    assert counts(found, deliveries, worker1=Class.FREEZE) == {Class.FREEZE: {Mechanism.FENCE: 2}}
    assert counts(found, deliveries) == {Class.REBALANCE: {Mechanism.FENCE: 2}}


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    deliveries = sent(1)
    history(tmp_path, deliveries, [Received(1, 0, 0, 1)])
    with path_of(tmp_path, "inorder", "1", 1).open("ab") as log:
        log.write(b'["decided",2,[[0,0,"appl')
    assert [one.outcome for one in History(tmp_path, "inorder", ENTRIES, deliveries).receipts] == [""]


def flights(folder: Path, *times: tuple[str, float, float]) -> History:
    """One worker for each flight: of an account, from being received to being committed."""
    entries = [Entry(f"e{number}", account, 1, "credit", 1) for number, (account, _, _) in enumerate(times)]
    deliveries = [Delivery(number, number, None, number, 0) for number in range(len(times))]
    for number, (_, start, end) in enumerate(times):
        lines: list[Line] = [Received(start, number, 0, 1), Decided(end, [Decision(number, 0, "applied", end)])]
        RunLog(path_of(folder, "inorder", str(number), 1)).write(lines)
    return History(folder, "inorder", entries, deliveries)


def test_the_peak_counts_entities_at_one_moment(tmp_path: Path) -> None:
    found = flights(tmp_path, ("a", 1, 5), ("b", 2, 4), ("c", 3, 6), ("d", 7, 8))
    assert peak(found.settled) == 3


def test_one_entity_twice_and_one_that_lands_as_another_starts_count_once(tmp_path: Path) -> None:
    found = flights(tmp_path, ("a", 1, 5), ("a", 2, 4), ("b", 5, 6))
    assert peak(found.settled) == 1


def test_what_lands_together_is_in_the_air_together_or_not_at_all(tmp_path: Path) -> None:
    """One transaction ends many flights at one time: no moment is between them."""
    found = flights(tmp_path, ("a", 1, 9), ("b", 7, 9), ("c", 7, 9), ("d", 10, 20))
    chosen = moment(found.settled, 2)
    assert chosen is not None
    assert (chosen.at, chosen.entities) == (7, 3)
