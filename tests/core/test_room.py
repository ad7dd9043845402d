"""What has a limit, and which partitions stand still for want of room."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inorder.core.changes import Changes
from inorder.core.engine import Command, Engine, Pause, Resume
from inorder.core.entity import Entity
from inorder.core.event import Partition, Record, Slice
from inorder.core.limits import Limits
from inorder.core.order import Outcome
from inorder.core.room import Room
from inorder.core.rows import HeldRow, Letter, Reason
from tests.core.profiles import examples

PARTITIONS = [Partition("topic", number) for number in range(4)]
LIMITS = Limits(letters=3, letters_per_key=2, held=5, held_per_key=4, in_flight_events=10)


def test_there_is_room_up_to_each_limit() -> None:
    room, entity = Room(LIMITS), Entity("a", held={2: 1, 3: 1, 4: 1})
    touched = [room.touched]
    room.read(letters=2, held=4, crowded={"b"})
    touched.append(room.touched)
    assert room.for_letter("a", Changes(0)) is None
    touched.append(room.touched)
    assert touched == [True, False, True], "the store is read at first, and again when something may have been added"
    assert room.for_letter("b", Changes(0)) is not None
    assert room.for_held(entity, Changes(0)) is None
    entity.held[5] = 1
    assert room.for_held(entity, Changes(0)) is not None
    assert room.for_held(Entity("c"), Changes(0)) is None
    room.read(letters=3, held=5, crowded=set())
    assert room.for_letter("a", Changes(0)) is not None
    assert room.for_held(Entity("c"), Changes(0)) is not None


def test_what_is_about_to_be_written_and_what_was_takes_room_too() -> None:
    room, changes = Room(LIMITS), Changes(0)
    room.read(letters=1, held=3, crowded=set())
    changes.letters.append(letter())
    changes.held["b", 2] = held("b", 2)
    assert room.for_letter("a", changes) is None
    assert room.for_held(Entity("b"), changes) is None
    changes.letters.append(letter())
    changes.held["b", 3] = held("b", 3)
    assert room.for_letter("a", changes) is not None
    assert room.for_held(Entity("b"), changes) is not None
    changes.released.add(("c", 2))
    assert room.for_held(Entity("b"), changes) is None
    room.written(changes)
    assert room.for_letter("a", Changes(0)) is not None
    assert room.for_held(Entity("b"), Changes(0)) is None
    more = Changes(0)
    more.held["b", 4] = held("b", 4)
    assert room.for_held(Entity("b"), more) is not None
    room.read(letters=0, held=0, crowded=set())
    room.for_held(Entity("b"), Changes(0))
    assert room.touched


def test_what_is_being_written_takes_room_from_what_follows_it() -> None:
    room, changes = Room(LIMITS), Changes(0)
    room.read(letters=1, held=3, crowded=set())
    changes.letters += [letter(), letter()]
    changes.held |= {("b", n): held("b", n) for n in (2, 3, 4)}
    changes.released.add(("c", 2))
    following = Changes(0)
    following.preceding = changes
    assert room.for_letter("a", following) is not None
    assert room.for_held(Entity("b"), following) is not None
    assert room.for_letter("a", Changes(0)) is None
    assert room.for_held(Entity("b"), Changes(0)) is None


def letter() -> Letter:
    record = Record(PARTITIONS[0], 0, None, b"x")
    return Letter(
        reason=Reason.FAILED, detail="", record=record, key="a", version=1, event_id="1", first_at=0.0, last_at=0.0
    )


def held(key: str, version: int) -> HeldRow:
    return HeldRow(key, version, "id", 1, Outcome.HELD, 0, Record(PARTITIONS[0], 0, None, b"x"))


def test_it_is_told_when_there_is_more() -> None:
    room = Room(LIMITS)
    assert not room.read(letters=0, held=0, crowded=set())
    assert not room.read(letters=3, held=5, crowded={"a"})
    assert not room.read(letters=3, held=5, crowded={"a"})
    assert not room.read(letters=3, held=5, crowded={"a", "b"})
    assert room.read(letters=3, held=5, crowded={"b"})
    assert room.read(letters=2, held=5, crowded={"b"})
    assert room.read(letters=2, held=4, crowded={"b"})


@given(
    st.lists(
        st.one_of(
            st.sets(st.sampled_from(PARTITIONS)).map(frozenset),
            st.tuples(st.sampled_from(PARTITIONS), st.integers(1, 6)),
            st.sampled_from(PARTITIONS),
        ),
        max_size=30,
    )
)
@examples(200)
def test_a_partition_is_paused_exactly_while_it_or_the_worker_is_full(happening: list[Any]) -> None:
    """Sets say which partitions find no room; pairs are events that arrive; a partition alone settles all it has."""
    engine, paused, offsets = Engine(LIMITS), set[Partition](), dict.fromkeys(PARTITIONS, 0)
    stalled: frozenset[Partition] = frozenset()
    units: dict[Partition, list[Any]] = {partition: [] for partition in PARTITIONS}

    def obey(commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Pause):
                paused.update(command.partitions)
            elif isinstance(command, Resume):
                paused.difference_update(command.partitions)

    obey(engine.assigned(dict.fromkeys(PARTITIONS, 1)))
    for one in happening:
        if isinstance(one, frozenset):
            stalled = one
            obey(engine.stall(one))
        elif isinstance(one, Partition):
            for unit in units[one]:
                engine.settled(unit)
            units[one].clear()
        else:
            partition, number = one
            records = [Record(partition, offsets[partition] + n, None, b"x") for n in range(number)]
            offsets[partition] += number
            units[partition].append(engine.received(Slice.of(partition, records), number))
        obey(engine.room())
        assert stalled <= paused
        assert engine.stalled == bool(stalled)
        if not engine.full and len(paused) < len(PARTITIONS):
            assert paused == set(stalled)
        moving = sum(unit.events for p in PARTITIONS if p not in stalled for unit in units[p])
        assert engine.full == (moving >= LIMITS.in_flight_events)
        if engine.full:
            assert paused == set(PARTITIONS)
