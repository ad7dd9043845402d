"""A handler may do with its payload as it likes: whenever an event is handled once more, its payload is as received.

Pure: the store is in memory, and time is played.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import inorder
from inorder.codecs.json import JsonCodec
from inorder.core.effect import Outage
from inorder.core.entity import Entity
from inorder.core.event import Record, Slice
from inorder.declaration import declaration_of
from inorder.errors import Mismatch, Unreachable
from inorder.proof.rough import AtOnce
from inorder.worker.effects import FoldEffect
from inorder.worker.job import Turn
from tests.worker import batching, lanes
from tests.worker.batching import FENCES, job
from tests.worker.consumers import FOLD, TX, Entry
from tests.worker.lanes import played
from tests.worker.played import HERE, THERE


class Spending:
    """Takes something away from each payload it is given, and notes what was there."""

    def __init__(self) -> None:
        self.found: list[int] = []

    def __call__(self, entry: Entry) -> None:
        self.found.append(entry.amount)
        entry.amount -= 1


def spending(kind: str = FOLD, **options: Any) -> tuple[batching.Scene, Spending]:
    scene, act = batching.Scene(kind, **options), Spending()
    scene._then = act
    return scene, act


@pytest.mark.parametrize("kind", [FOLD, TX])
@pytest.mark.parametrize("refusal", [Mismatch(["a"]), Unreachable("store: away")], ids=str)
def test_after_a_refusal_or_an_outage_of_the_store(kind: str, refusal: Exception) -> None:
    scene, act = spending(kind)
    scene.store.refusals = [refusal]
    given = job("a1 b1")
    if isinstance(refusal, Unreachable):
        with pytest.raises(Unreachable):
            scene.batches.run(given, [], FENCES)
    scene.batches.run(given, [], FENCES)
    assert act.found == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", [FOLD, TX])
def test_after_an_outage_of_what_a_handler_needs(kind: str) -> None:
    scene, act = spending(kind)
    scene.fails["b1"] = inorder.Unavailable("down")
    given = job("a1 b1")
    with pytest.raises(Outage):
        scene.batches.run(given, [], FENCES)
    del scene.fails["b1"]
    scene.batches.run(given, [], FENCES)
    assert act.found == [0] * len(act.found)


def test_after_another_event_of_the_transaction_failed() -> None:
    scene, act = spending(TX)
    scene.fails["b1"] = ValueError("no")
    scene.run(job("a1 b1 c1"))
    assert scene.store.effects == ["a1", "c1"]
    assert act.found == [0] * len(act.found)
    assert scene.calls.count("a1") > 1


def test_after_another_partition_was_lost() -> None:
    scene, act = spending()
    scene.store.tables.fences[THERE] = 9
    given = job("a1")
    given.absorb(job("b1", THERE))
    scene.run(given)
    assert (scene.calls, act.found) == (["a1", "b1", "a1"], [0, 0, 0])


def test_after_it_was_decided_ahead_in_vain() -> None:
    scene, act = spending(helper=AtOnce())
    scene.store.refusals = [Mismatch(["a"])]
    second = Turn(job("b1"), [], FENCES)
    scene.batches.run(job("a1"), [], FENCES, lambda: second)
    scene.batches.run(*second)
    assert scene.calls.count("b1") > 1
    assert act.found == [0] * len(act.found)


def test_after_a_job_was_divided_or_joined_with_another() -> None:
    scene, act = spending()
    scene.store.refusals = [Unreachable("store: away")]
    given = job("a1")
    given.absorb(job("b1", THERE))
    with pytest.raises(Unreachable):
        scene.batches.run(given, [], FENCES)
    fresh = job("c1")
    fresh.absorb(given.split(THERE))
    scene.batches.run(fresh, [], FENCES)
    assert (scene.calls, act.found) == (["a1", "b1", "c1", "b1"], [0] * 4)


class Balance(msgspec.Struct):
    key: str
    version: int
    id: str
    amount: int


@inorder.fold(key="key", version="version", id="id", name="stream")
def adopting(state: Balance | None, entry: Balance) -> Balance:
    """The first payload becomes the state, and is changed in place from then on."""
    if state is None:
        return entry
    state.amount += entry.amount
    if entry.amount < 0:
        raise ValueError("no")
    return state


def test_when_a_fold_that_failed_is_undone() -> None:
    declared = declaration_of(adopting)
    values = [msgspec.json.encode(Balance("a", n + 1, f"a{n}", amount)) for n, amount in enumerate([5, 3, -100])]
    events, _ = JsonCodec(declared).read(
        Slice.of(HERE, [Record(HERE, n, b"", value) for n, value in enumerate(values)])
    )
    effect, entity = FoldEffect(declared), Entity("a", 0)
    for event in events[:2]:
        effect.apply(entity, event)
        entity.applied.append(event)
    with pytest.raises(ValueError, match="no"):
        effect.apply(entity, events[2])
    effect.undo(entity)
    assert entity.state.amount == 8


def test_one_that_cannot_be_decoded_once_more_fails_alone() -> None:
    """A model may look at the time, too."""
    scene, _ = spending()
    scene.store.refusals = [Unreachable("store: away")]
    given = job("a1 b1")
    with pytest.raises(Unreachable):
        scene.batches.run(given, [], FENCES)
    given.events[0].slice.values = [b"{", *given.events[0].slice.values[1:]]
    scene.batches.run(given, [], FENCES)
    assert scene.states() == {"b": [1]}
    assert [row.letter.key for row in scene.store.letters()] == ["a"]


# Lanes.


@played
async def test_after_a_commit_was_refused() -> None:
    it = await lanes.refused()
    assert it.called == ["a1", "b1", "a2", "b2", "a2", "b2"]
    assert it.amounts == [0] * 6


@played
async def test_after_it_was_called_on_old_knowledge() -> None:
    it = await lanes.refused_beside_a_call()
    it.let("a2")
    await it.rest()
    assert it.called.count("a2") == 2
    assert it.amounts == [0] * len(it.called)


@played
async def test_after_what_its_handler_needs_was_away() -> None:
    it = await lanes.paused()
    await it.rest(10)
    assert it.called == ["a1", "b1", "c1", "c1"]
    assert it.amounts == [0] * 4


@played
async def test_after_it_shared_a_call_with_one_that_failed() -> None:
    it = lanes.Scene(batch=3, order="latest", park=False, retry=inorder.Retry(attempts=1))
    it.fails["a1+a2+a3"] = [ValueError("no")]
    it.give("a1 a2 a3")
    await it.rest()
    assert it.called == ["a1+a2+a3", "a2+a3"]
    assert it.amounts == [0] * 5
