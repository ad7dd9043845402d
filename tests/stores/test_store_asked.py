"""What every store answers, whatever it is asked: of one stream alone, page by page, in order, and no more of it.

Each kind of store passes all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import msgspec
import pytest

from inorder.core.event import Partition
from inorder.core.rows import Letter, Reason
from inorder.core.waiting import Wait, Waiting
from inorder.errors import Fenced
from inorder.stores import letter_reading, reading
from inorder.stores.letter_rows import AuditRow, PlanLetter, PlanRow
from tests.stores.making import HERE, THERE, changes, gap, held, letter, parked, row, write
from tests.stores.places import Place

ELSEWHERE = Partition("other", 0)
WAITS = {
    "a": gap(2, 5.0),
    "b": parked(3),
    "c": Waiting(Wait.RETRY, 2, 7.0, 4.0, attempts=1, home=HERE),
    "d": Waiting(Wait.RETRY, 2, 6.0, 9.0, attempts=1, home=THERE),
    "e": Waiting(Wait.PARKED, 9, 0.5, attempts=4, home=THERE),
    "f": Waiting(Wait.GAP, 4, 0.25, 3.0, home=HERE),
    "g": Waiting(Wait.PARKED, 9, 0.75, 2.0, attempts=4, home=HERE),
}
PLAN = PlanRow(handler="bank:balance", code_version=None, made_at=5.0, actor="ann", reason="fixed", selection={})


def in_one(store: Any, step: Callable[[Any], Any]) -> Any:
    with store.transaction() as tx:
        return step(tx)


def fill(store: Any, salt: int, closed: int = 1) -> Any:
    """Something of everything. `salt` makes that of one stream differ from that of another. Returns a plan's number."""
    tally = store.tally(f"worker {salt}")
    store.beat(tally, [HERE], float(salt))
    fences = store.acquire([HERE, ELSEWHERE] if salt else [HERE, THERE])
    letters = [
        letter(1, "TypeError: x", key="z", first_at=3.0, last_at=4.0, reason=Reason.LATE),
        letter(2, "ValueError: a: b", first_at=2.0, last_at=8.0),
        letter(3, "ValueError: c", key="b", first_at=1.0, last_at=6.0),
        letter(4, "KeyError: d", key="b", version=2, first_at=1.0, last_at=7.0 + salt),
        letter(5, "no JSON", key=None, version=None, event_id=None, reason=Reason.MALFORMED, first_at=9.0, last_at=9.0),
        letter(6, "no JSON", key=None, version=None, event_id=None, reason=Reason.MALFORMED, first_at=9.5, last_at=9.5),
        letter(7, "ValueError: e", key="y", first_at=0.5, last_at=0.75),
    ]
    if salt:
        letters.append(letter(8, key="c"))
    early = [held("a", 9), held("a", 4 + salt), held("c", 2), held("d", 2), held("d", 3), held("d", 7), held("f", 5)]
    more = {"x": Waiting(Wait.RETRY, 2, 0.125, 8.0, attempts=1, home=HERE), "a": gap(3, 6.0), "b": parked(4)}
    waits = WAITS | more if salt else WAITS
    what = changes(tally, early, letters=letters, waits=waits, counts={"received": 5 + salt, "applied": 2})
    keys = "xhgfedcba" if salt else "hgfedcba"
    rows = [row(key, 0, salt + 1, state=b"%d" % salt, waits=key in waits) for key in keys]
    write(store, rows, what, {HERE: fences[HERE]})
    numbers = [each.id for each in store.letters()]

    def operate(tx: Any) -> Any:
        assert tx.close_letter(numbers[6], "resolved", "applied", "", 8.0)
        for value in (b"one", b"two %d" % salt):
            tx.add_edit(numbers[0], value, "ann", "typo", 5.0)
        tx.set_exported("here", numbers[salt])
        tx.set_exported("there", numbers[3])
        places = [
            PlanLetter(place=place, letter=numbers[place], key="a", version=1, forecast="gap" if place else "applied")
            for place in (3, 1, 2, 0)
        ]
        older = tx.add_plan(PLAN, places[:2])
        plan = tx.add_plan(PLAN, places)
        tx.plan_letter_done(plan, numbers[1], "applied", None, 9.0)
        for at, key in ((7.0, "a"), (5.0, "b"), (6.0, "a")):
            tx.add_audit(
                AuditRow(at=at, actor="ann", action="skip", reason="gone", letter=numbers[0], plan=plan, key=key)
            )
        return older, plan

    return in_one(store, operate)


