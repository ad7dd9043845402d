"""Of each entity there is one object, wherever it is in use and however small the cache is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.worker.group import Groups
from inorder.worker.keeper import Keeper
from inorder.worker.known import Known


class Asked:
    """A store that answers when it is told to, and notes the questions."""

    def __init__(self) -> None:
        self.questions: list[list[str]] = []
        self.answer = asyncio.Event()

    async def load(self, keys: Sequence[str]) -> dict[str, Entity]:
        self.questions.append(list(keys))
        await self.answer.wait()
        return {key: Entity(key, 1) for key in keys if key.startswith("stored")}


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def groups() -> Groups:
    return Groups(lambda: Changes(1))


@pytest.fixture
def known(asked: Asked, groups: Groups) -> Known:
    return Known(cast(Keeper, asked), groups, baseline=7, cache_bytes=0)


def test_what_is_in_use_is_found_there_and_not_read(known: Known, asked: Asked, groups: Groups) -> None:
    entities = {where: Entity(where) for where in ("changed", "being written", "pinned", "running")}
    groups.now.changes.entities["changed"] = entities["changed"]
    groups.writing = {"being written": entities["being written"]}
    known.pinned["pinned"] = entities["pinned"]
    known.running = lambda: {"running": entities["running"]}
    asked.answer.set()
    found = asyncio.run(known.load([*entities, "stored", "new"]))
    assert {key: found[key] for key in entities} == entities
    assert (found["stored"].version, found["new"].version) == (1, 7)
    assert asked.questions == [["stored", "new"]]


def test_two_that_ask_at_once_are_given_the_same(known: Known, asked: Asked) -> None:
    async def course() -> list[dict[str, Entity]]:
        first, second = asyncio.create_task(known.load(["stored"])), asyncio.create_task(known.load(["stored"]))
        await asyncio.sleep(0)
        asked.answer.set()
        return [await first, await second]

    one, other = asyncio.run(course())
    assert one["stored"] is other["stored"]
    assert asked.questions == [["stored"]]


def test_what_was_asked_in_an_epoch_that_is_over_is_not_kept(known: Known, asked: Asked) -> None:
    async def course() -> dict[str, Entity]:
        loading = asyncio.create_task(known.load(["stored"]))
        await asyncio.sleep(0)
        known.begin_anew()
        asked.answer.set()
        return await loading

    assert asyncio.run(course()) == {}
    assert known.find("stored") is None


def test_what_the_store_is_being_asked_for_when_all_is_forgotten_is_asked_anew(known: Known, asked: Asked) -> None:
    async def course() -> None:
        loading = asyncio.create_task(known.load(["stored"]))
        await asyncio.sleep(0)
        known.forget()
        asked.answer.set()
        await loading

    asyncio.run(course())
    assert asked.questions == [["stored"]] * 2


def test_a_new_epoch_lets_go_of_what_was_pinned(known: Known) -> None:
    known.pinned["a"] = Entity("a")
    known.begin_anew()
    assert known.find("a") is None
    assert known.epoch == 1
