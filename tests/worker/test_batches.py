"""One job after the other, written whole or not at all: which transactions there are, and whose failure is whose.

Pure: the store is in memory.
"""

from __future__ import annotations

from typing import Any

import pytest

from inorder.core.effect import Outage
from inorder.core.event import Partition
from inorder.core.order import Outcome
from inorder.core.waiting import Wait
from inorder.errors import HandlerTimeout, Unavailable, Unreachable
from inorder.worker.batch import MANY_FAILURES
from inorder.worker.effects import Manner
from tests.worker.batching import FENCES, Scene, Transaction, job
from tests.worker.consumers import FOLD, TX, Entry, nothing
from tests.worker.played import HERE, THERE

# What is written, and when.


def test_a_fold_is_written_in_one_transaction_under_the_fences_of_where_its_events_came_from() -> None:
    scene = Scene()
    assert scene.run(job("a1 b1 a2"), job("c1", THERE), fences={**FENCES, Partition("topic", 9): 1}) == {}
    assert scene.since() == ["write a b c", "commit"]
    assert scene.store.fences == [FENCES]
    assert scene.states() == {"a": [1, 2], "b": [1], "c": [1]}
    assert scene.store.counts([3])["applied"] == 4
    assert scene.seen.told == [("committed", ["a", "b", "c"])]
    assert scene.witnessed[0] == ("a1", Outcome.APPLIED)


def test_a_handlers_statements_are_in_the_transaction_of_their_versions() -> None:
    scene = Scene(TX)
    scene.run(job("a1 b1"))
    assert scene.since() == ["together", "statement a1", "statement b1", "write a b", "commit"]
    assert scene.store.fences == [{HERE: 7}]


@pytest.mark.parametrize("kind", [FOLD, TX])
def test_what_is_known_already_is_not_read_again(kind: str) -> None:
    scene = Scene(kind)
    scene.run(job("a1 b1"))
    scene.run(job("a2 c1"))
    assert scene.store.loaded == [["a", "b"], ["c"]]
    scene.run(job("a3"))
    assert len(scene.store.loaded) == 2


@pytest.mark.parametrize("kind", [FOLD, TX])
def test_nothing_is_written_of_a_batch_without_anything_in_it(kind: str) -> None:
    scene = Scene(kind)
    scene.run(job("a1"))
    scene.since()
    scene.seen.told.clear()
    assert scene.run(due=["a"]) == {}
    assert "write" not in " ".join(scene.since())
    assert scene.seen.told == []


def test_what_cannot_be_read_becomes_a_letter_after_what_can() -> None:
    scene = Scene()
    scene.run(job("a1", malformed=2))
    assert [row.letter.reason for row in scene.store.letters()] == ["malformed", "malformed"]
    assert scene.states() == {"a": [1]}


def test_while_the_store_works_no_handler_is_seen_to_hang() -> None:
    scene = Scene()
    seen: list[Any] = []
    write = Transaction.write

    def looked(tx: Transaction, *of: Any) -> None:
        seen.append(scene.effect.now_at)
        write(tx, *of)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Transaction, "write", looked)
        scene.run(job("a1"))
    assert seen == [None]


def test_an_entity_that_nobody_knows_begins_at_its_baseline() -> None:
    scene = Scene(baseline=10)
    scene.run(job("a11 a12"))
    assert scene.states() == {"a": [11, 12]}


# A handler with tx that fails.


def test_a_failure_is_undone_found_and_left_out_and_is_not_tried_again() -> None:
    scene = Scene(TX)
    scene.fails["b1"] = ValueError("no")
    scene.run(job("a1 b1 c1"))
    assert scene.store.effects == ["a1", "c1"]
    assert scene.calls == ["a1", "b1", "a1", "b1", "a1", "c1"], "whose fault it was is known only one by one"
    log = scene.since()
    assert log.count("together") == 2, "the others go together again"
    assert log[-2:] == ["write a b c", "commit"]
    waiting = scene.waiting("b")
    assert waiting is not None
    assert (waiting.why, waiting.attempts) == (Wait.RETRY, 1)
    assert scene.effect.barred == {}, "the next attempt is one"


def test_an_error_that_comes_after_all_statements_is_nobodys_in_particular() -> None:
    scene = Scene(TX)
    scene.store.late_error = ValueError("deferred")
    scene.run(job("a1 b1"))
    assert scene.store.effects == ["a1", "b1"]
    assert scene.calls == ["a1", "b1"] * 2, "so they are called once more, one by one"
    assert scene.since().count("together") == 1