def everything(store: Any, letters: list[int], plans: list[int]) -> dict[str, Any]:
    """What the store says, of whatever it is asked. Numbers are those of all streams."""
    return {
        "states": list(store.states()),
        "some": list(store.states(["h", "a", "nobody"])),
        "entities": [
            (key, one.version, one.revision, one.stored_state, one.waiting, sorted(one.held.items()))
            for key, one in sorted(store.load(["a", "b", "c", "h", "nobody"]).items())
        ],
        "held": store.held("a", 5),
        "first held": store.held("a", 1),
        "together": store.held_together(["a", "c", "d"], 2),
        "due": store.due([HERE, THERE]),
        "counts": store.counts(),
        "letters": list(store.letters()),
        "open": [one.id for one in store.letters(status="open")],
        "late": [one.id for one in store.letters(reason="late")],
        "of a key": [one.id for one in store.letters(key="b")],
        "each": [store.letter(one) for one in letters],
        "letter counts": store.letter_counts(),
        "reasons": store.letters_by_reason(),
        "keys": store.letters_by_key(9),
        "open of": [store.open_letters_of(key) for key in "abyz"],
        "open letters": store.open_letters(99),
        "crowded": sorted(store.crowded_keys(2)),
        "parked": list(store.parked()),
        "longest": store.longest_parked(9),
        "parked count": store.parked_count(),
        "waits": store.waits(),
        "waiting": store.waiting_counts(),
        "alone": list(store.waiting_alone(9).items()),
        "open reasons": store.open_reasons(),
        "held most": store.held_most(9),
        "held count": [store.held_count(), store.held_count("a")],
        "held events": store.held_events(99),
        "held versions": store.held_versions("a"),
        "workers": [(one.tally, one.partitions) for one in store.workers()],
        "edits": [store.edits(one) for one in letters],
        "edited": [store.edited(one) for one in letters],
        "exported": [store.exported("here"), store.exported("there")],
        "plans": store.plans(),
        "plan": [store.plan(one) for one in plans],
        "audit": list(store.audit()),
        "overdue": list(store.overdue(9.5, [HERE, THERE]).items()),
        "retried": list(store.retried(9).items()),
        "fences": [store.fence_of(partition) for partition in (HERE, THERE, ELSEWHERE)],
    }


