"""A simulated broker's group: partitions that move between workers, politely or not. One thread; nothing waits.

It keeps the rules of `inorder.ports.Source` as a Kafka group does: a polite move asks the owner, who lets go in its own
poll; a seizure, as when a session is over, is learnt of afterwards; commits are taken from the owner alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from inorder.core.event import Partition, Record, Slice
from inorder.ports import Listener
from inorder.proof.recorder import name_of
from inorder.proof.trace import Op

Tell = Callable[..., None]


class Group:
    """Who has which partition, and what is committed."""

    def __init__(
        self,
        log: dict[Partition, list[Record]],
        committed: dict[Partition, int],
        tell: Tell,
        received: Callable[[str, int | None, Sequence[Record]], None],
    ) -> None:
        self.log = log
        self.committed = committed
        self.tell = tell
        self.received = received
        self.owners: dict[Partition, SimulatedSource] = {}
        self.targets: dict[Partition, SimulatedSource | None] = dict.fromkeys(log)
        self.moves = 0
        """How often anything of that has changed: who has kept up with all of it has nothing to do."""

    def give(self, partition: Partition, heir: SimulatedSource | None) -> None:
        """Let `heir` have it; whoever has it now is asked when it polls."""
        self.moves += 1
        self.targets[partition] = heir

    def seize(self, partition: Partition, heir: SimulatedSource | None) -> None:
        """Take it away without asking."""
        self.moves += 1
        self.owners.pop(partition, None)
        self.targets[partition] = heir

    def remove(self, source: SimulatedSource, heir: SimulatedSource | None) -> None:
        """A member is dead: another one gets what it had."""
        self.moves += 1
        self.owners = {partition: owner for partition, owner in self.owners.items() if owner is not source}
        self.targets = {partition: heir if one is source else one for partition, one in self.targets.items()}


class SimulatedSource:
    """One member. See `inorder.ports.Source`."""

    def __init__(self, group: Group, name: str, fences: Callable[[], Mapping[Partition, int]]) -> None:
        self.group = group
        self.name = name
        self._fences = fences
        self._positions: dict[Partition, int] = {}
        self._kept_up = -1
        self._rejoins = False
        self._paused: set[Partition] = set()
        self._listener: Any = None

    def subscribe(self, listener: Listener) -> None:
        """Join the group."""
        self._listener = listener

    def poll(self, most: int, timeout_s: float) -> list[Slice]:
        """First what has moved, then records."""
        self._keep_up()
        group, found = self.group, []
        for partition, at in self._positions.items():
            records = group.log[partition][at : at + most]
            if records and partition not in self._paused and group.owners.get(partition) is self:
                self._positions[partition] += len(records)
                most -= len(records)
                found.append(Slice.of(partition, records))
                group.received(self.name, self._fences().get(partition), records)
        return found

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Everything below each offset is settled, where the partition is still ours."""
        group = self.group
        for partition, offset in offsets.items():
            if group.owners.get(partition) is self:
                group.committed[partition] = offset
                epoch = self._fences().get(partition)
                group.tell(Op.COMMITTED, self.name, partition=name_of(partition), offset=offset, epoch=epoch)

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Give out nothing of these until resumed."""
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Give out records of these again."""
        self._paused.difference_update(partitions)

    def at_end(self) -> bool:
        """Whether everything is committed, by whichever member."""
        return all(self.group.committed[partition] == len(log) for partition, log in self.group.log.items())

    def rejoin(self) -> None:
        """Let go of everything and take it again, at the next poll, if it is still ours to have."""
        self._rejoins, self._kept_up = True, -1

    def close(self) -> None:
        """Leave the group."""
        self.group.remove(self, None)

    def _keep_up(self) -> None:
        group, listener = self.group, self._listener
        if self._kept_up == group.moves:
            return
        self._kept_up = group.moves
        gone = [partition for partition in self._positions if group.owners.get(partition) is not self]
        if gone:
            self._over(gone)
            listener.lost(gone)
        anew, self._rejoins = self._rejoins, False
        unwanted = [partition for partition in self._positions if anew or group.targets[partition] is not self]
        if unwanted:
            fences = dict(self._fences())
            listener.revoked(unwanted)
            self._over(unwanted, fences)
            group.moves += 1
            for partition in unwanted:
                if group.owners.get(partition) is self:
                    del group.owners[partition]
        free = [
            partition
            for partition, target in group.targets.items()
            if target is self and group.owners.get(partition) is None
        ]
        if free:
            for partition in free:
                group.owners[partition] = self
                self._positions[partition] = group.committed[partition]
            listener.assigned(free)

    def _over(self, partitions: Sequence[Partition], fences: Mapping[Partition, int] | None = None) -> None:
        known = self._fences() if fences is None else fences
        for partition in partitions:
            del self._positions[partition]
            self._paused.discard(partition)
            if partition in known:
                self.group.tell(Op.REVOKED, self.name, partition=str(partition), epoch=known[partition])
