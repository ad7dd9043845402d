"""One job after the other, written whole or not at all: which transactions there are, and what follows from a refusal.

Pure: the store is in memory, and refuses what it is told to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

import inorder
from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.engine import Unit
from inorder.core.entity import Entity
from inorder.core.event import Event, Malformed, Partition, Record, Slice, fingerprint
from inorder.core.order import Outcome
from inorder.core.planner import Outage
from inorder.core.room import Room
from inorder.core.rows import EntityRow, HeldRow
from inorder.core.waiting import AT_ONCE, Wait, Waiting
from inorder.declaration import declaration_of
from inorder.errors import Fenced, Mismatch, Poison, Unavailable, Unreachable
from inorder.proof.memory import MemoryStore, MemoryTransaction
from inorder.worker.assemble import planner_for
from inorder.worker.batch import MANY_FAILURES, SHARED_S, Batches
from inorder.worker.effects import FoldEffect, Manner, TxEffect
from inorder.worker.job import Job
from tests.worker.consumers import FOLD, TX, Act, Entry, declare, nothing
from tests.worker.played import HERE, THERE, Seen, Still

FENCES = {HERE: 7, THERE: 8}


class Transaction(MemoryTransaction):
    """Notes what is done in it. Statements of the user's take effect with the rest of it, or not at all."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.of = store
        self.said: list[str] = []

    def execute(self, statement: str, parameters: Any = ()) -> Any:
        self.said.append("".join(map(str, parameters)))
        self.of.log.append(f"statement {self.said[-1]}")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        before = list(self.said)
        try:
            with super().savepoint():
                yield
        except BaseException:
            self.said = before
            raise

    @contextmanager
    def together(self) -> Iterator[None]:  # type: ignore[override]
        self.of.log.append("together")
        yield
        if self.of.late_error is not None:
            error, self.of.late_error = self.of.late_error, None
            raise error

    def write(self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int]) -> None:
        self.of.log.append(f"write {' '.join(row.key for row in rows)}".strip())
        self.of.fences.append(dict(fences))
        if self.of.refusals:
            raise self.of.refusals.pop(0)
        super().write(rows, changes, fences)

    def commit(self) -> None:
        super().commit()
        self.of.effects += self.said
        self.of.log.append("commit")


class Store(MemoryStore):
    transaction_class = Transaction

    def __init__(self) -> None:
        super().__init__("stream")
        self.log: list[str] = []
        self.fences: list[dict[Partition, int]] = []
        self.effects: list[str] = []
        self.loaded: list[list[str]] = []
        self.refusals: list[Exception] = []
        self.late_error: Exception | None = None
        self.tables.fences = dict(FENCES)
        self.read_back: list[str] = []

    def held_together(self, keys: Sequence[str], most: int) -> list[HeldRow]:
        self.read_back += keys
        return super().held_together(keys, most)

    def load(self, keys: Sequence[str]) -> dict[str, Entity]:
        self.loaded.append(sorted(keys))
        return super().load(keys)


class Watching(Seen):
    """Notes commits too, and who is told what of them."""

    watches = False

    def committed(self, changes: Changes, deciding_s: float | None = None, storing_s: float = 0.0) -> None:
        assert deciding_s is not None
        assert 0 <= deciding_s < 60
        assert 0 <= storing_s < 60
        self.told.append(("committed", sorted(changes.entities)))

    def outdated(self) -> None:
        self.told.append(("outdated",))

    def fenced(self, partitions: int) -> None:
        self.told.append(("fenced", partitions))


