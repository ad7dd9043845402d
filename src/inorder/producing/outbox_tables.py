"""What an outbox needs of a database, and what is the same in all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from inorder.producing.channel import Headers

LANES = 64
"""Parts of the keys. Relays share them out; more relays than lanes have nothing to do."""

_decode_headers = msgspec.json.Decoder(tuple[tuple[str, bytes], ...]).decode


class Row(NamedTuple):
    """One event of an outbox, as it is to be published."""

    number: int
    key: str
    version: int
    id: str
    value: bytes
    headers: Headers


def lane_of(key: str) -> int:
    """The part of the keys that this one belongs to. Written into the rows: it never changes."""
    return crc32(key.encode()) % LANES


class OutboxTables(ABC):
    """The tables of one outbox, on connections of its own. The writing side uses the caller's instead.

    Raises `Unreachable` when the database does not answer.
    """

    sql: Mapping[str, str]
    name: str
    """The database, for messages."""

    def __init__(self, outbox: str) -> None:
        self.outbox = outbox

    # the writing side

    def event(self, key: str, version: int, id: str, value: bytes, headers: Headers) -> tuple[Any, ...]:
        """The parameters of the statement `event_add`."""
        packed = msgspec.json.encode(headers) if headers else None
        return (self.outbox, key, version, lane_of(key), id, value, packed)

    @abstractmethod
    def check(self, connection: Any) -> None:
        """Raises `UsageError` unless the caller's connection is, or will be, in a transaction."""

    @abstractmethod
    def explain(self, error: Exception) -> Exception:
        """What to raise instead of an error of the caller's connection; the error itself if there is nothing to add."""

    # its own connection

    def is_there(self) -> bool:
        """Whether there is such a database. One that is asked for a connection says so itself."""
        return True

    @abstractmethod
    def make(self) -> None:
        """Make the tables that are not there."""

    @abstractmethod
    def is_made(self) -> bool:
        """Whether the tables are there."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """One transaction that sees and changes the leases alone."""

    @abstractmethod
    def run(self, statement: str, *parameters: Any) -> list[Any]:
        """The rows of one named statement."""

    @abstractmethod
    def array(self, values: Collection[Any]) -> Any:
        """Several values as one parameter."""

    @abstractmethod
    def close(self) -> None:
        """Release the connection."""

    # the relay's side

    def renew(self, relay: str, lease_s: float, may_release: bool) -> list[int]:
        """Give a heartbeat; returns the lanes that are this relay's until `lease_s` from now."""
        with self.transaction():
            self.run("relay_alive", self.outbox, relay, lease_s)
            self.run("relays_bury", self.outbox)
            self.run("leases_bury", self.outbox)
            relays = int(self.run("relays_count", self.outbox)[0][0])
            taken = dict(self.run("leases", self.outbox))
            ours = sorted(lane for lane, owner in taken.items() if owner == relay)
            share = -(-LANES // relays)
            for lane in ours[share:] if may_release else ():
                self.run("lease_release", self.outbox, lane, relay)
            free = [lane for lane in range(LANES) if lane not in taken][: max(0, share - len(ours))]
            for lane in free:
                self.run("lease_take", self.outbox, lane, relay)
        return (ours[:share] if may_release else ours) + free

    def leave(self, relay: str) -> None:
        """Let go of all lanes."""
        with self.transaction():
            self.run("relay_leave", self.outbox, relay)
            self.run("leases_bury", self.outbox)

    def unsent(self, lanes: Sequence[int], without: Collection[str], most: int) -> list[Row]:
        """Events that are committed and not published, those of a key by version, without some keys."""
        found = self.run("unsent", self.outbox, self.array(lanes), self.array(without), most)
        return [Row(n, key, v, id, bytes(value), _decode_headers(h) if h else ()) for n, key, v, id, value, h in found]

    def sent(self, numbers: Sequence[int], keep: bool) -> None:
        """These are published."""
        self.run("sent_mark" if keep else "sent_remove", self.outbox, self.array(numbers))

    def expire(self, after_s: float) -> None:
        """Remove what was published longer ago."""
        self.run("sent_expire", self.outbox, after_s)

    def has_been_used(self) -> bool:
        """Whether an event was ever added to this outbox."""
        return bool(self.run("used", self.outbox)[0][0])

    def unsent_count(self) -> int:
        """How many events are committed and not published."""
        return int(self.run("unsent_count", self.outbox)[0][0])