def is_nothing(value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else value
    return not value or (isinstance(value, list | tuple | dict) and all(map(is_nothing, inside)))


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (reading, letter_reading):
        monkeypatch.setattr(module, "PAGE", 2)


def test_nothing_of_one_stream_is_told_of_another_nor_changed_with_it(place: Place) -> None:
    one, other, nobody = place.open("one"), place.open("other"), place.open("nobody")
    plans = list(fill(one, 0))
    letters = [each.id for each in one.letters()]
    before, empty = everything(one, letters, plans), everything(nobody, letters, plans)
    assert [name for name, value in empty.items() if not is_nothing(value)] == []
    plans += fill(other, 1)
    letters += [each.id for each in other.letters()]
    assert [each.name for each in one.streams()] == ["nobody", "one", "other"]
    assert everything(one, letters[:7], plans[:2]) == before
    assert everything(nobody, letters[:7], plans[:2]) == empty
    assert [one.letter(number) for number in letters[7:]] == [None] * 8
    assert [one.plan(number) for number in plans] == [*before["plan"], None, None]
    assert [one.stream_of_plan(number) for number in plans] == ["one", "one", "other", "other"]
    assert [one.stream_of_letter(number) for number in letters] == ["one"] * 7 + ["other"] * 8

    def meddle(tx: Any) -> None:
        assert not tx.close_letter(letters[0], "resolved", "applied", "", 8.0)
        assert not tx.letter_failed(letters[1], "again", None, 8.0)
        assert not tx.resolve_letter(letters[2], "skipped")
        tx.add_edit(letters[0], b"of another", "eve", "", 8.0)
        tx.set_exported("here", 99)

    in_one(other, meddle)
    keys = "abcdefgh"
    released = [("a", 9), ("a", 4), ("c", 2), ("d", 2)]
    write(other, [row(key, 1, 7) for key in keys], changes(released=released, waits=dict.fromkeys(keys)))
    other.beat(2, None, 0.0)
    assert everything(one, letters[:7], plans[:2]) == before


def test_it_is_told_in_order_and_page_by_page(place: Place, monkeypatch: pytest.MonkeyPatch, small_pages: None) -> None:
    place.url += place.without_indexes
    store = place.open()
    older, plan = fill(store, 0)
    write(store, [row("b", 1, 1, waits=True)], changes(waits={"b": WAITS["b"]}))
    numbers = [each.id for each in store.letters()]
    selects = store._select

    def select(statement: str, **parameters: Any) -> Any:
        found = selects(statement, **parameters)
        assert statement == "held_together" or len(found) <= parameters.get("most", len(found)), statement
        return found

    monkeypatch.setattr(store, "_select", select)
    found = everything(store, numbers, [older, plan])
    assert [key for key, *_ in found["states"]] == list("abcdefgh")
    assert [key for key, *_ in found["some"]] == ["a", "h"]
    assert [key for key, *_ in found["entities"]] == ["a", "b", "c", "h"]
    assert numbers == sorted(numbers)
    assert [each.version for each in found["held"]] == [4, 9]
    assert [each.version for each in found["first held"]] == [4]
    assert [(each.key, each.version) for each in found["together"]] == [
        ("a", 4), ("a", 9), ("c", 2), ("d", 2), ("d", 3),
    ]  # fmt: skip
    assert (found["open"], found["late"], found["of a key"]) == (numbers[:6], numbers[:1], numbers[2:4])
    assert [(one.reason, one.kind) for one in found["reasons"]] == [
        ("failed", "ValueError"), ("malformed", ""), ("failed", "KeyError"), ("late", "TypeError"),
    ]  # fmt: skip
    assert [one.key for one in found["keys"]] == ["y", "b", "a", "z", None]
    assert [key for key, _ in found["parked"]] == ["b", "e", "g"]
    assert [key for key, _ in found["longest"]] == ["e", "g", "b"]
    assert [key for key, _ in found["alone"]] == ["e", "g", "f", "d", "c"]
    assert found["held most"] == [("d", 3), ("a", 2), ("c", 1), ("f", 1)]
    assert found["edited"] == [b"two 0", *[None] * 6]
    assert [len(edits) for edits in found["edits"]] == [2, *[0] * 6]
    assert [one.id for one in store.plans(9)] == [plan, older]
    assert [one.id for one in store.plans(1)] == [plan]
    assert [one.at for one in found["audit"]] == [7.0, 5.0, 6.0]
    assert [key for key, _ in found["overdue"]] == list(store.overdue(9.0, [HERE, THERE])) == ["f", "c", "a", "d"]
    assert found["waiting"] == {"gap": 2, "parked": 3, "retry": 2}
    assert found["waits"] == {"gap": (2, 0.25), "parked": (3, 0.5), "retry": (2, 6.0)}
    assert [[number for number, *_ in letters] for letters in found["open of"]] == [
        numbers[1:2], numbers[2:4], [], numbers[:1],
    ]  # fmt: skip
    assert found["open letters"] == 6
    assert [(one.reason, one.letters, one.keys) for one in found["open reasons"]] == [
        ("failed", 3, 2), ("late", 1, 1), ("malformed", 2, 0),
    ]  # fmt: skip
    assert [key for key, _ in found["retried"]] == ["d", "c"]
    assert [one.place for one in store.plan_letters(plan)] == [0, 1, 2, 3]
    assert [one.place for one in store.plan_letters(older)] == [1, 3]


def test_of_many_only_as_many_are_told_as_are_asked_for(place: Place) -> None:
    store = place.open()
    fill(store, 0)
    assert [one.key for one in store.letters_by_key(2)] == ["y", "b"]
    assert [key for key, _ in store.longest_parked(2)] == ["e", "g"]
    assert list(store.waiting_alone(2)) == ["e", "g"]
    assert store.held_most(2) == [("d", 3), ("a", 2)]
    assert list(store.overdue(9.5, [HERE, THERE], 2)) == ["f", "c"]
    assert list(store.retried(1)) == ["d"]
    assert (store.open_letters(2), store.held_events(2)) == (2, 2)


def test_letters_are_chosen_by_each_of_what_they_can_be_chosen_by(place: Place) -> None:
    store = place.open()
    fill(store, 0)
    by_reason: Any = lambda **chosen: [(one.reason, one.letters) for one in store.letters_by_reason(**chosen)]  # noqa: E731
    by_key: Any = lambda **chosen: [one.key for one in store.letters_by_key(9, **chosen)]  # noqa: E731
    assert by_reason(status="open") == [("failed", 2), ("malformed", 2), ("failed", 1), ("late", 1)]
    assert by_reason(status="resolved") == [("failed", 1)]
    assert by_reason(reason="late") == [("late", 1)]
    assert by_reason(key="b") == [("failed", 1), ("failed", 1)]
    assert by_reason(since=9.0) == [("malformed", 2)]
    assert by_key(status="open") == ["b", "a", "z", None]
    assert by_key(status="resolved") == ["y"]
    assert by_key(reason="late") == ["z"]
    assert by_key(key="b") == ["b"]
    assert by_key(since=8.0) == ["a", None]
    [named] = store.letters_by_key(9, key="b")
    assert (named.letters, named.first_version, named.first_at, named.last_at) == (2, 1, 1.0, 7.0)
    assert named.first_id == next(one.id for one in store.letters(key="b"))
    [*_, lost] = store.letters_by_key(9)
    assert (lost.key, lost.first_at, lost.last_at) == (None, 9.0, 9.5)
    [first, *_] = store.letters_by_reason(reason="failed")
    assert (first.first_at, first.last_at, first.keys, first.example) == (0.5, 8.0, 3, "ValueError: e")


def moved(one: Letter, partition: Partition) -> Letter:
    return msgspec.structs.replace(one, record=msgspec.structs.replace(one.record, partition=partition))


def test_letters_without_a_key_are_told_apart_by_where_they_came_from(place: Place) -> None:
    store = place.open()
    lost: Any = {"key": None, "version": None, "event_id": None, "reason": Reason.MALFORMED}
    found = [letter(n, "no JSON", **lost) for n in range(3)]
    write(store, what=changes(letters=[*found[:2], moved(found[2], THERE)]))
    assert [(one.letters, one.partition) for one in store.letters_by_key(9)] == [(2, "orders/0"), (1, "orders/1")]


def test_keys_that_failed_at_the_same_moment_are_told_in_the_order_of_their_first_letters(place: Place) -> None:
    store = place.open()
    more = [moved(letter(3, key="b"), THERE), moved(letter(4, key="b"), ELSEWHERE)]
    write(store, what=changes(letters=[letter(1, key="b"), letter(2), *more]))
    found = store.letters_by_key(9)
    assert [(one.key, one.letters) for one in found] == [("b", 3), ("a", 1)]
    assert found[0].partition == "orders/0", "of several, the first"


def test_a_key_is_crowded_by_open_letters_alone(place: Place) -> None:
    store = place.open()
    write(store, what=changes(letters=[letter(1), letter(2), letter(3, key=None), letter(4, key=None)]))
    assert store.crowded_keys(2) == {"a"}
    first = next(store.letters()).id
    assert in_one(store, lambda tx: tx.close_letter(first, "resolved", "stale", "", 8.0))
    assert store.crowded_keys(2) == set()
    table = place.audit_table.removesuffix("audit") + "letters"
    outcomes = in_one(store, lambda tx: tx.execute(f"SELECT outcome FROM {table} ORDER BY id").fetchall())
    assert [found[0] for found in outcomes] == ["stale", None, None, None]


def test_a_letter_of_others_is_taken_over_once(place: Place) -> None:
    store = place.open()
    tally = store.tally("import")
    assert in_one(store, lambda tx: tx.import_letter(letter(1), tally))
    assert not in_one(store, lambda tx: tx.import_letter(letter(1), tally))
    assert in_one(store, lambda tx: tx.import_letter(letter(2), tally))
    assert [one.letter.record.offset for one in store.letters()] == [1, 2]


def test_the_audit_is_chosen_by_each_of_what_it_can_be_chosen_by(place: Place) -> None:
    store = place.open()
    _, plan = fill(store, 0)
    number = next(store.letters()).id
    in_one(store, lambda tx: tx.add_audit(AuditRow(at=1.0, actor="ann", action="edit", reason="", key="c")))
    at: Any = lambda **chosen: [one.at for one in store.audit(**chosen)]  # noqa: E731
    assert at(plan=plan) == at(letter=number) == [7.0, 5.0, 6.0]
    assert at(key="a") == [7.0, 6.0]
    assert at(since=6.0) == [7.0, 6.0]
    assert at() == [7.0, 5.0, 6.0, 1.0]


def test_a_plan_knows_only_what_became_of_its_own_letters(place: Place) -> None:
    store = place.open()
    older, plan = fill(store, 0)
    assert store.plan_results(older) == {None: 2}
    assert store.plan_results(plan) == {None: 3, "applied": 1}
    assert store.plan_forecasts(plan) == {"applied": 1, "gap": 3}
    assert store.plan_forecasts(older) == {"gap": 2}


def test_keys_that_wait_alone_are_chosen_by_key_and_time(place: Place) -> None:
    store = place.open()
    fill(store, 0)
    assert list(store.waiting_alone(9, key="c")) == ["c"]
    assert list(store.waiting_alone(9, key="b")) == [], "it has an open letter"
    assert list(store.waiting_alone(9, since=0.75)) == ["g", "d", "c"]
    write(store, what=changes(letters=[letter(9, key="c")]))
    assert list(store.waiting_alone(9, key="c")) == []
    [(number, *_)] = store.open_letters_of("c")
    assert in_one(store, lambda tx: tx.close_letter(number, "skipped", "skipped", "", 8.0))
    assert list(store.waiting_alone(9, key="c")) == ["c"], "its letter is not open any more"


def test_fences_and_copies_are_told_apart_by_all_of_their_names(place: Place) -> None:
    store = place.open()
    for _ in range(3):
        store.acquire([ELSEWHERE])
    fences = store.acquire([HERE]) | store.share([THERE])
    assert (fences, store.fence_of(ELSEWHERE)) == ({HERE: 1, THERE: 1}, 3)
    assert [store.fence_of(one) for one in (HERE, THERE)] == [1, 1]
    assert store.acquire([HERE, ELSEWHERE]) == {HERE: 2, ELSEWHERE: 4}
    assert store.share([HERE]) == {HERE: 2}
    assert [store.fence_of(one) for one in (HERE, THERE)] == [2, 1]
    in_one(store, lambda tx: tx.set_exported("here", 3))
    in_one(store, lambda tx: tx.set_exported("there", 5))
    in_one(store, lambda tx: tx.set_exported("here", 4))
    assert (store.exported("here"), store.exported("there"), store.exported("nowhere")) == (4, 5, 0)


def test_a_new_owner_waits_for_what_the_old_one_is_just_writing(place: Place) -> None:
    old, new = place.open(), place.open()
    fences = old.acquire([HERE])
    with ThreadPoolExecutor(1) as pool:
        with old.transaction() as tx:
            tx.write([row("a", 0)], changes(), fences)
            raised = pool.submit(new.acquire, [HERE])
            assert wait([raised], timeout=0.3).done == set(), "or it would read what is not written yet"
        assert raised.result() == {HERE: 2}
    assert new.load(["a"])["a"].revision == 1
    with pytest.raises(Fenced), old.transaction() as tx:
        tx.write([row("a", 1)], changes(), fences)