class Scene:
    """Batches of one kind of handler, which fails where it is told to."""

    def __init__(
        self,
        kind: str = FOLD,
        queue: bool = False,
        room: bool = False,
        order: str = "strict",
        baseline: int = 0,
        **limits: Any,
    ) -> None:
        self.calls: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.clock, self.store, self.seen = Still(), Store(), Watching()
        retry = inorder.Retry(attempts=3, delay_s=100.0)
        options: dict[str, Any] = {
            "order": order,
            "baseline": baseline,
            "limits": inorder.Limits(**limits),
            "retry": retry,
        }
        declared = declaration_of(declare(kind, self._act, lambda entry: None, **options))
        self.store.register(declared.order, declared.baseline)
        self.witnessed: list[tuple[str, Outcome]] = []
        planner = planner_for(declared)
        planner.room = self.room = Room(declared.limits) if room else None
        self.effect = FoldEffect(declared) if kind == FOLD else TxEffect(declared)
        store: Any = self.store
        self.batches = Batches(
            planner, self.effect, JsonCodec(declared), store, 3, self.clock, self._witness, queue, self.seen
        )
        self._then: Act = nothing

    def _act(self, entry: Entry) -> None:
        self.calls.append(f"{entry.key}{entry.version}")
        self._then(entry)
        if f"{entry.key}{entry.version}" in self.fails:
            raise self.fails[f"{entry.key}{entry.version}"]

    def _witness(self, event: Event, outcome: Outcome) -> None:
        self.witnessed.append((f"{event.key}{event.version}", outcome))

    def run(self, *of: Job, due: Sequence[str] = (), fences: Mapping[Partition, int] = FENCES) -> dict[Partition, int]:
        job = Job()
        for one in of:
            job.absorb(one)
        return self.batches.run(job, list(due), fences)

    @property
    def manner(self) -> Manner:
        """How the last batch of handlers with `tx` was run."""
        assert isinstance(self.effect, TxEffect)
        return self.effect.manner

    def states(self) -> dict[str, list[int]]:
        found = {key: state for key, _, state in self.store.states() if state is not None}
        return {key: msgspec.json.decode(state)["versions"] for key, state in found.items()}

    def waiting(self, key: str) -> Waiting | None:
        found: Waiting | None = self.store.tables.waits.get(key)
        return found

    def since(self) -> list[str]:
        """What was done in the store since the last look."""
        found, self.store.log = self.store.log, []
        return found


def job(names: str, partition: Partition = HERE, malformed: int = 0) -> Job:
    """One slice with these events, and perhaps records behind them that cannot be read: "a1 b1"."""
    entries = [Entry(name[0], int(name[1:]), name) for name in names.split()]
    values = [msgspec.json.encode(entry) for entry in entries] + [b"{"] * malformed
    piece = Slice.of(partition, [Record(partition, n, b"", value) for n, value in enumerate(values)])
    events = [
        Event(entry.key, entry.version, entry.id, fingerprint(entry.id), entry, piece, n)
        for n, entry in enumerate(entries)
    ]
    unit = Unit(partition, FENCES[partition], piece.next_offset, len(piece), 0)
    made = Job()
    made.add(unit, piece, events, [Malformed("unreadable", piece, len(events) + n) for n in range(malformed)])
    return made


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


# Refusals.


@pytest.mark.parametrize("kind", [FOLD, TX])
def test_what_somebody_else_has_changed_is_read_again_and_decided_again(kind: str) -> None:
    scene = Scene(kind)
    scene.run(job("a1 b1"))
    scene.store.loaded.clear()
    scene.store.refusals = [Mismatch(["a"])]
    assert scene.run(job("a2")) == {}
    assert scene.store.loaded == [["a"]], "b is known still"
    assert scene.seen.told[-2:] == [("outdated",), ("committed", ["a"])]
    assert scene.calls == ["a1", "b1", "a2", "a2"]
    if kind == FOLD:
        assert scene.states()["a"] == [1, 2]
    else:
        assert scene.store.effects == ["a1", "b1", "a2"]


def test_a_key_that_is_due_is_read_again_too() -> None:
    scene = Scene()
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    scene.clock.at += 200
    scene.store.refusals = [Mismatch(["a"])]
    scene.store.loaded.clear()
    scene.fails.clear()
    scene.run(due=["a"])
    assert scene.store.loaded == [["a"]]
    assert scene.states() == {"a": [1]}


