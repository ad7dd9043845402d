"""Each mechanism is needed: with it switched off, the same scenario ends in a wrong state.

They are switched off here, by wrapping or replacing what the library brings. It has no switch for any of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.order import Outcome
from inorder.core.planner import Planner
from inorder.worker import assemble
from tests.worker.bench import Bench, entries
from tests.worker.crashing import SERVICE, Crasher, Service
from tests.worker.test_crashing import RIGHT, Stream

DISORDER = [*entries("a", 1, 2, 2, 4, 3, 1, 5), *entries("b", 2, 1, 3, 3)]
IN_ORDER = {"a": [1, 2, 3, 4, 5], "b": [1, 2, 3]}


def consume(bench: Bench, **options: Any) -> None:
    """One event at a time, so that none finds its predecessor in the same batch."""
    for entry in DISORDER:
        bench.produce(entry)
        bench.work(bench.declare(**options))


def test_with_everything_in_place_the_state_is_right(bench: Bench) -> None:
    consume(bench)
    assert bench.effects() == IN_ORDER


def test_without_the_guard_events_take_effect_twice_and_out_of_order(bench: Bench) -> None:
    consume(bench, order="unguarded")
    assert bench.effects() == {"a": [1, 2, 2, 4, 3, 1, 5], "b": [2, 1, 3, 3]}


def test_without_the_held_table_early_events_are_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Skips(Planner):
        def hold(self, entity: Entity, event: Event, changes: Changes, now: float) -> None:
            changes.settled(event, Outcome.STALE)

    monkeypatch.setattr(assemble, "Planner", Skips)
    consume(bench)
    assert bench.effects() == {"a": [1, 2, 3], "b": [1]}
    assert bench.look.held_count() == 0


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    with Crasher() as found:
        yield found


LAST = {key: versions[-1] for key, versions in RIGHT.items()}


def frozen_in_its_first_handler(
    folder: Path, kind: str, crasher: Crasher, *, fences: bool = True, revisions: bool = True
) -> Stream:
    """A worker is frozen in its first handler, another does all the work, and the first one goes on."""
    stream = Stream(folder, kind, f"sqlite:///{folder}/store.db")
    order = stream.order("handler: begins", 1)
    order = msgspec.structs.replace(order, fences=fences, revisions=revisions)
    zombie = crasher.freeze(order)
    crasher.run(msgspec.structs.replace(order, step="to the end"))
    crasher.thaw(zombie, order)
    return stream


def test_with_the_fence_the_late_effect_of_a_zombie_is_refused(tmp_path: Path, crasher: Crasher) -> None:
    stream = frozen_in_its_first_handler(tmp_path, SERVICE, crasher)
    assert Service(str(stream.effects_file)).kept() == LAST


def test_without_the_fence_a_zombie_puts_an_old_value_over_the_new_one(tmp_path: Path, crasher: Crasher) -> None:
    stream = frozen_in_its_first_handler(tmp_path, SERVICE, crasher, fences=False)
    kept = Service(str(stream.effects_file)).kept()
    (wrong,) = [key for key in LAST if kept[key] != LAST[key]]
    assert kept[wrong] == 1, "its first event, after its last one"


def test_without_the_fence_the_revision_of_an_entity_still_refuses_a_zombie(tmp_path: Path, crasher: Crasher) -> None:
    frozen_in_its_first_handler(tmp_path, "fold", crasher, fences=False).check()


def test_without_fence_and_revision_a_zombie_writes_an_old_state_over_the_new_one(
    tmp_path: Path, crasher: Crasher
) -> None:
    stream = frozen_in_its_first_handler(tmp_path, "fold", crasher, fences=False, revisions=False)
    with pytest.raises(AssertionError):
        stream.check()
