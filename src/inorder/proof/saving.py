"""Where a world was, to come back to: what is saved of it, what of that is worth saving, and what tells states apart.

A search saves thousands of states. What no worker will ever miss is left out, and what makes no difference for all that
may still happen (revisions, offsets, times as such) is not looked at, so that two ways to one state lead to one digest.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

from inorder.core.entity import Entity
from inorder.core.event import Partition
from inorder.core.ranges import Ranges
from inorder.proof.oracle import Judge
from inorder.proof.recorder import name_of
from inorder.proof.scope import Place
from inorder.proof.system import Member
from inorder.proof.trace import Via
from inorder.worker.timers import Timers

REMEMBERED_FOR = {"zombies", "failures", "replays"}
"""Faults that make a difference for what is worth saving of a worker's memory, as long as any are left."""

_REPLAYED = {Via.REPLAY, Via.DRAIN}


class Memory(NamedTuple):
    """What a worker had in its memory."""

    incarnation: int
    positions: dict[Partition, int]
    fences: dict[Partition, int]
    pending: tuple[int, int, int] | None
    """From which offset to which, and under which fence, it has received and not decided."""
    timers: Timers
    cache: tuple[tuple[Any, ...], ...]


class Saved(NamedTuple):
    """Everything there is, to come back to."""

    tables: Any
    log: tuple[Any, ...]
    committed: int
    owner: int | None
    members: tuple[Memory, ...]
    claims: dict[str, float]
    poisoned: frozenset[Place]
    transient: tuple[tuple[Place, int], ...]
    left: tuple[int, ...]
    stalled: bool
    time: float
    txs: int
    judge: Judge


def memory_of(member: Member) -> Memory:
    """What a worker has in its memory."""
    job = member.job
    pending = None
    if job.pieces:
        unit, piece = job.pieces[0]
        pending = piece.offset(0), job.pieces[-1][1].next_offset, unit.fence
    return Memory(
        member.incarnation,
        dict(member.positions),
        dict(member.fences),
        pending,
        member.batches.timers.copy(),
        tuple(sorted(_kept(one) for one in member.batches.cache.all())),
    )


def remember(member: Member, memory: Memory) -> None:
    """A worker has that in its memory again, but for what it had received: that is to be given to it anew."""
    member.forget(memory.incarnation)
    member.positions = dict(memory.positions)
    if memory.fences:
        member.engine.assigned(dict(memory.fences))
    member.batches.timers = memory.timers.copy()
    for key, revision, version, ranges, recent, state, waiting, held in memory.cache:
        entity = Entity(key, version, revision, Ranges(ranges), array("I", recent), state, waiting, dict(held))
        member.batches.effect.loaded(entity)
        member.batches.cache.keep(entity)


def worth_saving(saved: Saved, left: Mapping[str, int], store: Any) -> Saved:
    """What was saved, without what no worker will ever miss. The store has the rows of it."""
    stall = bool(left["zombies"] or saved.stalled)
    replays = left["replays"] and (left["failures"] or store.open_letters(1))
    members: list[Memory] = []
    for number, memory in enumerate(saved.members):
        if number != saved.owner and not stall:
            # It will never decide anything again, whatever it still has in its memory.
            members.append(Memory(memory.incarnation, {}, {}, None, Timers(), ()))
        elif memory.cache and not (stall or replays or saved.claims):
            # Nobody else writes: what is exactly as the store has it will be read again as it is.
            stored = store.load([one[0] for one in memory.cache])
            others = (one for one in memory.cache if one[0] not in stored or one != _kept(stored[one[0]]))
            members.append(memory._replace(cache=tuple(others)))
        else:
            members.append(memory)
    return saved._replace(members=tuple(members))


def digest(saved: Saved, store: Any, partition: Partition) -> Hashable:
    """What tells a state from others, for all that may still happen. The store has the rows of it."""
    now, history, name = saved.time, saved.judge.history, name_of(partition)
    suffix = tuple((record.value, (name, record.offset) in history.lettered) for record in saved.log[saved.committed :])
    cached = sorted({one[0] for memory in saved.members for one in memory.cache})
    revisions = {key: entity.revision for key, entity in store.load(cached).items()} if cached else {}
    # Workers are alike but for who owns the partition.
    order = sorted(range(len(saved.members)), key=lambda number: number != saved.owner)
    members = tuple(
        (
            number == saved.owner,
            memory.positions[partition] - saved.committed if number == saved.owner or memory.pending else None,
            _pending(saved, memory, partition),
            tuple(sorted((key, due_at and round(due_at - now, 3)) for key, due_at in memory.timers.all().items())),
            tuple((one[0], one[1] == revisions.get(one[0]), *one[2:]) for one in memory.cache),
        )
        for number, memory in ((number, saved.members[number]) for number in order)
    )
    ledger = tuple(
        (key, tuple((effect.version, effect.id, effect.via in _REPLAYED) for effect in of))
        for key, of in sorted(history.ledger.items())
    )
    return (
        store.digest(now),
        suffix,
        tuple((key, tuple(sorted(of))) for key, of in sorted(history.claimed.items())),
        ledger,
        members,
        tuple((key, round(until - now, 3)) for key, until in saved.claims.items()),
        saved.poisoned,
        saved.transient,
        saved.left,
        saved.stalled,
    )


def _pending(saved: Saved, memory: Memory, partition: Partition) -> Hashable:
    """What a worker has in its hands, and whether the partition is its own."""
    if memory.pending is None:
        return None
    first, end, fence = memory.pending
    newest = None if saved.owner is None else saved.members[saved.owner].fences.get(partition)
    return tuple(record.value for record in saved.log[first:end]), fence == newest


def _kept(entity: Entity) -> tuple[Any, ...]:
    return (
        entity.key,
        entity.revision,
        entity.version,
        tuple(entity.ranges.pairs()),
        entity.recent.tobytes(),
        entity.stored_state,
        entity.waiting,
        tuple(entity.held.items()),
    )
