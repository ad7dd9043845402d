"""While a fold's batch is written, the next one is decided: when, on what it rests, and what becomes of it.

Pure but for the last tests: the store is in memory, and what follows is decided before the transaction, in its thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from inorder.core.changes import Changes
from inorder.core.event import Record
from inorder.core.order import Outcome
from inorder.core.rows import HeldRow
from inorder.core.waiting import Wait
from inorder.errors import Fenced, HandlerTimeout, Mismatch, Unavailable, Unreachable
from inorder.proof.rough import AtOnce
from inorder.worker.ahead import Batch
from inorder.worker.effects import Finisher
from inorder.worker.job import Job, Turn
from inorder.worker.pool import Left, Pool
from tests.worker.batching import FENCES, Scene, Transaction, job
from tests.worker.bench import PATIENCE_S
from tests.worker.consumers import TX
from tests.worker.played import HERE, THERE


class Queue:
    """What a runner would say is next: the same until it is run."""

    def __init__(self, scene: Scene, *jobs: Job, due: Sequence[str] = ()) -> None:
        self.scene = scene
        self.turns = [Turn(one, [], FENCES) for one in jobs]
        self.due = list(due)
        """The keys that are due with the second turn."""
        self.asked = 0

    def next(self) -> Turn | None:
        self.asked += 1
        return self.turns[0]._replace(due=self.due) if self.turns else None

    def run(self) -> None:
        """The first, while what follows is known."""
        turn = self.turns.pop(0)
        self.scene.batches.run(*turn, self.next)

    def run_all(self) -> str:
        """One after the other. Returns what was called and what was done in the store, as it came."""
        self.scene.calls = self.scene.store.log
        self.run()
        while self.turns:
            due, self.due = self.due, []
            turn = self.turns.pop(0)
            self.scene.batches.run(turn.job, due, turn.fences, self.next)
        return ",".join(self.scene.since())


def test_what_follows_is_decided_once_before_what_it_follows_is_written() -> None:
    scene = Scene(helper=AtOnce())
    queue = Queue(scene, job("a1 b1"), job("a2 c1"), job("a3"))
    assert queue.run_all() == "a1,b1,a2,c1,write a b,commit,a3,write a c,commit,write a,commit"
    assert scene.states() == {"a": [1, 2, 3], "b": [1], "c": [1]}
    assert scene.store.loaded == [["a", "b"], ["c"]], "what was written is still known"
    assert scene.store.counts([3])["applied"] == 5
    assert [told for told in scene.seen.told if told[0] == "committed"] == [
        ("committed", ["a", "b"]),
        ("committed", ["a", "c"]),
        ("committed", ["a"]),
    ]
    scene.run(job("a4"))
    assert scene.store.loaded == [["a", "b"], ["c"]]


def test_what_follows_is_written_under_the_fences_of_where_it_came_from() -> None:
    scene = Scene(helper=AtOnce())
    Queue(scene, job("a1"), job("b1", THERE)).run_all()
    assert scene.store.fences == [{HERE: 7}, {THERE: 8}]


@pytest.mark.parametrize("refusal", [Mismatch(["a"]), Unreachable("away")], ids=["mismatch", "away"])
def test_what_was_decided_ahead_falls_with_what_it_rests_on(refusal: Exception) -> None:
    scene = Scene(helper=AtOnce())
    queue = Queue(scene, job("a1 b1"), job("a2 c1"))
    scene.store.refusals = [refusal]
    first = queue.turns[0]
    if isinstance(refusal, Unreachable):
        with pytest.raises(Unreachable):
            queue.run()
        queue.turns.insert(0, first)
    done = queue.run_all()
    assert done.endswith("write a b,a1,b1,a2,c1,write a b,commit,write a c,commit")
    assert scene.states() == {"a": [1, 2], "b": [1], "c": [1]}
    assert scene.store.counts([3])["applied"] == 4
    assert scene.store.counts([3])["received"] == 4


def test_what_was_decided_ahead_of_a_partition_that_is_lost_is_decided_anew() -> None:
    scene = Scene(helper=AtOnce())
    queue = Queue(scene, job("a1"), job("a2", THERE))
    scene.store.refusals = [Fenced([HERE])]
    queue.run_all()
    assert scene.states() == {}, "the second waits for the first, which is another's to deliver"
    assert [(row.key, row.version) for row in scene.store.held("a", 9)] == [("a", 2)]


def test_a_batch_that_is_refused_itself_is_decided_anew() -> None:
    scene = Scene(helper=AtOnce())
    queue = Queue(scene, job("a1"), job("a2"))
    scene.calls = scene.store.log
    queue.run()
    scene.store.refusals = [Mismatch(["a"])]
    queue.run()
    assert ",".join(scene.since()) == "a1,a2,write a,commit,write a,a2,write a,commit"
    assert scene.states() == {"a": [1, 2]}


def test_nobody_asks_what_follows_where_a_handler_has_its_own_transaction() -> None:
    scene = Scene(TX, helper=AtOnce())
    queue = Queue(scene, job("a1"), job("a2"))
    queue.run()
    assert queue.asked == 0


def test_nobody_asks_what_follows_where_nobody_helps() -> None:
    scene = Scene()
    queue = Queue(scene, job("a1"), job("a2"))
    queue.run()
    assert queue.asked == 0
    scene.batches.abandon()
    scene.batches.close()


def test_an_event_that_is_barred_is_not_decided_ahead_and_others_are() -> None:
    scene = Scene(helper=AtOnce())
    scene.effect.barred["b", 1] = HandlerTimeout("ran for more than 1 s")
    queue = Queue(scene, job("a1"), job("b1 c1"), job("d1"))
    assert queue.run_all() == "a1,write a,commit,d1,c1,write b c,commit,write d,commit".replace("d1,c1", "c1,d1")
    assert scene.effect.barred == {}, "it is a retry now"
    scene.effect.barred["z", 1] = HandlerTimeout("ran for more than 1 s")
    queue = Queue(scene, job("a2"), job("c2"))
    assert queue.run_all() == "a2,c2,write a,commit,write c,commit"


def test_what_waited_and_cannot_be_read_back_is_not_decided_ahead() -> None:
    scene = Scene(helper=AtOnce())
    scene.run(job("a2"))
    rows = scene.store.held_together
    spoiled = Record(HERE, 0, b"", b"{")
    scene.store.held_together = lambda keys, most: [  # type: ignore[method-assign]
        msgspec.structs.replace(row, record=spoiled) for row in rows(keys, most)
    ]
    scene.since()
    queue = Queue(scene, job("b1"), job("a1"))
    assert queue.run_all() == "b1,write b,commit,a1,a1,write a,commit", "again, for what failed after it"
    assert [row.letter.version for row in scene.store.letters()] == [2]
    assert scene.effect.barred == {}


def test_nobody_asks_what_follows_what_has_lost_a_part_for_want_of_room() -> None:
    scene = Scene(room=True, held=1, helper=AtOnce())
    queue = Queue(scene, job("a1 b2 c2 a2"), job("a3"))
    queue.run()
    assert queue.asked == 0
    assert (len(scene.batches.aside), scene.states()) == (1, {"a": [1]})


def test_what_waits_of_a_key_that_is_set_going_is_what_will_wait_then() -> None:
    scene = Scene(helper=AtOnce())
    scene.run(job("a2 b1"))
    scene.since()
    queue = Queue(scene, job("a3"), job("b2 a1"))
    assert queue.run_all() == "b2,a1,a2,a3,write a,commit,write a b,commit"
    assert scene.states() == {"a": [1, 2, 3], "b": [1, 2]}
    assert (scene.store.held_events(9), scene.waiting("a")) == (0, None)


def test_what_waits_of_a_key_that_is_due_is_what_will_wait_then() -> None:
    scene = Scene(helper=AtOnce(), poll_events=1)
    scene.run(job("a2 a3 b1"))
    scene.since()
    queue = Queue(scene, job("a1 a4"), job("b2"), due=["a"])
    assert queue.run_all() == "a1,b2,a2,a3,a4,write a,commit,write a b,commit"
    assert scene.states() == {"a": [1, 2, 3, 4], "b": [1, 2]}
    assert (scene.store.held_events(9), scene.waiting("a")) == (0, None)
    assert scene.store.loaded == [["a", "b"]], "a key that was changed is not taken for another's"


def test_what_a_batch_does_to_what_waits() -> None:
    rows = {(row.key, row.version): row for row in (held("a", 2), held("a", 4), held("b", 1))}
    changes = Changes(3)
    changes.released |= {("a", 2), ("a", 4)}
    for row in (held("a", 4), held("a", 3), held("c", 1)):
        changes.held[row.key, row.version] = row
    after = Batch(Job(), [], changes, 0.0).held_after(rows.values(), {"a", "b"})
    assert [(row.key, row.version) for row in after] == [("a", 3), ("a", 4), ("b", 1)]
    assert after[1] is changes.held["a", 4]


def test_a_key_that_is_due_and_was_left_alone_is_looked_at_ahead() -> None:
    scene = Scene(helper=AtOnce(), poll_events=1)
    scene.run(job("a2 a3"))
    scene.run(job("a1"))
    scene.since()
    queue = Queue(scene, job("b1"), job("c1"), due=["a"])
    assert queue.run_all() == "b1,c1,a2,a3,write b,commit,write a c,commit"
    assert scene.store.read_back == ["a"]
    assert scene.states()["a"] == [1, 2, 3]


def test_an_entity_that_found_no_room_in_memory_is_not_read_before_it_is_written() -> None:
    scene = Scene(cache_bytes=2_000, helper=AtOnce())
    queue = Queue(scene, job("a1 b1 c1 d1 e1 f1"), job("a2 b2 c2 d2 e2 f2"))
    queue.run()
    assert scene.calls == ["a1", "b1", "c1", "d1", "e1", "f1"]
    assert len(scene.store.loaded) == 1
    queue.run()
    assert len(scene.store.loaded) == 2
    assert set(map(len, scene.states().values())) == {2}


def test_what_cannot_be_read_ahead_is_read_when_its_turn_comes() -> None:
    scene = Scene(helper=AtOnce())
    queue = Queue(scene, job("a1"), job("a2 b1"))
    load = scene.store.load

    def away(keys: Sequence[str]) -> Any:
        if "b" in keys:
            raise Unreachable("away")
        return load(keys)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scene.store, "load", away)
        queue.run()
    assert scene.states() == {"a": [1]}
    assert len(scene.batches.cache) == 0, "of what was about to be changed nothing is believed"
    queue.run()
    assert scene.states() == {"a": [1, 2], "b": [1]}


def test_what_fails_ahead_fails_when_its_turn_comes_and_not_before() -> None:
    scene = Scene(helper=AtOnce())
    scene.fails["b1"] = Unavailable("what the handler needs is down")
    queue = Queue(scene, job("a1"), job("a2 b1"))
    queue.run()
    assert scene.states() == {"a": [1]}
    with pytest.raises(BaseException, match="what the handler needs is down"):
        queue.run()
    assert scene.states() == {"a": [1]}
    scene.fails.clear()
    scene.run(job("a2 b1"))
    assert scene.states() == {"a": [1, 2], "b": [1]}


def test_an_event_that_fails_ahead_is_tried_again_once() -> None:
    scene = Scene(helper=AtOnce())
    scene.fails["b1"] = ValueError("no")
    Queue(scene, job("a1"), job("a2 b1"), job("c1")).run_all()
    waiting = scene.waiting("b")
    assert waiting is not None
    assert (waiting.why, waiting.attempts) == (Wait.RETRY, 1)
    assert scene.batches.timers.all() == {"b": waiting.due_at}
    assert scene.states() == {"a": [1, 2], "c": [1]}


def test_what_is_discarded_is_decided_anew() -> None:
    scene = Scene(helper=AtOnce())
    queue = Queue(scene, job("a1"), job("a2 b1", THERE))
    scene.calls = scene.store.log
    queue.run()
    scene.batches.discard()
    scene.batches.discard()
    queue.turns[0].job.without([THERE])
    queue.run()
    scene.run(job("a2"))
    assert ",".join(scene.since()) == "a1,a2,b1,write a,commit,a2,write a,commit"
    assert scene.states() == {"a": [1, 2]}


def test_what_was_decided_ahead_does_not_hold_for_another_job() -> None:
    scene = Scene(helper=AtOnce())
    queue = Queue(scene, job("a1"), job("a2"))
    queue.run()
    scene.run(job("b1"))
    scene.run(job("a2"))
    assert scene.states() == {"a": [1, 2], "b": [1]}
    assert scene.calls == ["a1", "a2", "b1", "a2"]


def test_what_is_about_to_be_written_takes_room_from_what_follows() -> None:
    scene = Scene(room=True, held=1, helper=AtOnce())
    queue = Queue(scene, job("a2"), job("b2"))
    queue.run()
    queue.run()
    assert [error.first.key for error, _ in scene.batches.aside] == ["b"]
    assert scene.store.held_events(9) == 1


def test_what_was_not_written_takes_no_room() -> None:
    scene = Scene(room=True, held=1, helper=AtOnce())
    scene.store.refusals = [Unreachable("away")]
    with pytest.raises(Unreachable):
        scene.run(job("a2"))
    scene.run(job("b2"))
    assert (scene.batches.aside, scene.store.held_events(9)) == ([], 1)


def test_what_was_decided_ahead_is_not_written_where_what_it_rests_on_was_not() -> None:
    scene = Scene(helper=AtOnce())
    queue = Queue(scene, job("a1"), job("a2"))
    scene.store.refusals = [Unreachable("away")]
    with pytest.raises(Unreachable):
        queue.run()
    queue.run()
    assert (scene.states(), scene.store.fences, scene.seen.told) == ({}, [{HERE: 7}] * 2, [("committed", ["a"])])
    assert [(row.key, row.version) for row in scene.store.held("a", 9)] == [("a", 2)]


def test_room_that_is_read_before_something_is_committed_is_less_by_that(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(room=True, held=1, helper=AtOnce())
    write = Transaction.write

    def read(tx: Transaction, *of: Any) -> None:
        scene.batches._planner.room.read(0, scene.store.held_events(9), ())  # type: ignore[union-attr]
        write(tx, *of)

    monkeypatch.setattr(Transaction, "write", read)
    scene.run(job("a2"))
    scene.run(job("b2"))
    assert [error.first.key for error, _ in scene.batches.aside] == ["b"]
    assert scene.store.held_events(9) == 1


def test_a_helper_ends_with_its_batches() -> None:
    told: list[str] = []
    helper: Any = SimpleNamespace(close=lambda: told.append("closed"))
    scene = Scene(helper=helper)
    scene.batches.close()
    assert told == ["closed"]


def test_reading_and_deciding_count_as_one_and_storing_as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, ticks, told = Scene(helper=AtOnce()), count(), list[tuple[float, float]]()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))
    monkeypatch.setattr(scene.seen, "committed", lambda changes, *seconds: told.append(seconds))
    Queue(scene, job("a1"), job("b1")).run_all()
    assert told == [(2.0, 1.0), (2.0, 1.0)], "a second for each look at the clock"


def test_a_loop_that_hangs_is_woken_when_batches_are_abandoned() -> None:
    scene = Scene(helper=AtOnce())
    scene.batches.abandon()
    woken: list[bool] = []

    class Waiting(asyncio.AbstractEventLoop):
        def call_soon_threadsafe(self, *of: Any, **how: Any) -> Any:  # type: ignore[override]
            woken.append(True)

    scene.effect.finisher = Finisher()
    scene.effect.finisher._loop = Waiting()  # type: ignore[abstract]
    scene.batches.abandon()
    assert woken == [True]


def test_the_loop_of_async_handlers_ends_with_the_batches() -> None:
    scene = Scene(helper=AtOnce())
    scene.effect.finisher = Finisher()
    scene.effect.finisher._loop = loop = asyncio.new_event_loop()
    scene.batches.close()
    assert loop.is_closed()


# In a thread of its own.


class Threaded(Scene):
    """Batches with a helper."""

    def __init__(self) -> None:
        super().__init__(helper=Pool(1))


class Stopped(Threaded):
    """A handler that stops at an event of `b`, and goes on soon after somebody has seen it there."""

    def __init__(self) -> None:
        super().__init__()
        self._begun, self._go_on = threading.Event(), threading.Event()
        self.ended: list[int] = []
        """The versions of `b` that it is through with."""
        self._then = self._stop

    def _stop(self, entry: Any) -> None:
        if entry.key == "b":
            self._begun.set()
            assert self._go_on.wait(PATIENCE_S)
            self.ended.append(entry.version)

    def begun(self) -> bool:
        return self._begun.wait(PATIENCE_S)

    def go_on_soon(self) -> None:
        threading.Timer(0.05, self._go_on.set).start()


def test_what_follows_is_decided_while_the_store_writes() -> None:
    scene = Threaded()
    decided = threading.Event()
    scene._then = lambda entry: decided.set() if entry.key == "b" else None
    write = Transaction.write

    def slowly(tx: Transaction, *of: Any) -> None:
        assert decided.wait(PATIENCE_S), "the store waits for it, so the two can only be at the same time"
        write(tx, *of)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Transaction, "write", slowly)
        Queue(scene, job("a1"), job("b1")).run_all()
    scene.batches.close()
    assert scene.states() == {"a": [1], "b": [1]}
    assert scene.calls.count("b1") == 1


def test_whoever_wants_what_is_being_decided_waits_for_it() -> None:
    scene = Stopped()
    queue = Queue(scene, job("a1"), job("b1"))
    queue.run()
    assert scene.begun()
    assert scene.states() == {"a": [1]}
    scene.go_on_soon()
    queue.run()
    scene.batches.close()
    assert (scene.states(), scene.calls) == ({"a": [1], "b": [1]}, ["a1", "b1"])


def test_a_handler_that_hangs_ahead_is_told_to_end_and_keeps_nobody() -> None:
    scene = Threaded()
    begun, left = threading.Event(), threading.Event()

    def hang(entry: Any) -> None:
        if entry.key != "b":
            return
        begun.set()
        try:
            while not threading.Event().wait(0.001):
                pass
        except Left:
            left.set()
            raise

    scene._then = hang
    queue = Queue(scene, job("a1"), job("b1"))
    queue.run()
    assert begun.wait(PATIENCE_S)
    assert scene.effect.now_at is queue.turns[0].job.events[0], "whoever watches sees it"
    scene.batches.abandon()
    assert left.wait(PATIENCE_S)
    scene.batches.close()
    assert scene.states() == {"a": [1]}


def test_what_is_decided_ahead_has_ended_when_batches_are_closed() -> None:
    scene = Stopped()
    Queue(scene, job("a1"), job("b1")).run()
    assert scene.begun()
    scene.go_on_soon()
    scene.batches.close()
    assert scene.ended == [1]


def test_what_is_decided_ahead_ends_before_its_next_event_when_it_is_not_needed() -> None:
    scene = Stopped()
    queue = Queue(scene, job("a1"), job("b1 b2 b3"))
    queue.run()
    assert scene.begun()
    scene.go_on_soon()
    scene.batches.discard()
    assert scene.calls == ["a1", "b1"]
    queue.run()
    scene.batches.close()
    assert scene.states() == {"a": [1], "b": [1, 2, 3]}


def test_of_what_fails_ahead_nothing_is_taken_for_decided() -> None:
    scene = Scene(helper=AtOnce())
    scene.fails["c1"] = Unavailable("what the handler needs is down")
    queue = Queue(scene, job("a1"), job("b1 c1"))
    queue.run()
    del scene.fails["c1"]
    queue.run()
    assert scene.states() == {"a": [1], "b": [1], "c": [1]}
    assert scene.store.counts([3])["applied"] == 3


def test_what_is_decided_ahead_is_packed_too() -> None:
    scene = Scene(helper=AtOnce())
    Queue(scene, job("a1"), job("b1 c1")).run_all()
    assert scene.store.packed == ["bc"]


def test_what_is_waited_for_is_not_kept_back_to_be_packed() -> None:
    scene = Stopped()
    queue = Queue(scene, job("a1"), job("b1"))
    queue.run()
    assert scene.begun()
    scene.go_on_soon()
    queue.run()
    scene.batches.close()
    assert (scene.states(), scene.store.packed) == ({"a": [1], "b": [1]}, [])


def test_nobody_waits_for_what_could_not_begin() -> None:
    class Full(AtOnce):
        def submit(self, task: Callable[[], None]) -> None:
            raise RuntimeError("can't start new thread")

    scene = Scene(helper=Full())
    queue = Queue(scene, job("a1"), job("b1"))
    with pytest.raises(RuntimeError, match="can't start"):
        queue.run()
    scene.batches.close()


def held(key: str, version: int) -> HeldRow:
    return HeldRow(key, version, "id", 1, Outcome.HELD, 0, Record(HERE, 0, None, b"x"))
