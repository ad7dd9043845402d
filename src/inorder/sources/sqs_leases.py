"""The messages that this worker was given and has not deleted, and how long they are its own. Pure: it asks nobody.

A receive gives, of each message group, the longest prefix that nobody else has: a *run*. Its first message keeps the
rest of the group from everybody, so a run is extended as a whole, head first, and whoever fails to extend one of its
messages has lost the run. A lease counts from before the request that gave it, and once over it is over for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from inorder.sources.sqs_record import Raw, group_of
from inorder.sources.sqs_url import MOST_IN_BATCH, MOST_VISIBILITY_S

LONGEST_MARGIN_S = 2.0
"""How much earlier than SQS we take a lease for over, at most: what stands between a look at it and a handler."""


class Refused(NamedTuple):
    """Entries of a batch that were not obeyed, by the number of their message."""

    final: dict[int, str]
    """They never will be: the delivery is no longer ours."""
    again: dict[int, str]
    """SQS's own fault: they may be tried again."""


class Run:
    """Messages of one group from one receive. The lease of each of them."""

    __slots__ = ("_clock", "deadline", "given_at", "lost", "messages")

    def __init__(self, clock: Callable[[], float], given_at: float, deadline: float) -> None:
        self._clock = clock
        self.given_at = given_at
        self.deadline = deadline
        self.lost = False
        self.messages: dict[int, Message] = {}
        """Those that are neither deleted nor about to be, in their order."""

    def holds(self) -> bool:
        """Whether its messages are still ours alone."""
        return not self.lost and self._clock() < self.deadline


class Message:
    """One delivery. `number` is its name in this process."""

    __slots__ = ("handle", "number", "raw", "run", "tries")

    def __init__(self, number: int, raw: Raw, run: Run) -> None:
        self.number = number
        self.raw = raw
        self.handle: str = raw["ReceiptHandle"]
        self.run = run
        self.tries = 0
        """How often its deletion was tried in vain."""


class Leases:
    """All runs of one worker. Not thread-safe: its user has a lock."""

    def __init__(self, visibility_s: float, clock: Callable[[], float]) -> None:
        self._visibility_s = visibility_s
        self._margin_s = min(LONGEST_MARGIN_S, visibility_s / 5)
        self._clock = clock
        self._number = 0
        self._messages: dict[int, Message] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def given(self, raws: Iterable[Raw], asked_at: float) -> list[Message]:
        """One receive, asked for at `asked_at`."""
        runs: dict[str, Run] = {}
        found: list[Message] = []
        for raw in raws:
            group = group_of(raw)
            if group not in runs:
                runs[group] = Run(self._clock, asked_at, self._until(asked_at))
            self._number += 1
            message = Message(self._number, raw, runs[group])
            message.run.messages[self._number] = self._messages[self._number] = message
            found.append(message)
        return found

    def take(self, number: int) -> Message | None:
        """A delivery that is to be deleted, or that nothing will be done about. It is not extended any more."""
        message = self._messages.pop(number, None)
        if message is not None:
            del message.run.messages[number]
        return message

    def to_extend(self) -> list[list[Message]]:
        """Requests to make now, of whole runs: those that have used up half of their time."""
        now = self._clock()
        batches: list[list[Message]] = []
        for run in self._runs():
            due = run.deadline - now < self._visibility_s / 2
            if not due or not run.holds() or now + self._visibility_s > run.given_at + MOST_VISIBILITY_S:
                continue
            messages = list(run.messages.values())
            if not batches or len(batches[-1]) + len(messages) > MOST_IN_BATCH:
                batches.append([])
            batches[-1] += messages
        return batches

    def extended(self, batch: Sequence[Message], refused: Refused, asked_at: float) -> list[Run]:
        """A request to extend these, asked at `asked_at`, was answered. Returns the runs that turned out to be lost."""
        lost: list[Run] = []
        for run in {id(message.run): message.run for message in batch}.values():
            if any(number in refused.final for number in run.messages) or not run.holds():
                run.lost = True
                lost.append(run)
            # What is SQS's own fault is tried again by the next look: until then the old deadline holds.
            elif not any(number in refused.again for number in run.messages):
                run.deadline = self._until(asked_at)
        return lost

    def rest(self) -> list[list[Message]]:
        """What is to be given back, run by run: the last of a run first, so that nobody is given a part of it."""
        return [list(reversed(run.messages.values())) for run in self._runs() if run.holds()]

    def _runs(self) -> Iterator[Run]:
        seen: set[int] = set()
        for message in list(self._messages.values()):
            if id(message.run) not in seen:
                seen.add(id(message.run))
                yield message.run

    def _until(self, asked_at: float) -> float:
        return asked_at + self._visibility_s - self._margin_s
