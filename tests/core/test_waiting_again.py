"""A version that was delivered again while it was a letter waits beside what comes after it, and none is forgotten.

Both courses of events were found by `tests/model`, which holds the planner against a protocol written apart from it.
"""

from __future__ import annotations

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.order import Order, Outcome
from inorder.core.waiting import AT_ONCE, Wait, Waiting
from tests.core.case import GAP_S, Arrival, Case
from tests.core.world import World

NOW = 1_000.0
LOG = [Arrival("a", version, f"a{version}") for version in (1, 2, 3)]


def after_a_replay(world: World) -> Entity:
    """Version 1 took effect as a letter. It waits as its own duplicate, to be looked at."""
    held = {1: world.event(0).fingerprint}
    entity = Entity("a", version=1, revision=3, held=held, waiting=Waiting(Wait.GAP, 1, NOW, due_at=AT_ONCE))
    entity.state = []
    return entity


def decide(world: World, entity: Entity, event: Event) -> Changes:
    changes = Changes(0)
    world.planner.decide({"a": entity}, [event], world.effect, changes, NOW)
    return changes


def copy_of_the_first(world: World) -> Event:
    event = world.event(0)
    event.receiver = (0, Outcome.PARKED)
    return event


def test_the_next_version_does_not_pass_it_by() -> None:
    world = World(Case(Order.STRICT, LOG, []))
    entity = after_a_replay(world)
    decide(world, entity, world.event(1))
    assert (entity.version, sorted(entity.held)) == (1, [1, 2])
    assert entity.due(NOW)
    decide(world, entity, copy_of_the_first(world))
    assert sorted(entity.held) == [2]
    assert entity.due(NOW)


def test_a_gap_behind_it_has_its_full_time() -> None:
    world = World(Case(Order.STRICT, LOG, []))
    entity = after_a_replay(world)
    decide(world, entity, world.event(2))
    assert sorted(entity.held) == [1, 3]
    decide(world, entity, copy_of_the_first(world))
    assert sorted(entity.held) == [3]
    waiting = entity.waiting
    assert waiting is not None
    assert (waiting.why, waiting.version, waiting.due_at) == (Wait.GAP, 2, NOW + GAP_S)
