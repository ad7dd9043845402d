"""What every store says of workers and of what waits, for whoever watches. Each kind of store passes all of it."""

from __future__ import annotations

from inorder.core.waiting import Wait, Waiting
from tests.stores.making import HERE, THERE, changes, gap, held, letter, parked, row, write
from tests.stores.places import Place


def test_a_worker_is_told_of_until_it_ends(place: Place) -> None:
    store, look = place.open(), place.look()
    first, second = store.tally("1"), store.tally("2")
    assert look.workers() == []
    assert store.beat(second, [], 0.0)
    assert store.beat(first, [HERE, THERE], 12.5)
    one, other = look.workers()
    assert (one.tally, one.worker, one.partitions, one.events_per_s) == (first, "1", [HERE, THERE], 12.5)
    assert (other.tally, other.worker, other.partitions) == (second, "2", [])
    assert 0 <= one.silent_s < 60
    assert 0 <= one.runs_s < 60
    assert store.beat(first, None, 0.0)
    assert [each.tally for each in look.workers()] == [second]


def test_a_worker_that_was_silent_for_a_day_is_not_told_of(place: Place) -> None:
    store = place.open()
    assert store.beat(store.tally("1"), [HERE], 0.0)
    tallies = place.audit_table.removesuffix("audit") + "tallies"

    def pass_s(seconds: float) -> None:
        with store.transaction() as tx:
            tx.execute(f"UPDATE {tallies} SET beat_at = beat_at - {seconds}")

    pass_s(80_000)
    [worker] = store.workers()
    assert 80_000 <= worker.silent_s < 86_400
    pass_s(6_400)
    assert store.workers() == []


def test_workers_of_another_stream_are_not_told_of(place: Place) -> None:
    store = place.open()
    store.beat(store.tally("1"), [HERE], 1.0)
    assert place.look("unknown").workers() == []


def test_what_waits_is_summed_up(place: Place) -> None:
    store = place.open()
    waits = {"a": gap(2), "b": parked(3), "c": parked(9), "d": Waiting(Wait.RETRY, 1, 7.5, 9.0, attempts=1, home=HERE)}
    early = [held("a", 3), held("b", 4), held("b", 5)]
    write(store, [row(key, 0, waits=True) for key in waits], changes(held=early, waits=waits))
    assert store.waits() == {"gap": (1, 1.5), "parked": (2, 2.5), "retry": (1, 7.5)}
    assert [(key, one.version) for key, one in store.longest_parked(1)] == [("b", 3)]
    assert len(store.longest_parked(5)) == 2
    assert store.held_most(1) == [("b", 2)]
    assert store.held_most(5) == [("b", 2), ("a", 1)]


def test_only_open_letters_are_to_do(place: Place) -> None:
    store = place.open()
    letters = [letter(1, first_at=5.0), letter(2, key="b", first_at=3.0), letter(3, key=None), letter(4)]
    write(store, what=changes(letters=letters))
    done = next(each.id for each in store.letters() if each.letter.record.offset == 4)
    with store.transaction() as tx:
        tx.resolve_letter(done, "resolved")
    [found] = store.open_reasons()
    assert (found.reason, found.letters, found.keys, found.first_at) == ("failed", 3, 2, 1.0)
