"""The workload and its disorder: the same for the same seed, and what they claim to be for any size."""

from __future__ import annotations

import random

import pytest

from inorder.lab import oracle
from inorder.lab.accounts import DEPLOYED, Account, Entry, entries, post
from inorder.lab.disorder import Class, script

SIZES = [(1, 1), (2, 5), (10, 3), (99, 1), (200, 5), (1_234, 77), (20_000, 500)]


@pytest.mark.parametrize(("events", "entities"), SIZES)
def test_the_same_seed_gives_the_same_stream_and_script(events: int, entities: int) -> None:
    assert entries(7, events, entities) == entries(7, events, entities)
    assert script(7, events) == script(7, events)


def test_another_seed_gives_another_stream_and_script() -> None:
    assert entries(7, 200, 5) != entries(8, 200, 5)
    assert script(7, 200) != script(8, 200)


@pytest.mark.parametrize(("events", "entities"), SIZES)
def test_versions_of_an_account_are_dense_and_in_the_order_of_the_stream(events: int, entities: int) -> None:
    stream = entries(3, events, entities)
    versions: dict[str, list[int]] = {}
    for entry in stream:
        versions.setdefault(entry.account, []).append(entry.version)
    assert len(stream) == len({entry.id for entry in stream}) == events
    assert len(versions) == min(events, entities)
    assert all(found == list(range(1, len(found) + 1)) for found in versions.values())


@pytest.mark.parametrize(("events", "entities"), SIZES)
def test_some_entries_fail_on_the_deployed_rule_and_none_on_the_mended_one(events: int, entities: int) -> None:
    kinds = [entry.kind for entry in entries(3, events, entities)]
    assert set(kinds) - set(DEPLOYED) == {"refund"}
    assert kinds.count("refund") == max(1, events // 1_000)


@pytest.mark.parametrize("events", [events for events, _ in SIZES])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_event_is_sent_and_only_duplicates_are_sent_twice(events: int, seed: int) -> None:
    plan = script(seed, events)
    first = [sent.event for batch in plan.batches for sent in batch if sent.why is not Class.DUPLICATE]
    assert sorted(first) == list(range(events))
    assert plan.count(Class.DUPLICATE) == len(plan) - events > 0
    assert 0 <= plan.kill_at <= plan.freeze_at < len(plan)
    assert 0 <= plan.grow_at < len(plan.batches)


def test_what_is_sent_again_or_late_comes_behind_what_happened_after_it() -> None:
    plan = script(5, 5_000)
    sent = [one for batch in plan.batches for one in batch]
    for why in Class.RETRY, Class.LATE:
        overtaken = [
            one.event
            for place, one in enumerate(sent)
            if one.why is why and any(before.event > one.event for before in sent[:place])
        ]
        assert len(overtaken) > 0.7 * plan.count(why) > 0
    on_time = [one.event for one in sent if one.why is None]
    assert on_time == sorted(on_time)


def test_the_oracle_is_the_same_whatever_the_order_and_however_often_events_come() -> None:
    stream = entries(4, 500, 9)
    truth: dict[str, Account] = {}
    for entry in stream:
        truth[entry.account] = post(truth.get(entry.account), entry)
    shuffled = stream + stream[:100]
    random.Random(1).shuffle(shuffled)
    assert oracle.states(shuffled, lambda entry: entry.account, post) == truth


def test_order_matters_to_this_workload() -> None:
    stream = entries(4, 2_000, 20)
    truth: dict[str, Account] = oracle.states(stream, lambda entry: entry.account, post)
    backwards: dict[str, Account] = {}
    for entry in reversed(stream):
        backwards[entry.account] = post(backwards.get(entry.account), entry)
    assert len(oracle.wrong(backwards, truth)) == 20


def test_a_state_that_is_missing_other_or_too_much_is_wrong() -> None:
    truth = {"a": 1, "b": 2, "c": 3}
    assert oracle.wrong({"a": 1, "b": 7, "d": 4}, truth) == ["b", "c", "d"]
    assert oracle.wrong(dict(truth), truth) == []


def test_a_debit_that_is_not_covered_is_declined() -> None:
    account = post(Account(balance=10), Entry("e", "a", 2, "debit", 11))
    assert account == Account(balance=10, declined=1)