def test_an_error_of_the_store_is_not_taken_for_a_handlers() -> None:
    scene = Scene(TX)
    scene.store.late_error = Unreachable("away")
    with pytest.raises(Unreachable):
        scene.run(job("a1 b1"))
    assert scene.store.effects == []
    assert scene.calls == ["a1", "b1"]


def failing(n: int) -> list[str]:
    return [f"{chr(ord('a') + at)}1" for at in range(n)]


@pytest.mark.parametrize("n", [MANY_FAILURES - 1, MANY_FAILURES], ids=["some", "many"])
def test_many_failures_are_worth_a_savepoint_each(n: int) -> None:
    scene = Scene(TX)
    names = failing(n + 2)
    scene.fails = {name: ValueError("no") for name in names[:n]}
    scene.run(job(" ".join([*names, "z1"])))
    assert scene.store.effects == [*names[n:], "z1"]
    assert all(scene.waiting(name[0]) is not None for name in names[:n])
    assert scene.manner is (Manner.CAREFULLY if n == MANY_FAILURES else Manner.TOGETHER)


def test_where_many_have_failed_each_has_a_savepoint_from_the_start() -> None:
    scene = Scene(TX)

    def manner(names: list[str], fail: int) -> Manner:
        scene.calls.clear()
        scene.fails = {name: ValueError("no") for name in names[:fail]}
        seen.clear()
        scene.run(job(" ".join(names)))
        return seen[0]

    seen: list[Manner] = []
    scene._then = lambda entry: seen.append(scene.manner)
    many = 2 * MANY_FAILURES
    names = [chr(ord("A") + at) + "1" for at in range(many)]
    assert manner(failing(many), many) is Manner.TOGETHER
    assert manner(names, MANY_FAILURES) is Manner.CAREFULLY, "many have failed last time"
    assert len(scene.calls) == many, "nothing is redone"
    assert scene.store.effects == names[MANY_FAILURES:]
    assert manner(["N1", "O1"], 1) is Manner.CAREFULLY, "so they have this time"
    assert manner(["P1", "Q1"], 0) is Manner.TOGETHER, "and now they have not"


def test_what_is_due_may_fail_again_and_has_a_transaction_of_its_own() -> None:
    scene = Scene(TX)
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    scene.clock.at += 200
    scene.since()
    scene.calls.clear()
    scene.fails.clear()
    scene.run(job("b1"), due=["a"])
    assert scene.calls == ["a1", "b1"], "what waited goes first"
    assert [line for line in scene.since() if line.startswith("write")] == ["write a", "write b"]
    assert scene.store.fences[-2:] == [{HERE: 7}, {HERE: 7}]


def test_an_event_that_hung_is_not_tried_again_because_something_else_was_due() -> None:
    scene = Scene(TX)
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    scene.clock.at += 200
    scene.calls.clear()
    scene.fails.clear()
    scene.effect.barred["b", 1] = HandlerTimeout("ran for too long")
    scene.run(job("b1"), due=["a"])
    assert (scene.calls, scene.store.effects) == (["a1"], ["a1"])
    assert scene.waiting("b") is not None


def test_what_is_due_of_a_fold_goes_with_the_rest() -> None:
    scene = Scene()
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    scene.clock.at += 200
    scene.since()
    scene.fails.clear()
    scene.run(job("b1", THERE), due=["a"])
    assert scene.since() == ["write a b", "commit"]
    assert scene.store.fences[-1] == FENCES, "that of the home of what waited too"
    assert scene.states() == {"a": [1], "b": [1]}


def test_both_halves_say_what_is_lost() -> None:
    scene = Scene(TX)
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    scene.clock.at += 200
    scene.store.tables.fences = {HERE: 9, THERE: 9}
    assert scene.run(job("b1", THERE), due=["a"]) == FENCES


def test_a_fold_whose_help_goes_down_in_the_middle_of_a_batch_waits_until_it_is_back() -> None:
    scene = Scene()

    def goes_down(entry: Entry) -> None:
        if "a2" in scene.calls:
            raise Unavailable("away")

    scene._then = goes_down
    given = job("a1 a2 b1")
    with pytest.raises(Outage, match="away"):
        scene.run(given)
    assert (scene.states(), scene.effect.barred) == ({}, {})
    scene._then = nothing
    scene.run(given)
    assert scene.states() == {"a": [1, 2], "b": [1]}
