"""A source whose every move a test decides: which member has which partition, and when it is taken away.

All of it is in memory and in one process. It keeps the rules of the `Source` port, as the conformance suite checks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from inorder.core.event import Partition, Record, Slice
from inorder.ports import Listener
from tests.worker.bench import encoded, entries

PATIENCE_S = 30.0


class ScriptedTopic:
    """The logs of one topic, and for each group what is committed and who has what."""

    def __init__(self, partitions: int = 2, name: str = "topic") -> None:
        self.name = name
        self.changed = threading.Condition()
        self.logs: list[list[Record]] = [[] for _ in range(partitions)]
        self._groups: dict[str, ScriptedGroup] = {}

    def group(self, name: str = "group") -> ScriptedGroup:
        with self.changed:
            if name not in self._groups:
                self._groups[name] = ScriptedGroup(self)
            return self._groups[name]

    def partition(self, number: int) -> Partition:
        return Partition(self.name, number)

    def put(self, number: int, values: Sequence[bytes | None], key: bytes | None = None, **rest: Any) -> None:
        """Append to a partition."""
        with self.changed:
            log = self.logs[number]
            for value in values:
                log.append(Record(self.partition(number), len(log), key, value, timestamp_ms=_now_ms(), **rest))
            self.changed.notify_all()

    def grow(self, partitions: int) -> None:
        """Add empty partitions; the groups that spread give them to their members."""
        with self.changed:
            self.logs += [[] for _ in range(partitions - len(self.logs))]
            for group in self._groups.values():
                group.spread_again()
            self.changed.notify_all()


class ScriptedGroup:
    """Who has which partition. `targets` says who is to have it, `owners` who has it."""

    def __init__(self, topic: ScriptedTopic) -> None:
        self.topic = topic
        self.committed: dict[int, int] = {}
        self.owners: dict[int, ScriptedSource] = {}
        self.terms: dict[int, int] = {}
        """How often each partition was taken away without asking."""
        self.targets: dict[int, ScriptedSource | None] = {}
        self.members: list[ScriptedSource] = []
        self.spreads = False
        """Whether members share the partitions evenly by themselves."""

    def member(self) -> ScriptedSource:
        return ScriptedSource(self)

    # what a test does

    def give(self, member: ScriptedSource | None, *numbers: int) -> None:
        """Let this member have these partitions; whoever has them now is asked to let go."""
        with self.topic.changed:
            self.targets.update(dict.fromkeys(numbers, member))
            self.topic.changed.notify_all()

    def seize(self, *numbers: int, heir: ScriptedSource | None = None) -> None:
        """Take these away without asking, as when a session is over. The owner learns of it when it polls next.

        Not from one that is about to take over: no session ends that soon.
        """
        with self.topic.changed:
            # Asked anew each time: while we waited the next owner may have begun to take over.
            assert self.topic.changed.wait_for(
                lambda: not any(self.owners[number].taking_over for number in numbers if number in self.owners),
                PATIENCE_S,
            )
            for number in numbers:
                self.owners.pop(number, None)
                self.terms[number] = self.terms.get(number, 0) + 1
                self.targets[number] = heir
            self.topic.changed.notify_all()

    def remove(self, member: ScriptedSource) -> None:
        """This member is dead: its partitions are anybody's."""
        with self.topic.changed:
            if member in self.members:
                self.members.remove(member)
            self.seize(*[number for number, owner in self.owners.items() if owner is member])
            for number, target in self.targets.items():
                if target is member:
                    self.targets[number] = None
            self.spread_again()
            self.topic.changed.notify_all()

    def spread_again(self) -> None:
        if self.spreads:
            count = len(self.topic.logs)
            self.targets = {n: self.members[n % len(self.members)] if self.members else None for n in range(count)}

    def settled(self, number: int) -> int:
        """The committed offset of a partition."""
        with self.topic.changed:
            return self.committed.get(number, 0)


