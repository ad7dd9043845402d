"""What goes wrong in the middle of a replay: it costs the letter that it belongs to, and stops nothing else."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

import inorder
from inorder.deadletters import replay as replaying
from inorder.deadletters.call_road import CallRoad
from inorder.deadletters.plan import select
from inorder.deadletters.planning import Choice, make_plan
from inorder.deadletters.replay import replay, run_plan
from inorder.deadletters.road import Warrant
from inorder.declaration import declaration_of
from inorder.errors import Mismatch, Unreachable
from inorder.stores import reading
from inorder.worker.assemble import SystemClock, planner_for
from tests.deadletters.conftest import kinds
from tests.deadletters.replays import Fault, ReplayBench, check_sums, results
from tests.worker.bench import encoded, entries, until
from tests.worker.consumers import Entry


class Mute(inorder.Poison):
    def __str__(self) -> str:
        raise RuntimeError("cannot be read")


def foretold(url: str, consumer: Callable[..., Any]) -> tuple[list[tuple[str | None, str | None]], int]:
    """What a rehearsal says of each letter, and how many events behind them it says would fail."""
    made = make_plan(consumer, url, Choice(), handler="x:y", actor="tester")
    assert made is not None
    assert made.rehearsed is not None
    return [(letter.key, letter.forecast) for letter in made.letters], made.rehearsed.behind_failing


@pytest.mark.parametrize("message", ["unreadable", "long"])
def test_a_failure_with_an_odd_message_is_that_of_its_letter_alone(bench: ReplayBench, message: str) -> None:
    fault = Fault(("a", 1), ("b", 1), error=Mute if message == "unreadable" else inorder.Poison)
    bench.produce(*entries("a", 1, 2), *entries("b", 1, 2))

    def act(entry: Entry) -> None:
        try:
            fault(entry)
        except inorder.Poison as error:
            raise error if message == "unreadable" else inorder.Poison("one line\n" * 100_000) from None

    consumer = bench.declare(act)
    bench.work(consumer)
    details = {row.letter.detail for row in bench.letters()}
    fault.mend(("b", 1))
    first = "applied" if "call" in bench.kind else "failed"
    assert foretold(bench.url, consumer) == ([("a", first), ("b", "applied")], 0)
    assert results(bench.replay(consumer)) == [("a", 1, "failed"), ("b", 1, "applied")]
    assert {row.letter.detail for row in bench.letters()} == details, "it is said as a worker says it"


@kinds("fold")
@pytest.mark.parametrize("odd", [1, 3])
def test_a_state_that_cannot_be_kept_fails_its_event_alone(bench: ReplayBench, odd: int) -> None:
    """As the letter's own, or as that of an event behind it."""
    fault = Fault(("a", 1), ("b", 1))

    @inorder.fold(key="key", version="version", id="id", name="stream")
    def fold(state: dict[str, Any] | None, entry: Entry) -> dict[str, Any]:
        fault(entry)
        versions = [*(state or {"versions": []})["versions"], entry.version]
        return {"versions": versions} | ({"odd": object()} if entry.key == "a" and entry.version >= odd else {})

    bench.produce(*entries("a", 1, 2, 3, 4), *entries("b", 1, 2))
    bench.work(fold)
    fault.mend()
    itself = "failed" if odd == 1 else "applied"
    assert foretold(bench.url, fold) == ([("a", itself), ("b", "applied")], int(odd > 1))
    assert results(bench.replay(fold)) == [("a", 1, itself), ("b", 1, "applied")]
    assert bench.effects() == {"b": [1, 2], **({"a": [1, 2]} if odd > 1 else {})}
    letters = [(row.letter.key, row.letter.version) for row in bench.look.letters("open")]
    assert letters == [("a", odd)]
    assert bench.parked() == ["a"]


@kinds("tx", "async tx")
@pytest.mark.parametrize("odd", [1, 3])
def test_a_statement_that_rolls_the_transaction_back_fails_its_event_alone(bench: ReplayBench, odd: int) -> None:
    fault = Fault(("a", 1), ("b", 1))
    mended = [False]

    @inorder.handler(key="key", version="version", id="id", name="stream")
    def post(entry: Entry, tx: inorder.Transaction) -> None:
        fault(entry)
        tx.execute("INSERT INTO ledger (key, version) VALUES (?, ?)", (entry.key, entry.version))
        if (entry.key, entry.version) == ("a", odd) and not mended[0]:
            tx.execute("INSERT OR ROLLBACK INTO ledger (n, key, version) SELECT max(n), 'x', 1 FROM ledger")

    bench.produce(*entries("a", 1, 2, 3, 4), *entries("b", 1, 2))
    bench.work(post)
    fault.mend()
    itself = "failed" if odd == 1 else "applied"
    assert foretold(bench.url, post) == ([("a", itself), ("b", "applied")], int(odd > 1))
    assert results(bench.replay(post)) == [("a", 1, itself), ("b", 1, "applied")]
    assert bench.effects() == {"b": [1, 2], **({"a": [1, 2]} if odd > 1 else {})}
    mended[0] = True
    assert results(bench.replay(post)) == [("a", odd, "applied")]
    assert bench.effects() == {"a": [1, 2, 3, 4], "b": [1, 2]}


