"""What operators do by hand: skip, edit, plan. All of it audited, none of it losing anything."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest

import inorder
from inorder.core.waiting import Wait
from inorder.deadletters import operating
from inorder.deadletters.operating import Operator
from inorder.deadletters.planning import Choice, Made, make_plan, rehearse_again
from inorder.deadletters.replay import run_plan
from inorder.errors import InorderError, NotFound, UsageError
from tests.deadletters.conftest import kinds
from tests.deadletters.replays import Fault, ReplayBench, results
from tests.worker.bench import entries, until

BY = Operator("tester", "because", 100.0)
RUN = [1, 2, 3, 4, 5]


def plan(bench: ReplayBench, consumer: Any, **choice: Any) -> Made:
    made = make_plan(consumer, bench.url, Choice(**choice), handler="x:y", actor="tester")
    assert made is not None
    return made


def forecasts(made: Made) -> list[tuple[str | None, int | None, str | None]]:
    return [(one.key, one.version, one.forecast) for one in made.letters]


# skip


def test_a_skipped_letter_lets_its_key_go_on_past_it_and_says_so_for_ever(bench: ReplayBench) -> None:
    fault = Fault(("a", 2))
    bench.produce(*entries("a", *RUN))
    consumer = bench.declare(fault)
    bench.work(consumer)
    number = bench.letters()[0].id
    found = operating.skip_letter(bench.look, number, BY)
    assert (found.key, found.version, found.tombstone, found.behind) == ("a", 2, True, 3)
    bench.work(consumer)
    assert bench.effects() == {"a": [1, 3, 4, 5]}
    assert bench.look.load(["a"])["a"].ranges.pairs() == [(2, 2)]
    row = bench.letters()[0]
    assert (row.status, row.note) == ("skipped", "skipped by tester: because")
    last = list(bench.look.audit())[-1]
    assert (last.action, last.outcome, last.key, last.version, last.reason) == ("skip", "skipped", "a", 2, "because")
    assert bench.outcomes() == {"applied": 4, "dead_lettered": 1}


def test_a_running_worker_goes_on_with_what_waits_behind_a_skip(bench: ReplayBench) -> None:
    fault = Fault(("a", 2))
    bench.produce(*entries("a", *RUN))
    working = bench.start(bench.declare(fault))
    until("parked, and all behind it", lambda: bench.waiting("a") == [3, 4, 5])
    operating.skip_letter(bench.look, bench.letters()[0].id, BY)
    until("the rest took effect", lambda: bench.effects().get("a") == [1, 3, 4, 5])
    working.stop()


def test_a_skipped_event_that_comes_again_is_late_and_never_applied(bench: ReplayBench) -> None:
    fault = Fault(("a", 2))
    bench.produce(*entries("a", *RUN))
    consumer = bench.declare(fault)
    bench.work(consumer)
    operating.skip_letter(bench.look, bench.letters()[0].id, BY)
    bench.work(consumer)
    fault.mend()
    bench.produce(*entries("a", 2))
    bench.work(consumer)
    assert bench.effects() == {"a": [1, 3, 4, 5]}
    assert bench.dead() == [("a", 2, "failed"), ("a", 2, "late")]
    assert results(bench.replay(consumer)) == [("a", 2, "late")]


def test_a_redelivery_that_waits_beside_its_letter_goes_the_way_of_the_skip(bench: ReplayBench) -> None:
    fault = Fault(("a", 2))
    bench.produce(*entries("a", 1, 2, 2, 3))
    consumer = bench.declare(fault)
    bench.work(consumer)
    assert bench.waiting("a") == [2, 3]
    operating.skip_letter(bench.look, bench.letters()[0].id, BY)
    bench.work(consumer)
    assert bench.effects() == {"a": [1, 3]}
    assert bench.dead() == [("a", 2, "failed")]
    assert bench.outcomes() == {"applied": 2, "dead_lettered": 1, "duplicate": 1}


def test_a_version_that_never_comes_can_be_skipped(bench: ReplayBench) -> None:
    bench.produce(*entries("a", 1, 3, 4))
    consumer = bench.declare(limits=inorder.Limits(gap_s=0.05))
    working = bench.start(consumer)
    until("the gap has outlasted its limit", lambda: bench.parked() == ["a"])
    working.stop()
    with pytest.raises(UsageError, match="waits for version 2"):
        operating.skip_version(bench.look, "a", 3, BY)
    with pytest.raises(UsageError, match="is covered"):
        operating.skip_version(bench.look, "a", 1, BY)
    found = operating.skip_version(bench.look, "a", 2, BY)
    assert (found.letter, found.tombstone, found.behind) == (None, True, 2)
    bench.work(consumer)
    assert bench.effects() == {"a": [1, 3, 4]}


@kinds("fold")
def test_a_version_of_a_key_that_nothing_has_come_of_is_not_skipped(bench: ReplayBench) -> None:
    bench.produce(*entries("alice", 2))
    consumer = bench.declare()
    bench.work(consumer)
    with pytest.raises(NotFound, match="neither open letter nor key 'alcie'"):
        operating.skip_version(bench.look, "alcie", 1, BY)
    assert bench.look.load(["alcie"]) == {}
    assert operating.skip_version(bench.look, "alice", 1, BY).behind == 1


@pytest.mark.parametrize("order", ["latest", "commutative"])
def test_a_skip_under_other_orders_covers_its_own_version_only(bench: ReplayBench, order: str) -> None:
    fault = Fault(("a", 4))
    bench.produce(*entries("a", 1, 4, 5))
    consumer = bench.declare(fault, order=order)
    bench.work(consumer)
    operating.skip_letter(bench.look, bench.letters()[0].id, BY)
    bench.work(consumer)
    assert bench.effects() == {"a": [1, 5]}
    bench.produce(*entries("a", 6))
    bench.work(consumer)
    assert bench.effects() == {"a": [1, 5, 6]}


@kinds("fold")
def test_a_letter_without_a_key_is_closed_and_nothing_else_changes(bench: ReplayBench) -> None:
    bench.produce(b"no json")
    bench.work(bench.declare())
    found = operating.skip_letter(bench.look, 1, BY)
    assert (found.tombstone, found.detail.startswith("the letter is closed")) == (False, True)
    with pytest.raises(UsageError, match="skipped already"):
        operating.skip_letter(bench.look, 1, BY)
    with pytest.raises(NotFound):
        operating.skip_letter(bench.look, 99, BY)


@kinds("fold")
def test_a_key_that_a_replay_is_at_work_on_is_not_skipped(bench: ReplayBench) -> None:
    fault = Fault(("a", 2))
    bench.produce(*entries("a", 1, 2, 3))
    bench.work(bench.declare(fault))
    with bench.look.transaction() as tx:
        tx.execute("UPDATE inorder_waiting SET due_at = ?", (200.0,))
    with pytest.raises(InorderError, match="just being replayed"):
        operating.skip_letter(bench.look, 1, BY)
    operating.skip_letter(bench.look, 1, BY._replace(now=201.0))
    assert bench.look.load(["a"])["a"].waiting.why is Wait.GAP  # type: ignore[union-attr]


# edit


@kinds("fold", "tx", "call")
def test_an_edited_letter_is_replayed_with_its_new_payload_and_keeps_the_old_one(bench: ReplayBench) -> None:
    def act(entry: Any) -> None:
        if entry.amount == 2:
            raise inorder.Poison("the amount is wrong")

    bench.produce(*entries("a", 1, 2, 3))
    consumer = bench.declare(act)
    bench.work(consumer)
    row = bench.letters()[0]
    with pytest.raises(UsageError, match="not JSON"):
        operating.edit(bench.look, row.id, b"{", BY)
    mended = entries("a", 2)[0]
    mended.amount = 20
    moved = entries("b", 2)[0]
    with pytest.raises(UsageError, match="received with 'a'"):
        operating.edit(bench.look, row.id, msgspec.json.encode(moved), BY, consumer)
    assert "key a, version 2" in operating.edit(bench.look, row.id, msgspec.json.encode(mended), BY, consumer)
    assert bench.look.letter(row.id).letter.record.value == row.letter.record.value  # type: ignore[union-attr]
    edit = bench.look.edits(row.id)[0]
    assert (edit.actor, edit.reason, edit.value) == ("tester", "because", msgspec.json.encode(mended))
    assert results(bench.replay(consumer)) == [("a", 2, "applied")]
    assert bench.effects() == {"a": [1, 2, 3]}
    with pytest.raises(UsageError, match="is resolved"):
        operating.edit(bench.look, row.id, b"{}", BY)


@kinds("fold")
def test_what_was_edited_after_the_plan_is_not_replayed_by_it(bench: ReplayBench) -> None:
    fault = Fault(("a", 2))
    bench.produce(*entries("a", 1, 2))
    consumer = bench.declare(fault)
    bench.work(consumer)
    fault.mend()
    made = plan(bench, consumer)
    operating.edit(bench.look, 1, msgspec.json.encode(entries("a", 2)[0]), BY)
    assert [one.forecast for one in rehearse_again(consumer, bench.url, made.plan.id).letters] == ["unreadable"]
    summary = run_plan(consumer, bench.url, made.plan.id, reason="test")
    assert results(summary) == [("a", 2, "unreadable")]
    assert "edited after the plan" in summary.letters[0]["detail"]
    assert bench.replay(consumer).sums.applied == 1


# plan


@kinds("fold", "async fold", "tx", "async tx")
def test_a_plan_foretells_each_letter_and_changes_nothing(bench: ReplayBench) -> None:
    fault = Fault(("a", 2), ("b", 2), ("b", 4), ("c", 1))
    bench.produce(*entries("a", *RUN), *entries("b", *RUN), *entries("c", 1, 2))
    bench.produce(b"no json")
    consumer = bench.declare(fault)
    bench.work(consumer)
    fault.mend(("a", 2), ("b", 2))
    before = bench.effects(), bench.outcomes(), bench.parked(), bench.waiting("a"), bench.waiting("b")
    made = plan(bench, consumer)
    assert (bench.effects(), bench.outcomes(), bench.parked(), bench.waiting("a"), bench.waiting("b")) == before
    assert sorted(forecasts(made), key=str) == [
        ("a", 2, "applied"),
        ("b", 2, "applied"),
        ("c", 1, "failed"),
        (None, None, "unreadable"),
    ]
    assert made.rehearsed is not None
    assert (made.rehearsed.behind, made.rehearsed.behind_failing) == (5, 1)
    assert made.plan.held == 7
    summary = run_plan(consumer, bench.url, made.plan.id, reason="test")
    told = {letter["letter"]: letter["result"] for letter in summary.letters}
    assert told == {letter.letter: letter.forecast for letter in made.letters}


@kinds("async fold", "async tx")
def test_no_event_loop_is_left_open_by_a_plan_or_its_replay(
    bench: ReplayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = Fault(("a", 2))
    bench.produce(*entries("a", *RUN))
    consumer = bench.declare(fault)
    bench.work(consumer)
    fault.mend()
    loops: list[asyncio.AbstractEventLoop] = []
    new = asyncio.new_event_loop

    def noted() -> asyncio.AbstractEventLoop:
        loops.append(new())
        return loops[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", noted)
    made = plan(bench, consumer)
    assert [loop.is_closed() for loop in loops] == [True]
    assert run_plan(consumer, bench.url, made.plan.id, reason="test").sums.applied == 1
    assert len(loops) > 1
    assert all(loop.is_closed() for loop in loops)


@kinds("call", "async call")
def test_a_handler_with_effects_elsewhere_is_not_called_by_a_rehearsal(bench: ReplayBench) -> None:
    fault = Fault(("a", 2))
    bench.produce(*entries("a", 1, 2, 3))
    consumer = bench.declare(fault)
    bench.work(consumer)
    calls = len(bench.entered)
    made = plan(bench, consumer)
    assert forecasts(made) == [("a", 2, "applied")]
    assert "cannot be undone" in (made.letters[0].forecast_detail or "")
    assert len(bench.entered) == calls


def test_a_plan_is_frozen(bench: ReplayBench) -> None:
    fault = Fault(("a", 1), ("b", 1))
    bench.produce(*entries("a", 1, 2))
    consumer = bench.declare(fault)
    bench.work(consumer)
    made = plan(bench, consumer)
    bench.produce(*entries("b", 1, 2))
    bench.work(consumer)
    fault.mend()
    summary = run_plan(consumer, bench.url, made.plan.id, reason="test")
    assert results(summary) == [("a", 1, "applied")]
    assert bench.parked() == ["b"]


def test_a_plan_that_is_run_again_tries_only_what_is_left(bench: ReplayBench) -> None:
    fault = Fault(("a", 1), ("b", 1))
    bench.produce(*entries("a", 1, 2), *entries("b", 1, 2))
    consumer = bench.declare(fault)
    bench.work(consumer)
    made = plan(bench, consumer)
    fault.mend(("a", 1))
    first = run_plan(consumer, bench.url, made.plan.id, reason="test")
    assert sorted(results(first)) == [("a", 1, "applied"), ("b", 1, "failed")]
    fault.mend()
    again = run_plan(consumer, bench.url, made.plan.id, reason="test")
    assert results(again) == [("b", 1, "applied")]
    assert (again.sums.selected, again.sums.applied) == (2, 2), "the sums are the plan's, over all of its runs"
    assert results(run_plan(consumer, bench.url, made.plan.id, reason="test")) == []
    assert bench.effects() == {"a": [1, 2], "b": [1, 2]}


@kinds("fold")
def test_letters_dealt_with_since_the_plan_are_reported_as_such(bench: ReplayBench) -> None:
    fault = Fault(("a", 1))
    bench.produce(*entries("a", 1, 2))
    consumer = bench.declare(fault)
    bench.work(consumer)
    fault.mend()
    made = plan(bench, consumer)
    assert bench.replay(consumer).sums.applied == 1
    assert [one.forecast for one in rehearse_again(consumer, bench.url, made.plan.id).letters] == ["resolved"]
    summary = run_plan(consumer, bench.url, made.plan.id, reason="test")
    assert results(summary) == [("a", 1, "resolved")]
    assert (summary.sums.applied, summary.sums.skipped) == (0, 1)


@kinds("fold")
def test_letters_are_chosen_by_key_reason_time_and_number(bench: ReplayBench) -> None:
    fault = Fault(("a", 1), ("b", 1))
    bench.produce(*entries("a", 1), *entries("b", 1), b"no json")
    consumer = bench.declare(fault)
    bench.work(consumer)
    numbers = {row.letter.key: row.id for row in bench.letters()}
    assert len(plan(bench, consumer).letters) == 3
    assert [one.letter for one in plan(bench, consumer, keys=["a"]).letters] == [numbers["a"]]
    assert [one.letter for one in plan(bench, consumer, ids=[numbers["b"], 99]).letters] == [numbers["b"]]
    assert [one.letter for one in plan(bench, consumer, reason="malformed").letters] == [numbers[None]]
    assert len(plan(bench, consumer, most=2).letters) == 2
    choice = Choice(since=time.time() + 60)
    assert make_plan(consumer, bench.url, choice, handler="x:y", actor="tester") is None
    assert make_plan(consumer, bench.url, Choice(keys=[]), handler="x:y", actor="tester") is None
