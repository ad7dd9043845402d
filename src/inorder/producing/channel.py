"""What a producer asks of a broker: hand records over in order, and say what became of each.

A channel never decides what to do about a failure: `Producer` does, key by key.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Protocol

Headers = tuple[tuple[str, bytes], ...]


class Place(NamedTuple):
    """Where the broker keeps a record."""

    partition: int
    offset: int


class Fault(Enum):
    """What a failure says about the records that were under way."""

    RECORD = "record"
    """The broker does not take this record, whatever is tried. Nothing of its key that came after it is under way."""
    SUSPECT = "suspect"
    """This record, or another one that it was sent together with, is not taken: to be tried by itself."""
    REFUSED = "refused"
    """The broker takes nothing from us: rights, or a topic that is gone."""
    BROKEN = "broken"
    """The client gave up its own state. Some of what was under way may be kept; all of it is to be sent again."""
    TIMEOUT = "timeout"
    """No acknowledgement within the delivery timeout. The record may be kept by the broker nevertheless."""


class Problem(NamedTuple):
    """A failure by its name, such as MSG_SIZE_TOO_LARGE, and in words."""

    fault: Fault
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Outgoing(Protocol):
    """A record on its way."""

    @property
    def key(self) -> bytes: ...
    @property
    def value(self) -> bytes: ...
    @property
    def headers(self) -> Headers: ...


class Report(NamedTuple):
    """What became of a record, or, where `record` is None, of the channel as a whole."""

    record: Outgoing | None
    result: Place | Problem


class Channel(Protocol):
    """One topic or queue to send to. Every method but `wait` and `prove` is called under the producer's lock."""

    where: str
    """The broker and topic, for messages."""
    delivery_timeout_s: float
    """How long a record may be without an acknowledgement."""
    one_at_a_time: bool
    """Whether a key may only have one record under way, because the broker would take the one after a lost one."""

    def hand_over(self, record: Outgoing) -> Problem | None:
        """Take a record, after all that was handed over before. A problem means that it was not taken."""

    def wait(self, timeout_s: float) -> None:
        """Work until there is something to report, or the time is up. Called by one thread, without the lock."""

    def reports(self) -> Sequence[Report]:
        """What became of records since the last call: those of one key in their order."""

    def prove(self, record: Outgoing) -> Place | Problem | None:
        """Send one record by itself, after a `reset`, and wait for its fate. None: it cannot be told now."""

    def reset(self) -> None:
        """Forget what was handed over and not reported. It may be kept by the broker, but nothing later may."""

    def close(self) -> None:
        """Release what is open. What was not reported is given up."""
