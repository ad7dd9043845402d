"""What every store promises to operators: edits, plans, the audit. Each kind of store passes all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from inorder.core.event import Partition
from inorder.core.rows import Reason
from inorder.core.waiting import Wait, Waiting
from inorder.stores.letter_rows import AuditRow, EditRow, PlanLetter, PlanRow
from tests.stores.making import HERE, THERE, changes, gap, held, letter, parked, row, write
from tests.stores.places import Place

NOISY = "é \x00 \ud800"
PLAIN = "é \\x00 \\ud800"


def in_one(store: Any, step: Callable[[Any], Any]) -> Any:
    with store.transaction() as tx:
        return step(tx)


@pytest.fixture
def store(place: Place) -> Any:
    """A store with four letters of two keys, and one without a key."""
    store = place.open()
    letters = [
        letter(1, "ValueError: a: b", first_at=5.0, last_at=6.0),
        letter(2, "ValueError: c", version=2, last_at=7.0),
        letter(3, "late", key="b", reason=Reason.LATE, first_at=1.0, last_at=2.0),
        letter(4, "no JSON", key=None, version=None, event_id=None, reason=Reason.MALFORMED, first_at=9.0, last_at=9.0),
    ]
    write(store, what=changes(letters=letters))
    return store


def test_a_letter_is_closed_once_with_its_outcome(store: Any) -> None:
    assert in_one(store, lambda tx: tx.close_letter(1, "resolved", "applied", NOISY, 8.0))
    assert not in_one(store, lambda tx: tx.close_letter(1, "skipped", "skipped", "", 9.0))
    found = store.letter(1)
    assert (found.status, found.note, found.resolved_at) == ("resolved", PLAIN, 8.0)


def test_a_letter_that_failed_again_stays_open(store: Any) -> None:
    assert in_one(store, lambda tx: tx.letter_failed(1, NOISY, NOISY, 8.0))
    in_one(store, lambda tx: tx.close_letter(2, "skipped", "skipped", "", 9.0))
    assert not in_one(store, lambda tx: tx.letter_failed(2, "again", None, 8.0))
    found = store.letter(1).letter
    assert (found.detail, found.error, found.attempts, found.last_at) == (PLAIN, PLAIN, 5, 8.0)


def test_the_open_letters_of_a_key_are_told_in_the_order_they_came(place: Place, store: Any) -> None:
    in_one(store, lambda tx: tx.letter_failed(1, "again", None, 8.0))
    place.url += place.without_indexes
    assert [number for number, *_ in place.look().open_letters_of("a")] == [1, 2]


def test_letters_are_grouped_by_reason(store: Any) -> None:
    found = [(each.reason, each.kind, each.letters, each.keys) for each in store.letters_by_reason()]
    assert found == [("failed", "ValueError", 2, 1), ("late", "", 1, 1), ("malformed", "", 1, 0)]
    first = store.letters_by_reason()[0]
    assert (first.first_at, first.last_at, first.first_id, first.example) == (1.0, 7.0, 1, "ValueError: c")
    assert [each.reason for each in store.letters_by_reason(status="open", since=6.5)] == ["failed", "malformed"]
    assert [each.reason for each in store.letters_by_reason(reason="late", key="b")] == ["late"]


def test_letters_are_grouped_by_key(store: Any) -> None:
    found = [(each.key, each.letters, each.first_version, each.partition) for each in store.letters_by_key(10)]
    assert found == [("a", 2, 1, "orders/0"), ("b", 1, 1, "orders/0"), (None, 1, None, "orders/0")]
    assert [each.key for each in store.letters_by_key(1)] == ["a"]
    assert [each.key for each in store.letters_by_key(9, status="open", reason="late", key="b")] == ["b"]
    assert store.open_letters_of("a") == [(1, 1, "failed"), (2, 2, "failed")]


def test_what_is_full_is_found(store: Any) -> None:
    assert store.open_letters(3) == 3
    assert store.open_letters(9) == 4
    assert store.crowded_keys(2) == {"a"}
    assert store.crowded_keys(3) == set()


def test_what_waits_behind_a_key_is_counted(store: Any) -> None:
    write(store, [row("a", 0, waits=True)], changes(held=[held("a", 5), held("a", 9)]))
    assert store.held_versions("a") == (2, 5, 9)
    assert store.held_versions("b") == (0, None, None)


def test_the_last_edit_counts_and_all_are_kept(store: Any) -> None:
    assert store.edited(1) is None
    one = in_one(store, lambda tx: tx.add_edit(1, b"\x00one", "ann", "typo", 5.0))
    two = in_one(store, lambda tx: tx.add_edit(1, b"two", "bob", NOISY, 6.0))
    assert store.edited(1) == b"two"
    assert store.edits(1) == [
        EditRow(id=one, at=5.0, actor="ann", reason="typo", value=b"\x00one"),
        EditRow(id=two, at=6.0, actor="bob", reason=PLAIN, value=b"two"),
    ]


def test_a_plan_is_kept_as_it_was_made(store: Any) -> None:
    draft = PlanRow(
        handler="bank:balance",
        code_version="1.2",
        made_at=5.0,
        actor="ann",
        reason="fixed",
        selection={"keys": ["a"]},
        held=3,
        event_s=0.25,
    )
    letters = [PlanLetter(place=n, letter=n + 1, key="a", version=n, forecast="applied") for n in range(1_200)]
    number = in_one(store, lambda tx: tx.add_plan(draft, letters))
    assert store.plan(number) == msgspec.structs.replace(draft, id=number)
    assert store.plan(number + 1) is None
    assert store.plans() == [store.plan(number)]
    assert store.stream_of_plan(number) == "orders"
    assert store.stream_of_letter(1) == "orders"
    assert store.stream_of_letter(99) is None
    assert list(store.plan_letters(number)) == letters
    assert store.plan_forecasts(number) == {"applied": 1_200}
    in_one(store, lambda tx: tx.plan_letter_done(number, 2, "applied", NOISY, 9.0))
    assert store.plan_results(number) == {None: 1_199, "applied": 1}
    done = list(store.plan_letters(number))[1]
    assert (done.result, done.detail, done.tried_at) == ("applied", PLAIN, 9.0)


def test_the_audit_is_only_ever_added_to(place: Place, store: Any) -> None:
    rows = [
        AuditRow(at=5.0, actor="ann", action="skip", reason="gone", letter=1, key="a", version=1, outcome="skipped"),
        AuditRow(at=6.0, actor="bob", action="replay", reason="fixed", plan=7, detail="all of it"),
    ]
    for each in rows:
        with store.transaction() as tx:
            tx.add_audit(each)
    found = list(store.audit())
    assert [msgspec.structs.replace(each, id=0) for each in found] == rows
    assert list(store.audit(plan=7)) == found[1:]
    assert list(store.audit(letter=1, key="a")) == found[:1]
    assert list(store.audit(since=5.5)) == found[1:]
    for change in ("UPDATE {} SET actor = 'eve'", "DELETE FROM {}"):
        with pytest.raises(Exception, match="only ever added to"), store.transaction() as tx:
            tx.execute(change.format(place.audit_table))


def test_overdue_keys_are_found_whoever_was_to_wake_them(store: Any) -> None:
    waits = {
        "a": gap(2, 5.0),
        "b": gap(2, 50.0),
        "c": Waiting(Wait.PARKED, 2, 1.0, 5.0, home=HERE),
        "d": parked(2),
        "e": gap(2, 0.0, THERE),
    }
    write(store, [row(key, 0, waits=True) for key in waits], changes(waits=waits))
    assert store.overdue(10.0, [HERE]) == {"a": waits["a"]}
    assert store.overdue(10.0, [HERE, THERE]) == {key: waits[key] for key in "ae"}
    assert store.overdue(10.0, [Partition("other", 0)]) == {}


def test_the_fence_of_a_partition_is_told(store: Any) -> None:
    assert store.fence_of(HERE) == 0
    token = store.acquire([HERE])[HERE]
    assert store.fence_of(HERE) == token


def test_a_message_that_quotes_what_no_database_takes_is_kept(store: Any) -> None:
    noisy = letter(9, NOISY, error=NOISY, key=NOISY, event_id=NOISY)
    write(store, [row("a", 0, waits=True)], changes(letters=[noisy], waits={"a": parked(2, NOISY)}))
    *_, found = store.letters()
    assert found.letter == letter(9, PLAIN, error=PLAIN, key=PLAIN, event_id=PLAIN)
    assert store.load(["a"])["a"].waiting.reason == PLAIN