class ScriptedSource:
    """One member. See `inorder.ports.Source`."""

    def __init__(self, group: ScriptedGroup) -> None:
        self.group = group
        self.paused: set[Partition] = set()
        self.pauses = 0
        """How often it was paused."""
        self.polls = 0
        self.given = 0
        self.taking_over = False
        self.on_poll: Callable[[], None] = lambda: None
        self._topic = group.topic
        self._listener: Listener | None = None
        self._terms: dict[int, int] = {}
        self._positions: dict[int, int] = {}
        self._turn = 0
        self._rejoins = False

    def subscribe(self, listener: Listener) -> None:
        """Join the group."""
        with self._topic.changed:
            self._listener = listener
            self.group.members.append(self)
            self.group.spread_again()
            self._topic.changed.notify_all()

    def poll(self, most: int, timeout_s: float) -> list[Slice]:
        """First what the test has changed, then records."""
        deadline = time.monotonic() + timeout_s
        self.polls += 1
        self.on_poll()
        while True:
            self._keep_up()
            with self._topic.changed:
                found = self._read(most)
                left_s = deadline - time.monotonic()
                if found or left_s <= 0:
                    return found
                if not self._moved():
                    self._topic.changed.wait(left_s)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Everything below each offset is settled, where the partition is still ours."""
        with self._topic.changed:
            for partition, offset in offsets.items():
                if self._has(partition.number):
                    self.group.committed[partition.number] = offset
            self._topic.changed.notify_all()

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Give out nothing of these until resumed."""
        self.pauses += 1
        self.paused.update(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Give out records of these again."""
        self.paused.difference_update(partitions)

    def at_end(self) -> bool:
        """Whether everything is committed, by whichever member."""
        with self._topic.changed:
            committed = self.group.committed
            return all(committed.get(number, 0) == len(log) for number, log in enumerate(self._topic.logs))

    def rejoin(self) -> None:
        """Let go of everything and take it again, at the next poll, if it is still ours to have."""
        self._rejoins = True

    def close(self) -> None:
        """Leave the group."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        with self._topic.changed:
            mine = [number for number in self._terms if self._has(number)]
        gone = [number for number in self._terms if number not in mine]
        if gone:
            listener.lost(self._drop(gone))
        if mine:
            listener.revoked([self._topic.partition(number) for number in mine])
            self._drop(mine)
        self.group.remove(self)

    # within poll

    def _has(self, number: int) -> bool:
        group = self.group
        return group.owners.get(number) is self and group.terms.get(number, 0) == self._terms.get(number)

    def _moved(self) -> bool:
        return bool(self._gone() or self._unwanted() or self._free())

    def _gone(self) -> list[int]:
        return [number for number in self._terms if not self._has(number)]

    def _unwanted(self) -> list[int]:
        if self._rejoins:
            return list(self._terms)
        return [number for number in self._terms if self.group.targets.get(number) is not self]

    def _free(self) -> list[int]:
        group = self.group
        wanted = [number for number, target in group.targets.items() if target is self]
        return [number for number in wanted if number not in group.owners and number not in self._terms]

    def _keep_up(self) -> None:
        listener, topic = self._listener, self._topic
        assert listener is not None, "subscribe first"
        with topic.changed:
            gone = self._gone()
        if gone:
            listener.lost(self._drop(gone))
        with topic.changed:
            unwanted = self._unwanted()
        if unwanted:
            listener.revoked([topic.partition(number) for number in unwanted])
            with topic.changed:
                for number in unwanted:
                    if self._has(number):
                        del self.group.owners[number]
                self._drop(unwanted)
                topic.changed.notify_all()
        self._rejoins = False
        with topic.changed:
            free = self._free()
            for number in free:
                self.group.owners[number] = self
                self._terms[number] = self.group.terms.get(number, 0)
                self._positions[number] = self.group.committed.get(number, 0)
            self.taking_over = bool(free)
        if free:
            listener.assigned([topic.partition(number) for number in free])
            with topic.changed:
                self.taking_over = False
                topic.changed.notify_all()

    def _drop(self, numbers: Iterable[int]) -> list[Partition]:
        partitions = [self._topic.partition(number) for number in numbers]
        for partition in partitions:
            del self._terms[partition.number], self._positions[partition.number]
        self.paused.difference_update(partitions)
        return partitions

    def _read(self, most: int) -> list[Slice]:
        numbers = [n for n in sorted(self._terms) if self._has(n) and self._topic.partition(n) not in self.paused]
        self._turn += 1
        turn = self._turn % len(numbers) if numbers else 0
        slices = []
        for place, number in enumerate(numbers[turn:] + numbers[:turn]):
            share = -(-most // (len(numbers) - place))
            start = self._positions[number]
            records = self._topic.logs[number][start : start + share]
            if records:
                self._positions[number] += len(records)
                self.given += len(records)
                most -= len(records)
                slices.append(Slice.of(records[0].partition, records))
        return slices


def _now_ms() -> int:
    return int(time.time() * 1000)


def put(topic: ScriptedTopic, number: int, key: str, *versions: int) -> None:
    """Events of one key, into one partition."""
    topic.put(number, [encoded(entry) for entry in entries(key, *versions)])