def test_a_constraint_that_is_checked_at_the_commit_fails_its_letter_alone(postgres_url: str, tmp_path: Path) -> None:
    fault = Fault(("a", 1), ("b", 1))
    with psycopg.connect(postgres_url) as link:
        link.execute("CREATE TABLE account (key text PRIMARY KEY)")
        link.execute("CREATE TABLE entry (key text REFERENCES account DEFERRABLE INITIALLY DEFERRED)")
        link.execute("INSERT INTO account VALUES ('b')")

    @inorder.handler(key="key", version="version", id="id", name="stream")
    def post(entry: Entry, tx: inorder.Transaction) -> None:
        fault(entry)
        tx.execute("INSERT INTO entry VALUES (%s)", (entry.key,))

    stream = tmp_path / "events.jsonl"
    stream.write_bytes(b"\n".join(map(encoded, [*entries("a", 1, 2), *entries("b", 1, 2)])))
    inorder.run(post, source=str(stream), store=postgres_url, until_idle_s=0.02)
    fault.mend()
    assert foretold(postgres_url, post) == ([("a", "failed"), ("b", "applied")], 0)
    summary = replay(post, postgres_url)
    check_sums(summary)
    assert results(summary) == [("a", 1, "failed"), ("b", 1, "applied")]


@kinds("tx", "async tx")
def test_a_rehearsal_that_is_given_up_in_favour_of_another_transaction_is_made_again(bench: ReplayBench) -> None:
    fault, clashes = Fault(("a", 1)), [False]

    def act(entry: Entry) -> None:
        fault(entry)
        if clashes[0]:
            clashes[0] = False
            raise Mismatch(("a",))

    bench.produce(*entries("a", 1, 2))
    consumer = bench.declare(act)
    bench.work(consumer)
    fault.mend()
    clashes[0] = True
    assert foretold(bench.url, consumer) == ([("a", "applied")], 0)


@kinds("fold", "tx", "call")
@pytest.mark.parametrize("fails", [False, True], ids=["mended", "fails again"])
@pytest.mark.parametrize("at", range(1, 8))
def test_a_commit_that_the_store_does_not_take_is_made_again(
    bench: ReplayBench, at: int, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it was to write: the letter goes on to its end, and so does what waits behind it."""
    fault = Fault(("a", 1))
    bench.produce(*entries("a", 1, 2, 3))
    consumer = bench.declare(fault)
    bench.work(consumer)
    if not fails:
        fault.mend()
    made = make_plan(consumer, bench.url, Choice(), handler="x:y", actor="tester")
    assert made is not None
    commits, real = itertools.count(1), replaying.make_road

    def make_road(*arguments: Any) -> Any:
        road: Any = real(*arguments)
        transaction = road.store.transaction

        @contextmanager
        def away() -> Iterator[Any]:
            with transaction() as tx:
                yield tx
                if next(commits) == at:
                    raise Unreachable("away for a moment")

        road.store.transaction = away
        return road

    with monkeypatch.context() as patch:
        patch.setattr(replaying, "make_road", make_road)
        summary = run_plan(consumer, bench.url, made.plan.id, reason="test")
    check_sums(summary)
    assert results(summary) == [("a", 1, "failed" if fails else "applied")]
    if fails:
        fault.mend()
        assert results(bench.replay(consumer)) == [("a", 1, "applied")], "nobody is at work on the key any more"
    assert list(dict.fromkeys(bench.effects()["a"])) == [1, 2, 3]
    assert bench.waiting("a") == []


@kinds("fold", "call")
def test_a_store_that_is_away_while_a_replay_begins_is_waited_for(
    bench: ReplayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = Fault(("a", 1))
    bench.produce(*entries("a", 1, 2))
    consumer = bench.declare(fault)
    bench.work(consumer)
    fault.mend()
    made, away = replaying.make_road, [Unreachable("away for a moment")]

    def make_road(*arguments: Any) -> Any:
        if away:
            raise away.pop()
        return made(*arguments)

    monkeypatch.setattr(replaying, "make_road", make_road)
    assert results(bench.replay(consumer)) == [("a", 1, "applied")]
    assert bench.effects() == {"a": [1, 2]}


@kinds("call")
@pytest.mark.parametrize("order", ["latest", "commutative"])
def test_a_replay_that_dies_in_its_handler_stops_no_key_that_flowed(bench: ReplayBench, order: str) -> None:
    fault = Fault(("a", 2))
    bench.produce(*entries("a", 1, 2))
    consumer = bench.declare(fault, order=order, park=False)
    bench.work(consumer)
    declared = declaration_of(consumer)
    made = make_plan(consumer, bench.url, Choice(), handler="x:y", actor="tester")
    assert made is not None
    road = CallRoad(
        declared, planner_for(declared), bench.look, 0, SystemClock(), Warrant(made.plan.id, "tester", "test", {})
    )
    road.transact(lambda tx, changes: road._claim(tx, made.letters[0], changes))
    bench.produce(*entries("a", 3))
    working = bench.start(consumer)
    until("the next event waits for the replay", lambda: bench.waiting("a") == [3])
    with bench.look.transaction() as tx:
        tx.execute("UPDATE inorder_waiting SET due_at = 1")
    until("the claim is over, and it goes on", lambda: bench.effects()["a"] == [1, 3])
    working.stop()


@kinds("fold")
def test_letters_are_chosen_without_having_all_of_them_in_memory(
    bench: ReplayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = 100_000
    bench.produce(*[b'{"key": "%d", "version": 0, "id": "%s"}' % (n, b"x" * large) for n in range(50)])
    consumer = bench.declare()
    bench.work(consumer)
    monkeypatch.setattr(reading, "PAGE", 2)
    numbers = [row.id for row in bench.look.letters()]
    for chosen in ({}, {"ids": numbers}, {"keys": ["1"]}):
        tracemalloc.start()
        try:
            found = select(bench.look, declaration_of(consumer), **chosen)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(found) == (1 if "keys" in chosen else 50)
        assert peak < 20 * large
