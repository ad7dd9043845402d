"""Each mechanism taken away, against each class of disorder: how many entities end wrong.

The members of a group are moved by hand, so that the same disorder meets every variant at the same moment. What an
entity came to is compared with all of its events applied once, in order; what still waits at the end is missing.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

import inorder
from inorder.core.partitioner import partition_for
from inorder.lab import wire
from inorder.lab.experiments import result
from inorder.lab.places import folder_of_a_run
from inorder.lab.results import Request, Result, Table, Verdict
from inorder.lab.stage import STORE, Stage
from inorder.lab.switches import Mechanism
from inorder.wiring import open_store

NAME = "ablation"
EACH = 8
"""Events of an entity."""
BATCH = 6
"""Events that a producer sends together, and most that a member is given at once."""
LOST = 0.15
LATE = 0.06
LATE_BY = 60
TURNS = 1, 12
"""Turns of the event loop that a handler takes, at least and at most."""
UNDONE = 2
"""Polls whose offsets a worker has not committed when it ends."""


class Trouble(StrEnum):
    """The classes of disorder."""

    NONE = "none: only concurrency"
    LOST = "batches lost, sent again"
    UNANSWERED = "batches sent twice"
    LATE = "events sent late"
    KILLED = "worker killed"
    FROZEN = "worker frozen, then back"
    GROWN = "partitions grown"


class Entry(msgspec.Struct, frozen=True):
    """One event of an entity."""

    key: str
    version: int
    id: str


class Service:
    """Something outside, told of each event: a key has what was put last, unless that came with an older fence.

    Fences are those of partitions. An event that waited may be handled by a worker that does not have its partition:
    it comes with fence 0, and is taken, for the entity's row has kept everybody else from it.
    """

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self._fences: dict[str, int] = {}

    def put(self, entry: Entry, partition: str, fence: int) -> None:
        """Take it, or not."""
        if fence and fence < self._fences.get(partition, 0):
            return
        self.kept[entry.key] = entry.version
        self._fences[partition] = max(fence, self._fences.get(partition, 0))


class Ending(NamedTuple):
    """What one run came to."""

    wrong: int
    early: int
    """Events that were held."""


NOTHING: frozenset[Mechanism] = frozenset()


def run(request: Request) -> Result:
    """See `EXPERIMENTS`."""
    entities = 12 if request.small else 16
    tables = []
    found: dict[str, dict[tuple[Mechanism | None, Trouble], Ending]] = {}
    with folder_of_a_run() as folder:
        empty = folder / "empty.db"
        open_store(f"sqlite:///{empty}", NAME).close()
        for title, kind, order, rows in _VARIANTS:
            cells = found[title] = {}
            for gone in rows:
                for trouble in Trouble:
                    without = frozenset({gone}) if gone else NOTHING
                    cell = folder / f"{len(found)}-{gone}-{trouble.name}"
                    cell.mkdir()
                    shutil.copy(empty, cell / STORE)
                    cells[gone, trouble] = Run(request.seed, entities, kind, order, without, trouble, cell).ending()
            tables.append(_table(title, entities, rows, cells))
        tables.append(_costs(entities, found[STATE]))
    setting = (
        f"{entities} entities with {EACH} events each, three workers, {PARTITIONS} partitions; every cell is the same "
        "stream with one class of disorder, decided by the real planner, runners and store."
    )
    return result(NAME, request, setting, tables, [], _verdicts(found))


STATE = "Wrong entities: the state is inorder's (a fold, strict order)"
SERVICE = "Wrong entities: the effect is elsewhere (a handler without tx, strict order)"
SNAPSHOTS = "Wrong entities: the effect is elsewhere, each event the whole entity (a handler without tx, order latest)"
NAIVE = "Wrong entities: no guard at all (order unguarded), only what prevents disorder"
PREVENTION = (None, Mechanism.KEY, Mechanism.LANE, Mechanism.PRODUCER)
_VARIANTS: tuple[tuple[str, str, str, tuple[Mechanism | None, ...]], ...] = (
    (STATE, "fold", "strict", (None, *Mechanism)),
    (SERVICE, "call", "strict", (None, *Mechanism)),
    (SNAPSHOTS, "call", "latest", (None, *Mechanism)),
    (NAIVE, "fold", "unguarded", PREVENTION),
)
_NOTES = {
    SNAPSHOTS: "Under `latest` two events of one key may be let through at once. What keeps their effects elsewhere in "
    "order is the key's one partition and its lane; while a key lies in two partitions, nothing does.",
}
MEMBERS = 4
"""Two that work, their successor, and one that tidies up."""
PARTITIONS = 4
GROWN = 7
LIMITS = inorder.Limits(gap_s=600)


class Run:
    """One cell: a stream with one class of trouble, through members that lack something."""

    def __init__(
        self,
        seed: int,
        entities: int,
        kind: str,
        order: str,
        gone: frozenset[Mechanism],
        trouble: Trouble,
        folder: Path,
    ) -> None:
        self._chance = random.Random(f"{seed}:{trouble}")
        self._seed = seed
        self._gone = gone
        self._trouble = trouble
        self._kind = kind
        self._order = order
        self._names = [f"entity-{number:02d}" for number in range(entities)]
        self._service = Service()
        self._frozen = asyncio.Event()
        self._standing = 0
        self._stage = Stage(folder, self._consumer, gone, MEMBERS)
        self._logs: list[list[Entry]] = [[] for _ in range(GROWN)]
        self._places = [0] * GROWN
        self._owners = [number % 2 for number in range(GROWN)]

    def ending(self) -> Ending:
        """Play it, and see what every entity came to."""
        self._produce()
        stage = self._stage
        try:
            for member in (0, 1):
                stage.members[member].take_over([n for n, owner in enumerate(self._owners) if owner == member])
            self._play()
            with closing(open_store(stage.store, NAME)) as look:
                # Everything that waits is looked at once more, by somebody who reads it all anew.
                stage.members[-1].take_over(range(GROWN))
                stage.members[-1].wake_all(self._names)
                stage.settle()
                states = {key: state for key, _, state in look.states()}
                early = look.counts().get("early", 0)
        finally:
            stage.close()
        return Ending(sum(not self._right(name, states.get(name)) for name in self._names), early)

    def _right(self, name: str, state: bytes | None) -> bool:
        if self._kind == "call":
            return self._service.kept.get(name) == EACH
        return state is not None and msgspec.json.decode(state, type=list[int]) == list(range(1, EACH + 1))

    def _produce(self) -> None:
        """Fill the logs, with what goes wrong on the way to them."""
        stream = [Entry(name, version, f"{name}-{version}") for version in range(1, EACH + 1) for name in self._names]
        late: list[tuple[int, Entry]] = []
        if self._trouble is Trouble.LATE:
            picked = set(self._chance.sample(range(len(stream)), max(1, int(LATE * len(stream)))))
            late = [(at + self._chance.randint(LATE_BY // 2, LATE_BY), stream[at]) for at in sorted(picked)]
            stream = [entry for at, entry in enumerate(stream) if at not in picked]
        batches = [stream[at : at + BATCH] for at in range(0, len(stream), BATCH)]
        arrived = wire.send(
            batches,
            f"{self._seed}:{self._trouble}",
            sequenced=Mechanism.PRODUCER not in self._gone,
            lost=LOST if self._trouble is Trouble.LOST else 0.0,
            unanswered=LOST if self._trouble is Trouble.UNANSWERED else 0.0,
        )
        placed = [(float(at), entry) for at, entry in enumerate(entry for batch in arrived for entry in batch)]
        placed += [(at + 0.5, entry) for at, entry in late]
        placed.sort(key=lambda one: one[0])
        for number, (_, entry) in enumerate(placed):
            grown = self._trouble is Trouble.GROWN and number > len(placed) // 2
            self._logs[self._partition(entry, GROWN if grown else PARTITIONS)].append(entry)

    def _partition(self, entry: Entry, of: int) -> int:
        if Mechanism.KEY in self._gone:
            return self._chance.randrange(of)
        return partition_for(entry.key.encode(), of)

    def _play(self) -> None:
        """Give out what there is, in rounds: each member a poll of one of its partitions, both at the same time."""
        total = sum(map(len, self._logs)) // BATCH
        given, undone = 0, list[tuple[int, int]]()
        held_back: tuple[int, int, list[Entry]] | None = None
        fate_open = self._trouble in {Trouble.KILLED, Trouble.FROZEN}
        while polls := self._polls():
            if fate_open and given >= total // 2 and any(member == 0 for member, _, _, _ in polls):
                fate_open = False
                if self._trouble is Trouble.FROZEN:
                    held_back = self._freeze(next(poll for poll in polls if poll[0] == 0), undone)
                else:
                    self._succeed(undone)
                continue
            for member, number, offset, entries in polls:
                self._stage.members[member].receive(number, offset, [msgspec.json.encode(one) for one in entries])
                self._places[number] += len(entries)
                given += 1
                if member == 0:
                    undone = [*undone[1 - UNDONE :], (number, offset)] if UNDONE > 1 else [(number, offset)]
            self._stage.settle(self._rested)
        if held_back is not None:
            self._thaw(held_back)
        self._stage.settle()

    def _polls(self) -> list[tuple[int, int, int, list[Entry]]]:
        """Of each member, what it polls next: member, partition, offset and events. New partitions come first."""
        found = []
        for member in (0, 1, 2):
            mine = [n for n in range(GROWN) if self._owners[n] == member and self._places[n] < len(self._logs[n])]
            if mine:
                number = max(mine) if max(mine) >= PARTITIONS else self._chance.choice(mine)
                offset = self._places[number]
                found.append((member, number, offset, self._logs[number][offset : offset + BATCH]))
        return found

    def _rested(self) -> bool:
        """Nobody is busy but a handler that stands still."""
        members = self._stage.members
        return not any(one.busy for number, one in enumerate(members) if number != 0 or not self._standing)

    def _succeed(self, undone: Iterable[tuple[int, int]]) -> None:
        """Member 2 takes over from member 0, from the offsets that were committed."""
        for number, offset in undone:
            self._places[number] = min(self._places[number], offset)
        mine = [number for number, owner in enumerate(self._owners) if owner == 0]
        for number in mine:
            self._owners[number] = 2
        self._stage.members[2].take_over(mine)

    def _freeze(
        self, poll: tuple[int, int, int, list[Entry]], undone: Sequence[tuple[int, int]]
    ) -> tuple[int, int, list[Entry]]:
        """Member 0 has polled, and stands still: in its handlers where these are awaited, else before it decides."""
        _, number, offset, entries = poll
        if self._kind == "call":
            self._standing = 1
            self._stage.members[0].receive(number, offset, [msgspec.json.encode(one) for one in entries])
            # Where all of them are early, there is none to stand still in.
            self._stage.settle(lambda: self._standing > 1 or not self._stage.members[0].busy)
        self._succeed([*undone, (number, offset)])
        return number, offset, entries

    def _thaw(self, held_back: tuple[int, int, list[Entry]]) -> None:
        number, offset, entries = held_back
        self._standing = 0
        if self._kind == "call":
            self._frozen.set()
        else:
            self._stage.members[0].receive(number, offset, [msgspec.json.encode(one) for one in entries])

    def _consumer(self, member: int) -> Callable[..., Any]:
        if self._kind == "fold":

            @inorder.fold(key="key", version="version", id="id", order=self._order, name=NAME, limits=LIMITS)
            def history(before: list[int] | None, entry: Entry) -> list[int]:
                return [*(before or []), entry.version]

            return history

        @inorder.handler(key="key", version="version", id="id", order=self._order, name=NAME, limits=LIMITS)
        async def put(entry: Entry, context: inorder.Context) -> None:
            if member == 0 and self._standing:
                self._standing += 1
                await self._frozen.wait()
            for _ in range(random.Random(f"{self._seed}:{entry.id}").randint(*TURNS)):
                await asyncio.sleep(0)
            self._service.put(entry, context.partition, context.fence)

        return put


def _table(
    title: str,
    entities: int,
    rows: Sequence[Mechanism | None],
    cells: dict[tuple[Mechanism | None, Trouble], Ending],
) -> Table:
    return Table(
        title=f"{title}, of {entities}",
        columns=["without", *Trouble],
        rows=[[_row(gone), *(cells[gone, trouble].wrong for trouble in Trouble)] for gone in rows],
        note=_NOTES.get(title, ""),
    )


def _row(gone: Mechanism | None) -> str:
    return gone.value if gone else "nothing is missing"


def _costs(entities: int, cells: dict[tuple[Mechanism | None, Trouble], Ending]) -> Table:
    return Table(
        title=f"What prevention saves: events held in the store, of {entities * EACH} (a fold, strict order)",
        columns=["without", *Trouble],
        rows=[[_row(gone), *(cells[gone, trouble].early for trouble in Trouble)] for gone in PREVENTION],
    )


GUARDING = (Mechanism.IDEMPOTENCE, Mechanism.GUARD, Mechanism.HOLD, Mechanism.FENCE, Mechanism.REVISION)
"""What correctness rests on."""
_NOT_PROMISED = (SNAPSHOTS, Trouble.GROWN)


def _verdicts(found: dict[str, dict[tuple[Mechanism | None, Trouble], Ending]]) -> list[Verdict]:
    guarded = [STATE, SERVICE, SNAPSHOTS]
    cells = [(title, trouble) for title in guarded for trouble in Trouble]
    complete = [found[title][None, trouble].wrong for title, trouble in cells if (title, trouble) != _NOT_PROMISED]

    def worse(gone: Mechanism, titles: Sequence[str]) -> int:
        """In how many runs more entities end wrong without it."""
        pairs = [(found[title][gone, t].wrong, found[title][None, t].wrong) for title in titles for t in Trouble]
        return sum(without > with_it for without, with_it in pairs)

    needed = {one: worse(one, guarded) for one in GUARDING}
    speed = {one: worse(one, [STATE]) for one in PREVENTION if one}
    prevents = {one: worse(one, [NAIVE]) for one in PREVENTION if one}
    naive = [trouble.value for trouble in Trouble if found[NAIVE][None, trouble].wrong]
    return [
        Verdict(
            claim="with everything in place, no entity ends wrong, whatever the disorder (but effects elsewhere under "
            "`latest` while partitions grow, which are not promised)",
            holds=not any(complete),
            shown=f"{sum(complete)} wrong in {len(complete)} runs",
        ),
        Verdict(
            claim="correctness rests on each of these: without it alone, entities end wrong",
            holds=all(needed.values()),
            shown=", ".join(f"{one}: {count} of {len(cells)} runs" for one, count in needed.items()),
        ),
        Verdict(
            claim="for a state that inorder keeps, what prevents disorder adds speed only",
            holds=not any(speed.values()),
            shown=", ".join(f"{one}: {count} runs worse" for one, count in speed.items()),
        ),
        Verdict(
            claim="a consumer without a guard needs all of it",
            holds=all(prevents.values()),
            shown=", ".join(f"{one}: {count} runs worse" for one, count in prevents.items()),
        ),
        Verdict(
            claim="and it is not enough: without a guard, entities end wrong although all of it is in place",
            holds=bool(naive),
            shown=", ".join(naive) or "never",
        ),
    ]
