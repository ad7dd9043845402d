"""What every store promises about dead letters and counts. Each kind of store passes all of it."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from inorder.core.event import Record
from inorder.core.rows import Letter, Reason
from tests.stores.making import HERE, changes, letter, write
from tests.stores.places import Place


def the_letters(store: Any, **only: str) -> list[Letter]:
    return [found.letter for found in store.letters(**only)]


def test_a_letter_comes_back_whole(place: Place) -> None:
    store = place.open()
    unreadable = Letter(
        reason=Reason.MALFORMED,
        detail="version: not a number",
        record=Record(HERE, 9, None, b"\x00\xff{", (("é", b"\x80"),)),
        key=None,
        version=None,
        event_id=None,
        first_at=1.5,
        last_at=2.5,
    )
    letters = [letter(1, error="Traceback"), unreadable, letter(2, value=None), letter(3, value=b"\xff" * 1_048_576)]
    write(store, what=changes(7, letters=letters))
    assert the_letters(store) == letters
    first, *_ = store.letters()
    assert (first.status, first.tally, first.note, first.resolved_at, first.code_version) == (
        "open",
        7,
        None,
        None,
        None,
    )
    assert store.letter(first.id) == first
    assert store.letter(10**9) is None


def test_a_redelivery_makes_no_second_letter(place: Place) -> None:
    store = place.open()
    first = letter(1, "first", error="one", first_at=1.0, last_at=2.0, attempts=4, code_version="1.0")
    again = letter(1, "again", error="two", first_at=8.0, last_at=9.0, attempts=3, code_version="1.1")
    write(store, what=changes(1, letters=[first]))
    write(store, what=changes(2, letters=[again]))
    (found,) = store.letters()
    assert (found.tally, found.code_version) == (1, "1.1")
    assert found.letter == letter(1, "again", error="two", first_at=1.0, last_at=9.0, attempts=7)


def test_what_is_read_only_now_is_put_into_the_open_letter_and_never_taken_out(place: Place) -> None:
    store = place.open()
    unread = letter(1, "unreadable", reason=Reason.MALFORMED, key=None, version=None, event_id=None)
    write(store, what=changes(1, letters=[unread]))
    write(store, what=changes(1, letters=[letter(1, "late", reason=Reason.LATE)]))
    (found,) = the_letters(store)
    assert (found.key, found.version, found.event_id, found.reason) == ("a", 1, "a-1", Reason.LATE)
    write(store, what=changes(1, letters=[unread]))
    (found,) = the_letters(store)
    assert (found.key, found.version, found.event_id, found.reason) == ("a", 1, "a-1", Reason.MALFORMED)


def test_a_conflict_that_comes_again_is_a_conflict_still(place: Place) -> None:
    store = place.open()
    for at in (2.0, 9.0):
        write(store, what=changes(letters=[letter(1, "claimed", reason=Reason.CONFLICT, last_at=at, attempts=1)]))
    assert the_letters(store) == [letter(1, "claimed", reason=Reason.CONFLICT, last_at=9.0, attempts=2)]


def test_what_parked_its_key_stays_a_failure_though_its_record_comes_again_as_a_conflict(place: Place) -> None:
    store = place.open()
    conflict, failed = (
        msgspec.structs.replace(letter(1, detail), reason=reason)
        for reason, detail in ((Reason.CONFLICT, "claimed"), (Reason.FAILED, "boom"))
    )
    for reason, given in ((Reason.CONFLICT, conflict), (Reason.FAILED, failed), (Reason.FAILED, conflict)):
        write(store, what=changes(letters=[given]))
        assert [found.reason for found in the_letters(store)] == [reason]
    assert [found.detail for found in the_letters(store)] == ["boom"]


def test_a_letter_that_was_dealt_with_stays_so(place: Place) -> None:
    store = place.open()
    write(store, what=changes(letters=[letter(1, "first")]))
    (number,) = [found.id for found in store.letters()]
    with store.transaction() as tx:
        assert tx.resolve_letter(number, "skipped", "never mind")
    write(store, what=changes(letters=[letter(1, "again")]))
    (found,) = store.letters()
    assert (found.status, found.letter.detail) == ("skipped", "first")


def test_another_record_at_the_same_position_has_its_own_letter(place: Place) -> None:
    store = place.open()
    write(store, what=changes(letters=[letter(1, value=b"of the old topic")]))
    write(store, what=changes(letters=[letter(1, value=b"of the new topic")]))
    assert [found.record.value for found in the_letters(store)] == [b"of the old topic", b"of the new topic"]


def test_a_letter_keeps_the_tally_of_its_delivery(place: Place) -> None:
    store = place.open()
    write(store, what=changes(2, letters=[letter(1, tally=1), letter(2)]))
    assert [found.tally for found in store.letters()] == [1, 2]


def test_a_letter_is_resolved_once(place: Place) -> None:
    store = place.open()
    write(store, what=changes(letters=[letter(1), letter(2)]))
    first, second = store.letters()
    with store.transaction() as tx:
        assert tx.resolve_letter(first.id, "resolved", "fixed in 1.2")
        assert not tx.resolve_letter(first.id, "skipped", "twice")
        assert not tx.resolve_letter(10**9, "skipped")
    resolved, still_open = store.letters()
    assert (resolved.status, resolved.note) == ("resolved", "fixed in 1.2")
    assert abs(resolved.resolved_at - time.time()) < 60
    assert still_open == second
    assert store.letter_counts() == {"open": 1, "resolved": 1}


def test_letters_are_found_by_what_they_are(place: Place) -> None:
    store = place.open()
    letters = [letter(n, key=f"k{n % 3}", reason=[Reason.FAILED, Reason.LATE][n % 2]) for n in range(2_400)]
    write(store, what=changes(letters=letters))
    with store.transaction() as tx:
        for number in [found.id for found in store.letters(key="k1")][:10]:
            assert tx.resolve_letter(number, "resolved")
    assert the_letters(store) == letters
    assert the_letters(store, key="k2") == [each for each in letters if each.key == "k2"]
    assert the_letters(store, reason="late") == [each for each in letters if each.reason is Reason.LATE]
    assert len(the_letters(store, status="resolved")) == 10
    assert len(the_letters(store, status="open", key="k1", reason="failed")) == 395
    assert the_letters(store, key="unknown") == []


def test_counts_add_up(place: Place) -> None:
    store = place.open()
    one, two = store.tally("first"), store.tally("second")
    assert one != two
    write(store, what=changes(one, counts={"received": 5, "applied": 5}))
    write(store, what=changes(one, counts={"received": 2, "held": 2}))
    late = changes(two, counts={"received": 1, "applied": 1})
    late.count("held", -2, one)
    late.count("applied", 2, one)
    write(store, what=late)
    assert store.counts([one]) == {"received": 7, "applied": 7, "held": 0}
    assert store.counts([two]) == {"received": 1, "applied": 1}
    assert store.counts() == {"received": 8, "applied": 8, "held": 0}
    assert store.counts([]) == {}


def test_letters_compare_by_what_is_in_them() -> None:
    assert letter(1) == letter(1)
    assert letter(1) != msgspec.structs.replace(letter(1), attempts=5)
