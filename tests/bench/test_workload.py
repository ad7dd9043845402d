"""The events of the benches: the same for a seed, as disordered as asked for, and with the truth known."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.workload import Entry, Truth, Workload, deliveries


def made(work: Workload) -> tuple[list[Entry], Truth]:
    truth = Truth(work.keys)
    return list(deliveries(work, truth)), truth


def final(entries: list[Entry]) -> list[tuple[str, int, int]]:
    """What a right consumer makes of them: each version once."""
    states: dict[str, dict[int, int]] = {}
    for entry in entries:
        states.setdefault(entry.entity, {})[entry.version] = entry.amount
    return [(entity, max(versions), sum(versions.values())) for entity, versions in states.items()]


def share_late(entries: list[Entry]) -> float:
    """The share of the events whose first delivery comes after one of a later version."""
    highest: Counter[str] = Counter()
    seen: set[tuple[str, int]] = set()
    late = 0
    for entry in entries:
        if (entry.entity, entry.version) not in seen:
            seen.add((entry.entity, entry.version))
            late += entry.version < highest[entry.entity]
            highest[entry.entity] = max(highest[entry.entity], entry.version)
    return late / len(seen)


WORKS = [
    Workload(events=5_000, keys=100),
    Workload(events=5_000, keys=100, disorder=0.2, duplicates=0.1),
    Workload(events=5_000, keys=100, disorder=0.5, reach=2_000),
    Workload(events=5_000, keys=100, zipf=1.0, disorder=0.1, duplicates=0.5),
]


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.topic)
def test_the_truth_is_what_each_version_once_comes_to(work: Workload) -> None:
    entries, truth = made(work)
    assert truth.wrong(final(entries)) == 0
    assert (truth.deliveries, truth.events) == (len(entries), work.events)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.topic)
def test_versions_are_dense_and_ids_are_their_own(work: Workload) -> None:
    entries, truth = made(work)
    first = {(entry.entity, entry.version): entry.id for entry in entries}
    assert len(set(first.values())) == work.events
    versions = Counter(entity for entity, _ in first)
    assert all(versions[f"account-{number:07d}"] == last for number, last in enumerate(truth.versions))


def test_a_seed_makes_the_same_events_and_another_one_others() -> None:
    work = Workload(events=1_000, keys=10, disorder=0.2)
    assert made(work)[0] == made(work)[0]
    assert made(work)[0] != made(Workload(events=1_000, keys=10, disorder=0.2, seed=8))[0]


def test_disorder_changes_the_order_and_not_the_events() -> None:
    plain, _ = made(Workload(events=1_000, keys=10))
    late, _ = made(Workload(events=1_000, keys=10, disorder=0.3))
    assert plain != late
    assert sorted(plain, key=lambda entry: entry.id) == sorted(late, key=lambda entry: entry.id)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_as_many_events_are_late_as_were_asked_for(share: float) -> None:
    entries, _ = made(Workload(events=50_000, keys=1_000, disorder=share))
    assert share_late(entries) == pytest.approx(share, rel=0.1)


def test_as_many_events_come_twice_as_were_asked_for() -> None:
    entries, truth = made(Workload(events=50_000, keys=1_000, duplicates=0.1))
    assert len(entries) - 50_000 == truth.repeated == pytest.approx(5_000, rel=0.1)


def test_zipf_makes_one_entity_the_busiest() -> None:
    _, truth = made(Workload(events=20_000, keys=1_000, zipf=1.0))
    assert truth.busiest == truth.versions[0] > 2_000


def test_payloads_are_about_as_long_as_was_asked_for() -> None:
    import msgspec

    entries, _ = made(Workload(events=100, keys=10, payload_bytes=1_024))
    assert {len(msgspec.json.encode(entry)) // 100 for entry in entries} == {10}


@pytest.mark.parametrize(
    "found",
    [
        [("account-0000000", 2, 5)],  # another balance
        [("account-0000000", 1, 4)],  # another version
        [],  # one is missing
        [("account-0000000", 2, 4), ("account-0000001", 1, 0)],  # one too many
    ],
    ids=["balance", "version", "missing", "too many"],
)
def test_a_wrong_state_is_seen(found: list[tuple[str, int, int | None]]) -> None:
    truth = Truth(2)
    truth.versions[0], truth.totals[0] = 2, 4
    assert truth.wrong(found) == 1
    assert truth.wrong([("account-0000000", 2, 4)]) == truth.wrong([("account-0000000", 2, None)]) == 0