@pytest.mark.parametrize("queue", [True, False])
def test_a_worker_of_a_queue_that_met_another_reads_all_anew_for_a_while(queue: bool) -> None:
    scene = Scene(queue=queue)
    scene.run(job("a1 b1"))
    scene.store.refusals = [Mismatch(["a"])]
    scene.run(job("a2"))
    scene.store.loaded.clear()
    scene.clock.at += SHARED_S / 2
    scene.run(job("b2"))
    assert scene.store.loaded == ([["b"]] if queue else [])
    scene.clock.at += SHARED_S / 2
    scene.run(job("b3"))
    assert len(scene.store.loaded) == int(queue), "others are elsewhere by now"


@pytest.mark.parametrize(("queue", "level"), [(True, logging.DEBUG), (False, logging.INFO)])
def test_on_a_queue_others_change_entities_all_the_time(
    queue: bool, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    scene = Scene(queue=queue)
    scene.store.refusals = [Mismatch(["a"])]
    scene.run(job("a1"))
    assert [record.levelno for record in caplog.records if "read again" in record.message] == [level]


@pytest.mark.parametrize("kind", [FOLD, TX])
def test_what_came_from_a_partition_that_was_lost_is_left_out_and_the_rest_written(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(kind)
    scene.run(job("a1 b1"))
    scene.store.tables.fences[HERE] = 9
    scene.store.loaded.clear()
    scene.since()
    given = job("a2")
    given.absorb(job("c1", THERE))
    assert scene.batches.run(given, [], FENCES) == {HERE: 7}
    assert [unit.partition for unit in given.units] == [THERE], "nothing of it is settled"
    assert ("fenced", 1) in scene.seen.told
    assert scene.seen.told[-1] == ("committed", ["c"])
    assert scene.store.fences[-1] == {THERE: 8}
    assert scene.store.loaded[-1] == ["c"], "all is read anew: whoever has it now may have changed it"
    assert "left to the new owner" in caplog.text
    scene.run(job("b2", THERE))
    assert scene.store.loaded[-1] == ["b"]


def test_partitions_that_are_lost_one_after_the_other_are_all_told_of() -> None:
    scene = Scene()
    scene.store.refusals = [Fenced([HERE]), Fenced([THERE])]
    assert scene.run(job("a1"), job("b1", THERE)) == FENCES
    assert scene.states() == {}


def test_the_fence_that_was_refused_is_that_of_the_events_whatever_is_ours_now() -> None:
    scene = Scene()
    scene.store.tables.fences[HERE] = 9
    assert scene.run(job("a1"), fences={HERE: 9, THERE: 8}) == {HERE: 7}
    assert scene.states() == {}


def test_a_key_that_waits_is_woken_under_the_fence_of_its_home_or_not_at_all() -> None:
    scene = Scene()
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    scene.clock.at += 200
    scene.fails.clear()
    scene.since()
    assert scene.run(job("b1", THERE), due=["a"], fences={THERE: 8}) == {}
    assert scene.since() == ["write b", "commit"]
    scene.store.tables.fences[HERE] = 9
    assert scene.run(job("c1", THERE), due=["a"]) == {HERE: 7}
    assert scene.states() == {"b": [1], "c": [1]}
    assert scene.calls.count("a1") == 2, "a fold is called before it is refused, and leaves nothing behind"
    scene.run(due=["a"], fences={HERE: 9})
    assert scene.states()["a"] == [1]


def test_a_key_that_waits_nowhere_in_particular_is_woken_by_anybody() -> None:
    scene = Scene()
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    waiting = scene.waiting("a")
    assert waiting is not None
    scene.store.tables.waits["a"] = msgspec.structs.replace(waiting, home=None)
    scene.batches.cache.clear()
    scene.clock.at += 200
    scene.fails.clear()
    scene.run(due=["a"], fences={THERE: 8})
    assert (scene.states(), scene.store.fences[-1]) == ({"a": [1]}, {})


@pytest.mark.parametrize(
    ("kind", "error", "raised"),
    [
        (FOLD, Unavailable("mail is down"), Outage),
        (TX, Unavailable("mail is down"), Outage),
        (TX, Unreachable("store: away"), Unreachable),
    ],
)
def test_an_outage_leaves_nothing_behind_and_the_batch_is_repeated_whole(
    kind: str, error: Exception, raised: type[Exception]
) -> None:
    scene = Scene(kind)
    scene.run(job("a1"))
    scene.store.loaded.clear()
    scene.fails["b1"] = error
    given = job("a2 b1")
    with pytest.raises(raised):
        scene.batches.run(given, [], FENCES)
    assert scene.seen.told == [("committed", ["a"])]
    scene.fails.clear()
    scene.batches.run(given, [], FENCES)
    assert scene.store.loaded[-1] == ["a", "b"], "nothing that was decided on is kept"
    assert scene.store.counts([3])["applied"] == 3
    if kind == TX:
        assert scene.store.effects == ["a1", "a2", "b1"]


def test_after_an_outage_what_had_failed_before_it_is_tried_again() -> None:
    scene = Scene(TX)
    scene.fails = {"a1": ValueError("no"), "b1": Unavailable("mail is down")}
    given = job("a1 b1")

    with pytest.raises(Outage):
        scene.batches.run(given, [], FENCES)
    assert scene.effect.barred == {}
    scene.fails.clear()
    scene.batches.run(given, [], FENCES)
    assert scene.store.effects == ["a1", "b1"]


def test_a_store_that_finds_a_change_under_a_handler_has_the_batch_done_again() -> None:
    scene = Scene(TX)
    scene.run(job("a1"))
    scene.store.loaded.clear()
    scene.fails["b1"] = Mismatch(["b"])
    scene._then = lambda entry: scene.calls.count("b1") == 2 and scene.fails.clear()  # type: ignore[func-returns-value]
    scene.run(job("a2 b1"))
    assert scene.store.effects == ["a1", "a2", "b1"]
    assert scene.store.loaded == [["b"], ["a", "b"]]


# Without room.


def test_what_finds_no_room_is_set_aside_with_all_that_follows_it_and_the_rest_is_written() -> None:
    scene = Scene(room=True, letters=1)
    scene.fails = {name: Poison("bad") for name in ("a1", "c1")}
    given = job("a1 b1 c1 d1")
    given.absorb(job("e1", THERE))
    assert scene.batches.run(given, [], FENCES) == {}
    assert scene.states() == {"b": [1], "e": [1]}
    assert [row.letter.key for row in scene.store.letters()] == ["a"]
    ((error, aside),) = scene.batches.aside
    assert (error.partition, [event.key for event in aside.events]) == (HERE, ["c", "d"])
    assert scene.seen.told == [("committed", ["a", "b", "e"])], "once, and without it"
    scene.room.read(0, 0, ())  # type: ignore[union-attr]
    scene.batches.run(aside, [], FENCES)
    assert (scene.states()["d"], len(list(scene.store.letters()))) == ([1], 2)


def test_each_partition_without_room_has_its_events_set_aside() -> None:
    scene = Scene(room=True, letters=1)
    scene.fails = {name: Poison("bad") for name in ("z1", "a1", "b1")}
    scene.run(job("z1"))
    scene.run(job("a1"), job("b1", THERE), job("c1", THERE))
    assert [(error.partition, [event.key for event in aside.events]) for error, aside in scene.batches.aside] == [
        (HERE, ["a"]),
        (THERE, ["b", "c"]),
    ]
    scene.run(job("d1", HERE))
    assert len(scene.batches.aside) == 2, "until somebody takes them over"


def test_room_that_was_taken_is_counted_at_once() -> None:
    scene = Scene(room=True, letters=2)
    scene.fails = {name: Poison("bad") for name in ("a1", "b1", "c1")}
    for name in ("a1", "b1", "c1"):
        scene.run(job(name))
    assert [row.letter.key for row in scene.store.letters()] == ["a", "b"]
    assert len(scene.batches.aside) == 1


def test_what_was_set_aside_is_tried_when_its_turn_comes_whatever_it_came_to_before() -> None:
    scene = Scene(TX, room=True, letters=1)
    scene.fails = {name: Poison("bad") for name in ("a1", "b1")}
    scene.run(job("a1 b1"))
    ((_, aside),) = scene.batches.aside
    assert [event.key for event in aside.events] == ["b"]
    assert scene.effect.barred == {}
    scene.fails.clear()
    scene.run(aside)
    assert scene.store.effects == ["b1"]


def test_what_was_set_aside_behind_an_event_without_room_is_tried_as_if_it_never_had_been() -> None:
    scene = Scene(TX, room=True, letters=1)
    scene.fails = {"z1": Poison("bad"), "a1": ValueError("no")}
    scene.run(job("z1", THERE))
    scene.calls.clear()

    def turn_bad(entry: Entry) -> None:
        if scene.calls.count("b1") == 3:
            scene.fails["b1"] = Poison("bad")

    scene._then = turn_bad
    scene.run(job("b1 a1"))
    ((_, aside),) = scene.batches.aside
    assert [event.key for event in aside.events] == ["b", "a"]
    scene.fails.clear()
    scene._then = nothing
    scene.run(aside)
    assert scene.store.effects == ["b1", "a1"], "how it failed then is forgotten"


def test_what_states_have_grown_by_is_counted_as_memory() -> None:
    scene = Scene(cache_bytes=20_000)
    scene.run(job("a1"))
    for key in "bc":
        scene.run(job(" ".join(f"{key}{version}" for version in range(1, 2_500))))
    scene.store.loaded.clear()
    scene.run(job("a2"))
    assert scene.store.loaded == [["a"]], "it had to give way"


# Keys that are due.


def test_a_key_is_looked_at_again_when_it_is_due_and_not_before() -> None:
    scene = Scene()
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    (due_at,) = scene.batches.timers.all().values()
    assert due_at == pytest.approx(1_100.0, rel=0.3)
    scene.batches.timers.take(due_at)
    scene.run(due=["a"])
    assert scene.calls == ["a1"], "whoever said that it was due knew less than the store does"
    assert scene.batches.timers.all() == {"a": due_at}
    scene.clock.at = due_at
    scene.batches.timers.take(due_at)
    scene.run(due=["a"])
    assert scene.calls == ["a1"] * 2
    assert scene.batches.timers.all()["a"] > due_at


def test_what_a_batch_or_anybody_else_has_said_of_a_key_goes_before_what_was_known_of_it() -> None:
    scene = Scene(gap_s=50.0)
    scene.run(job("a2 b2"))
    scene.batches.timers.take(2_000.0)
    scene.batches.timers.note({"b": Waiting(Wait.RETRY, 1, 0.0, 1_005.0)})
    scene.run(job("a1"), due=["a", "b"])
    assert scene.batches.timers.all() == {"a": AT_ONCE, "b": 1_005.0}


def test_keys_that_are_due_together_go_on_together() -> None:
    scene = Scene()
    scene.fails = {"a1": ValueError("no"), "b1": ValueError("no")}
    scene.run(job("a1 b1"))
    scene.fails.clear()
    scene.clock.at += 200
    scene.run(due=["a", "b"])
    assert scene.states() == {"a": [1], "b": [1]}


def test_on_a_queue_a_key_that_is_not_due_is_left_to_whoever_made_it_wait() -> None:
    scene = Scene(queue=True)
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    scene.batches.timers.take(2_000.0)
    scene.run(due=["a"])
    assert scene.batches.timers.all() == {}


def test_what_somebody_else_has_set_going_is_read_anew() -> None:
    scene = Scene()
    scene.fails["a1"] = Poison("bad")
    scene.run(job("a1 a2"))
    waiting = scene.waiting("a")
    assert waiting is not None
    assert waiting.why is Wait.PARKED
    row = scene.store.tables.entities["a"]
    scene.store.tables.entities["a"] = msgspec.structs.replace(row, expected=row.expected + 1, version=1)
    scene.store.tables.waits["a"] = Waiting(Wait.GAP, 2, 0.0, AT_ONCE, home=HERE)
    scene.run(due=["a"])
    assert scene.calls == ["a1", "a2"]
    assert scene.states() == {"a": [2]}
    counts = scene.store.counts([3])
    assert (counts["parked"], counts["applied"], counts["dead_lettered"]) == (0, 1, 1), "it is counted once"


def test_what_a_batch_says_of_how_a_key_waits_replaces_what_was_said_before() -> None:
    scene = Scene(gap_s=50.0)
    scene.run(job("a2"))
    assert scene.batches.timers.all() == {"a": 1_050.0}
    scene.run(job("a1"))
    assert scene.batches.timers.all() == {"a": AT_ONCE}
    assert scene.batches.timers.take(1_000.0) == ["a"]
    scene.run(due=["a"])
    assert (scene.batches.timers.all(), scene.states()) == ({}, {"a": [1, 2]})


def test_what_waited_goes_before_what_came_after_it() -> None:
    scene = Scene(order="latest")
    scene.fails["a1"] = ValueError("no")
    scene.run(job("a1"))
    scene.clock.at += 200
    scene.fails.clear()
    scene.run(job("a2"), due=["a"])
    assert scene.states() == {"a": [1, 2]}


def test_nothing_is_read_back_of_a_key_that_does_not_go_on() -> None:
    scene = Scene(gap_s=50.0)
    scene.run(job("a2"))
    scene.fails["b1"] = ValueError("no")
    scene.run(job("b1"))
    scene.fails.clear()
    scene.clock.at += 200
    scene.run(due=["a", "b"])
    assert scene.store.read_back == ["b"]
    waiting = scene.waiting("a")
    assert waiting is not None
    assert waiting.why is Wait.PARKED


def test_a_worker_that_begins_anew_keeps_nothing_in_memory() -> None:
    scene = Scene(gap_s=50.0)
    scene.run(job("a2 b1"))
    scene.effect.barred["a", 2] = ValueError("barred")
    scene.batches.forget()
    assert (scene.batches.timers.all(), scene.effect.barred) == ({}, {})
    scene.store.loaded.clear()
    scene.run(job("a1 b2"))
    assert scene.store.loaded == [["a", "b"]]


# What waited, read again.


def test_an_event_that_waited_is_counted_for_whoever_received_it() -> None:
    scene = Scene()
    scene.run(job("a2"))
    scene.batches._tally = 5
    scene.run(job("a1"))
    scene.run(due=["a"])
    assert scene.states() == {"a": [1, 2]}
    assert [scene.store.counts([tally])["applied"] for tally in (3, 5)] == [1, 1]
    assert scene.store.held_count() == 0


def test_another_event_of_a_version_that_took_effect_is_told_apart_from_it() -> None:
    scene = Scene()
    scene.run(job("a1"))
    scene.batches.cache.clear()
    given = job("a1")
    given.events[0].id, given.events[0].fingerprint = "another", fingerprint("another")
    scene.run(given)
    assert [row.letter.reason for row in scene.store.letters()] == ["conflict"]


def test_what_took_effect_is_known_again_when_it_comes_again() -> None:
    scene = Scene()
    scene.run(job("a2"))
    scene.run(job("a1"))
    scene.run(due=["a"])
    scene.batches.cache.clear()
    scene.run(job("a1 a2"))
    assert (scene.states(), scene.store.counts([3])["duplicate"], scene.store.letter_counts()) == ({"a": [1, 2]}, 2, {})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"{", "truncated"),
        (b'{"key":"b","version":2,"id":"a2"}', "key: 'b' now, but the event was received with 'a'"),
        (b'{"key":"a","version":3,"id":"a2"}', "version: 3 now, but the event was received with 2"),
    ],
)
def test_an_event_that_is_read_as_another_one_by_now_fails_when_its_turn_comes(value: bytes, why: str) -> None:
    scene = Scene()
    scene.run(job("a2"))
    held = scene.store.tables.held["a"][2]
    record = msgspec.structs.replace(held.record, value=value)
    scene.store.tables.held["a"] = {2: msgspec.structs.replace(held, record=record)}
    scene.run(job("a1"))
    scene.run(due=["a"])
    (row,) = scene.store.letters()
    assert (row.letter.key, row.letter.version, row.letter.reason) == ("a", 2, "failed")
    assert why in row.letter.detail
    assert (scene.states(), scene.calls) == ({"a": [1]}, ["a1"])
