"""What the poll loop makes of what its runner, its store and its source tell it.

The runner is played, and the clock; nothing waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from inorder.core.event import Partition
from inorder.core.limits import Limits
from inorder.core.order import Order
from inorder.core.planner import NO_ROOM_S
from inorder.core.room import Room
from inorder.errors import InorderError
from inorder.proof.memory import MemoryStore
from inorder.worker.worker import (
    FENCED_FOR_S,
    OTHERS_FIRST_S,
    OVERDUE_EVERY_S,
    REJOINS,
    REJOINS_WITHIN_S,
    ROOM_EVERY_S,
    Loop,
)

HERE, THERE = Partition("topic", 0), Partition("topic", 1)


class Hands:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def now(self) -> float:
        return self.at


class Played:
    """A runner that says what it is told to."""

    def __init__(self) -> None:
        self.refused: dict[Partition, int] = {}
        self.without_room: dict[Partition, str] = {}
        self.tries = 0
        self.woken: list[Mapping[str, Any]] = []

    def settled(self) -> list[Any]:
        return []

    def lost(self) -> dict[Partition, int]:
        found, self.refused = self.refused, {}
        return found

    def full(self) -> dict[Partition, str]:
        return self.without_room

    def try_again(self) -> None:
        self.tries += 1

    def own(self, fences: Mapping[Partition, int], due: Mapping[str, Any] | None = None) -> None:
        self.woken.append(dict(due or {}))


class Quiet:
    """A source in a group, that gives out nothing."""

    def __init__(self) -> None:
        self.rejoined = 0
        self.paused: list[Partition] = []

    def rejoin(self) -> None:
        self.rejoined += 1

    def pause(self, partitions: Any) -> None:
        self.paused += partitions

    def resume(self, partitions: Any) -> None:
        self.paused = [one for one in self.paused if one not in partitions]

    def subscribe(self, listener: Any) -> None: ...
    def poll(self, most: int, timeout_s: float) -> list[Any]:
        return []

    def commit(self, offsets: Any) -> None: ...
    def at_end(self) -> bool:
        return True

    def close(self) -> None: ...


class Asked(MemoryStore):
    """A store that notes when it was asked for what is overdue, and has as many letters as it is told."""

    letters_now = 0
    since: float = 0.0

    def overdue(self, now: float, partitions: Any) -> dict[str, Any]:
        self.since = now
        return {}

    def open_letters(self, most: int) -> int:
        return self.letters_now

    def crowded_keys(self, most: int) -> set[str]:
        return {"crowded"}

    def beat(self, tally: int, partitions: Any, events_per_s: float) -> bool:
        return True


class Scene:
    """A loop that has two partitions."""

    def __init__(self, **limits: int) -> None:
        self.clock, self.runner, self.source = Hands(), Played(), Quiet()
        self.store = Asked("orders")
        self.store.register(Order.STRICT, 0)
        most = Limits(**limits)
        self.room = Room(most)
        source: Any = self.source
        control: Any = self.store
        runner: Any = self.runner
        codec: Any = None
        clock: Any = self.clock
        self.loop = Loop(source, control, runner, codec, clock, most, self.room)
        self.loop.assigned([HERE, THERE])

    @property
    def owned(self) -> dict[Partition, int]:
        return dict(self.loop._engine.fences)


def test_a_partition_that_is_refused_under_its_fence_is_let_go() -> None:
    scene = Scene()
    scene.runner.refused = {HERE: scene.owned[HERE]}
    scene.loop._collect()
    assert list(scene.owned) == [THERE]


def test_what_is_refused_of_an_earlier_ownership_is_no_news() -> None:
    scene = Scene()
    earlier = scene.owned[HERE]
    scene.loop.assigned([HERE])
    scene.runner.refused = {HERE: earlier}
    scene.loop._collect()
    assert scene.owned[HERE] > earlier
    scene.clock.at += 10 * FENCED_FOR_S
    scene.loop._check_ownership()
    assert scene.source.rejoined == 0


def refuse(scene: Scene) -> None:
    """Let the store refuse a partition for longer than a group needs to say so."""
    scene.loop.assigned([HERE])
    scene.runner.refused = {HERE: scene.owned[HERE]}
    scene.loop._collect()
    before = scene.source.rejoined
    scene.loop._check_ownership()
    assert scene.source.rejoined == before, "its group may be about to say so"
    scene.clock.at += FENCED_FOR_S + 0.1
    scene.loop._check_ownership()


def test_a_partition_that_is_refused_has_its_group_joined_anew_once() -> None:
    scene = Scene()
    refuse(scene)
    assert scene.source.rejoined == 1
    scene.clock.at += 10 * FENCED_FOR_S
    scene.loop._check_ownership()
    assert scene.source.rejoined == 1, "the group was told, and will say who has it"


def test_a_group_is_joined_anew_so_often_and_then_two_groups_are_suspected() -> None:
    scene = Scene()
    for _ in range(REJOINS):
        refuse(scene)
    assert scene.source.rejoined == REJOINS
    with pytest.raises(InorderError, match="also consumed by another group"):
        refuse(scene)
    scene.clock.at += REJOINS_WITHIN_S
    scene.loop._check_ownership()
    assert scene.source.rejoined == REJOINS + 1, "that was long ago"


def look_for_room(scene: Scene, letters: int) -> None:
    scene.store.letters_now = letters
    scene.clock.at += ROOM_EVERY_S
    scene.loop._look_for_room()


def test_what_found_no_room_is_tried_again_at_once_when_there_is_more() -> None:
    scene = Scene()
    scene.runner.without_room = {HERE: "no room"}
    look_for_room(scene, 5)
    assert (scene.source.paused, scene.runner.tries) == ([HERE], 1), "the first time"
    look_for_room(scene, 5)
    assert scene.runner.tries == 1, "nothing has changed"
    look_for_room(scene, 4)
    assert scene.runner.tries == 2
    look_for_room(scene, 4)
    assert scene.runner.tries == 2
    scene.clock.at += NO_ROOM_S
    look_for_room(scene, 4)
    assert scene.runner.tries == 3, "now and then, whatever the counts say"
    scene.runner.without_room = {}
    look_for_room(scene, 3)
    assert (scene.source.paused, scene.runner.tries) == ([], 3)


@pytest.mark.parametrize(("letters", "crowded"), [(9, False), (10, True)])
def test_keys_are_counted_as_soon_as_one_may_have_all_its_letters(letters: int, crowded: bool) -> None:
    scene = Scene(letters_per_key=10)
    scene.store.letters_now = letters
    scene.loop._read_room()
    assert (scene.room._crowded == {"crowded"}) is crowded


def test_what_is_overdue_is_looked_for_now_and_then() -> None:
    scene = Scene()
    scene.loop._look_for_overdue()
    assert scene.store.since == 0.0
    scene.clock.at += OVERDUE_EVERY_S
    scene.loop._look_for_overdue()
    assert scene.store.since == scene.clock.at
    scene.loop._queue = scene.loop._source  # type: ignore[assignment]
    scene.clock.at += OVERDUE_EVERY_S
    scene.loop._look_for_overdue()
    assert scene.store.since == scene.clock.at - OTHERS_FIRST_S, "whoever made it wait comes first"
