"""Every key comes up once when it is due, and not before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inorder.core.waiting import AT_ONCE, NEVER, Wait, Waiting
from inorder.worker.timers import SPARE, Timers
from tests.core.profiles import examples

waitings = st.one_of(
    st.none(),
    st.builds(
        Waiting,
        st.sampled_from(Wait),
        st.just(1),
        st.just(0.0),
        st.sampled_from([AT_ONCE, 1.0, 2.0, 3.0, 5.0, NEVER]),
    ),
)
words = st.dictionaries(st.sampled_from("abcd"), waitings, max_size=3)


@given(st.lists(st.one_of(words, st.tuples(st.floats(0, 6), st.integers(1, 3)))))
@examples(400)
def test_the_last_word_on_a_key_counts_and_is_forgotten_when_it_is_taken(
    course: list[dict[str, Waiting | None] | tuple[float, int]],
) -> None:
    timers = Timers()
    waits: dict[str, Waiting] = {}
    for step in course:
        if isinstance(step, dict):
            timers.note(step)
            for key, waiting in step.items():
                waits.pop(key, None)
                if waiting is not None and waiting.due_at < NEVER:
                    waits[key] = waiting
        else:
            now, most = step
            taken = timers.take(now, most)
            due = sorted((waiting.due_at, key) for key, waiting in waits.items() if waiting.due_at <= now)
            assert taken == [key for _, key in due[:most]]
            for key in taken:
                del waits[key]
        assert timers.next() == min((waiting.due_at for waiting in waits.values()), default=NEVER)
        assert timers.urgent == any(waiting.urgent for waiting in waits.values())


def test_what_has_been_replaced_takes_no_room_until_its_time() -> None:
    timers = Timers()
    for n in range(5 * SPARE):
        timers.note({f"k{n}": Waiting(Wait.GAP, 1, 0.0, due_at=300.0 + n)})
        if n >= 10:
            timers.note({f"k{n - 10}": None})
        assert len(timers._heap) <= 2 * len(timers.all()) + SPARE
    assert timers.take(1e6) == [f"k{n}" for n in range(5 * SPARE - 10, 5 * SPARE)]
    assert timers.next() == NEVER


def test_what_stays_when_room_is_made_is_in_the_order_of_its_times() -> None:
    timers = Timers()
    timers.note({f"k{n}": Waiting(Wait.GAP, 1, 0.0, due_at=100.0 - n) for n in range(10)})
    for n in range(2 * SPARE):
        timers.note({"again": Waiting(Wait.GAP, 1, 0.0, due_at=500.0 + n)})
    assert timers.take(1e6) == [*(f"k{n}" for n in reversed(range(10))), "again"]
