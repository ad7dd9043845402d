"""What a Kafka source knows of the partitions it owns.

How far each was given out and committed, which are paused, and the messages that arrived for paused ones. It never
talks to a broker.

Pausing is done here rather than in librdkafka, whose `pause` throws away what it has fetched and whose `resume` waits
until the fetch request under way has come back: half a second each time. So messages of a paused partition are set
aside, and librdkafka pauses ("halts") a partition only when that takes more than a little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from confluent_kafka import Message

from inorder.core.event import Partition, Slice
from inorder.sources.kafka_record import offset_of, record_of

MOST_ASIDE = 10_000
"""How many messages of paused partitions are set aside before these are halted."""
MOST_ASIDE_BYTES = 16 * 1024 * 1024
"""The same in bytes of values."""

Fresh = dict[int, list[Message]]
"""Messages that have just come, by partition."""

_number: Callable[[Message], int | None] = Message.partition
_value: Callable[[Message], bytes | None] = Message.value


class Owned:
    """One partition of ours."""

    __slots__ = ("begins", "confirmed", "given", "note", "partition", "refused", "requested")

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.begins: tuple[int, str] | None = None
        """The committed offset that we begin at, and the text that was committed with it; None if not known."""
        self.note = ""
        """The text that goes with the next commit."""
        self.given: int | None = None
        """The offset after the last record given out; None if none was."""
        self.requested: int | None = None
        """The last offset the worker asked to commit."""
        self.confirmed: int | None = None
        """The last offset the broker confirmed."""
        self.refused = False
        """Whether the last commit was refused, and should be sent again."""

    @property
    def settled(self) -> bool:
        """Whether a commit was asked for of all that was given out."""
        return self.given is None or self.given == self.requested


class Assignment:
    """The partitions we own, by number."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._owned: dict[int, Owned] = {}
        self._aside: dict[int, list[Message]] = {}
        self._aside_count = 0
        self._aside_bytes = 0
        self._gone: set[int] = set()
        self.paused: set[int] = set()
        """Owned partitions whose records the worker does not want now."""
        self.halted: set[int] = set()
        """Partitions that librdkafka was told to pause. It remembers that of partitions that went and came back."""

    def __iter__(self) -> Iterator[Owned]:
        return iter(self._owned.values())

    def __len__(self) -> int:
        return len(self._owned)

    def add(self, numbers: Iterable[int]) -> list[Partition]:
        """These are ours from now on, and not paused. Returns those that were not ours before."""
        fresh = [Owned(Partition(self._topic, number)) for number in numbers if number not in self._owned]
        self._owned.update((owned.partition.number, owned) for owned in fresh)
        return [owned.partition for owned in fresh]

    def get(self, number: int) -> Owned | None:
        """The partition of that number, if we own it."""
        return self._owned.get(number)

    def find(self, partition: Partition) -> Owned | None:
        """That partition, if we own it."""
        return self._owned.get(self._number(partition))

    def those(self, numbers: Iterable[int]) -> list[Owned]:
        """Those of these that we own."""
        return [self._owned[number] for number in numbers if number in self._owned]

    def remove(self, numbers: Iterable[int]) -> None:
        """These are not ours any more; what was set aside of them is dropped."""
        for number in numbers:
            self._owned.pop(number, None)
            self.paused.discard(number)
            self._take_aside(number)
            self._gone.add(number)

    def drop_aside(self) -> None:
        """Forget everything that was set aside: it will be fetched again."""
        for number in list(self._aside):
            self._take_aside(number)

    @property
    def all_paused(self) -> bool:
        """Whether nothing may be given out, of anything we own."""
        return len(self.paused) == len(self._owned) > 0

    def has_aside(self, owned: Owned) -> bool:
        """Whether messages of that partition are set aside."""
        return owned.partition.number in self._aside

    @property
    def over_limit(self) -> bool:
        """Whether more is set aside than should be."""
        return self._aside_count > MOST_ASIDE or self._aside_bytes > MOST_ASIDE_BYTES

    def take_aside(self, most: int) -> list[Message]:
        """Up to `most` of the messages that were set aside and may be given out now."""
        taken: list[Message] = []
        self._gone.clear()
        if self._aside:
            for number in [number for number in self._aside if number not in self.paused]:
                messages = self._take_aside(number)
                room = most - len(taken)
                taken += messages[:room]
                if messages[room:]:
                    self._set_aside(number, messages[room:])
                if len(taken) == most:
                    break
        return taken

    def by_partition(self, messages: list[Message]) -> Fresh:
        """The messages of our partitions. What was revoked in the very call that fetched it is left out."""
        runs: Fresh = {}
        for number, run in groupby(messages, _number):
            if number in runs:
                runs[number].extend(run)
            elif number in self._owned:
                runs[number] = list(run)
        return runs

    def came_before(self, fresh: Fresh) -> dict[int, int]:
        """The partitions of which something comes again, and from which offset on: their logs are others by now."""
        found = {number: offset_of(run[0]) for number, run in fresh.items()}
        return {number: offset for number, offset in found.items() if offset < (self._owned[number].given or 0)}

    def set_aside(self, taken: list[Message], fresh: Fresh) -> None:
        """Keep all of these for later, what was taken from there before in front."""
        for number, messages in self._still_ours(taken).items():
            self._set_aside(number, messages + self._take_aside(number))
        for number, messages in fresh.items():
            self._set_aside(number, messages)

    def give(self, taken: list[Message], runs: Fresh) -> list[Slice]:
        """One slice for each partition, of what was set aside and what is fresh; paused ones are set aside."""
        if self._aside or self.paused:
            for number in [number for number in runs if number in self.paused or number in self._aside]:
                self._set_aside(number, runs.pop(number))
        if taken:
            for number, messages in self._still_ours(taken).items():
                if number in self.paused:
                    self._set_aside(number, messages + self._take_aside(number))
                else:
                    runs[number] = messages + runs.get(number, [])
        return [_slice(self._owned[number], run) for number, run in runs.items()]

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Set aside what arrives for these, if they are ours."""
        self.paused.update(number for number in map(self._number, partitions) if number in self._owned)

    def resume(self, partitions: Iterable[Partition]) -> set[int]:
        """Give these out again. Returns the numbers of those that are ours."""
        resumed = {number for number in map(self._number, partitions) if number in self._owned}
        self.paused -= resumed
        return resumed

    def _still_ours(self, taken: list[Message]) -> dict[int, list[Message]]:
        """Without those of partitions that went since, though they may have come back: these are fetched again."""
        return {number: run for number, run in self.by_partition(taken).items() if number not in self._gone}

    def _set_aside(self, number: int, messages: list[Message]) -> None:
        self._aside.setdefault(number, []).extend(messages)
        self._aside_count += len(messages)
        self._aside_bytes += sum(map(len, messages))

    def _number(self, partition: Partition) -> int:
        return partition.number if partition.topic == self._topic else -1

    def _take_aside(self, number: int) -> list[Message]:
        messages = self._aside.pop(number, [])
        self._aside_count -= len(messages)
        self._aside_bytes -= sum(map(len, messages))
        return messages


def _slice(owned: Owned, messages: list[Message]) -> Slice:
    owned.given = offset_of(messages[-1]) + 1
    values = list(map(_value, messages))
    return Slice(owned.partition, messages, values, owned.given, record_of, offset_of)
